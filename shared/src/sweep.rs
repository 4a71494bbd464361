//! The sweep, which makes the OFFLINE transition of players whose record has expired.

use std::{
    ops::Add,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    events::RelaySignal,
    model::PlayerId,
    redis::{Shard, StoreError, episodes},
    store::{Expired, Store, Task, Turn, while_node_replies},
    telemetry::{
        SweepSpan, TraceContext,
        metrics::{SWEEP_EXPIRED, SWEEP_REMOVED, SWEEP_RESCHEDULED},
    },
};

/// The number of players that are read from an expiry index at a time.
const PAGE: usize = 1_000;

/// The number of players per script call.
const PLAYERS_PER_CALL: usize = 50;

/// The most pages of one shard per pass. The rest waits for the next pass.
const PAGES_PER_PASS: usize = 200;

/// Sweeps expired players. Any number of sweepers may run: each transition is made once.
#[derive(Clone)]
pub struct Sweeper {
    store: Store,
    signal: RelaySignal,
    total: Arc<Mutex<SweepCounts>>,
}

/// Counts of the sweep's work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SweepCounts {
    /// Players that went OFFLINE.
    pub expired: u64,
    /// Players that were still alive, and were rescheduled.
    pub rescheduled: u64,
    /// Members of the expiry index that are not players, and were removed.
    pub removed: u64,
}

/// The work done in one shard, and the error that ended it, if any.
type Part = (SweepCounts, Option<StoreError>);

impl Sweeper {
    /// Creates a sweeper of the players in `store`. It notifies the relay of its process of new
    /// events.
    pub fn new(store: Store, signal: RelaySignal) -> Self {
        Self {
            store,
            signal,
            total: Arc::default(),
        }
    }

    /// Checks all players that are due in the expiry index. The nodes of a cluster do not wait for
    /// each other.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not respond. The players of the other nodes were still
    /// checked, and are counted in [`total`](Self::total) and in the metrics.
    pub async fn pass(&self) -> Result<SweepCounts, StoreError> {
        let span = OnceLock::new();
        let nodes = self.store.shards_by_node().await;
        let parts = join_all(nodes.iter().map(|shards| self.sweep_node(shards, &span))).await;
        let swept = parts
            .iter()
            .fold(SweepCounts::default(), |sum, (swept, _)| sum + *swept);
        if let Some(span) = span.into_inner() {
            span.finish(swept.expired, swept.rescheduled);
        }
        if let Some(error) = parts.into_iter().find_map(|(_, failure)| failure) {
            return Err(error);
        }
        self.store.note_sweep().await?;
        Ok(swept)
    }

    /// Sweeps at half of `interval`, indefinitely. A record that expires right after a pass waits
    /// for the next pass, and then for the players that expired before it; both together have to be
    /// within `interval`.
    pub async fn run(&self, interval: Duration) {
        let pass_interval = interval / 2;
        // A server that dies during its pass delays the next pass by this time.
        let dead_after = interval / 4;
        let mut next = Instant::now() + pass_interval;
        self.pass_or_log().await;
        loop {
            sleep_until(next).await;
            let asked_at = Instant::now();
            let turn = self
                .store
                .take_turn(Task::Sweep, pass_interval, dead_after)
                .await;
            // If Redis did not reply, the time that the request took is part of the interval.
            let began = if turn.is_ok() {
                Instant::now()
            } else {
                asked_at
            };
            next = match turn {
                Ok(Turn::Later(wait)) => began + wait.min(pass_interval),
                // Without a reply about the turn, the sweeper makes its pass.
                Ok(Turn::Own) | Err(_) => {
                    self.pass_or_log().await;
                    began + pass_interval
                }
            };
        }
    }

    async fn pass_or_log(&self) {
        if let Err(error) = self.pass().await {
            episodes::pass_failed(&error, "sweep pass failed, retrying at the next interval");
        }
    }

    /// The counts of this sweeper and its clones since they were created.
    pub fn total(&self) -> SweepCounts {
        self.total.lock().map(|total| *total).unwrap_or_default()
    }

    fn count(&self, swept: SweepCounts) {
        metrics::counter!(SWEEP_EXPIRED).increment(swept.expired);
        metrics::counter!(SWEEP_RESCHEDULED).increment(swept.rescheduled);
        metrics::counter!(SWEEP_REMOVED).increment(swept.removed);
        if swept.removed > 0 {
            tracing::warn!(
                removed = swept.removed,
                "the expiry index held members that are not players; removed"
            );
        }
        if let Ok(mut total) = self.total.lock() {
            *total = *total + swept;
        }
    }

    /// Sweeps the shards of one node. `span` starts with the first due player: a pass without any
    /// has no span.
    async fn sweep_node(&self, shards: &[Shard], span: &OnceLock<SweepSpan>) -> Part {
        let due = self.store.due_shards(shards).await;
        if due.values.is_empty() {
            return (SweepCounts::default(), due.error);
        }
        let trace = &span.get_or_init(SweepSpan::start).context();
        let sweep = |(shard, now)| self.sweep(shard, now, trace);
        let parts = while_node_replies(due.values, sweep).await;
        let swept = parts
            .iter()
            .fold(SweepCounts::default(), |sum, (swept, _)| sum + *swept);
        self.count(swept);
        (
            swept,
            due.error
                .or(parts.into_iter().find_map(|(_, failure)| failure)),
        )
    }

    async fn sweep(&self, shard: Shard, now: u64, trace: &TraceContext) -> Part {
        let mut swept = SweepCounts::default();
        for _ in 0..PAGES_PER_PASS {
            let due = match self.store.due(shard, PAGE, now).await {
                Ok(due) => due,
                Err(error) => return (swept, Some(error)),
            };
            let (page, failure) = self.expire_page(&due.players, trace).await;
            swept = swept + page;
            if failure.is_some() {
                return (swept, failure);
            }
            if !due.foreign_members.is_empty() {
                if let Err(error) = self
                    .store
                    .remove_foreign_members(shard, &due.foreign_members)
                    .await
                {
                    return (swept, Some(error));
                }
                swept.removed += due.foreign_members.len() as u64;
            }
            if !due.has_more {
                break;
            }
        }
        (swept, None)
    }

    async fn expire_page(&self, players: &[PlayerId], trace: &TraceContext) -> Part {
        let calls = players
            .chunks(PLAYERS_PER_CALL)
            .map(|players| self.store.expire(players, trace));
        let mut swept = SweepCounts::default();
        let mut failure = None;
        for result in join_all(calls).await {
            match result {
                Ok(Expired {
                    expired,
                    rescheduled,
                    events,
                }) => {
                    swept.expired += expired as u64;
                    swept.rescheduled += rescheduled as u64;
                    self.signal.notify(&events);
                }
                Err(error) => failure = Some(error),
            }
        }
        (swept, failure)
    }
}

impl Add for SweepCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            expired: self.expired + other.expired,
            rescheduled: self.rescheduled + other.rescheduled,
            removed: self.removed + other.removed,
        }
    }
}
