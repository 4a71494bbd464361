//! The sweep: players whose record expired make their OFFLINE transition without a call of theirs.

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
    repository::{Expired, Repository, Shard, StoreError, Task, Turn, episodes, while_node_answers},
    telemetry::metrics::{SWEEP_EXPIRED, SWEEP_REFILED, SWEEP_REMOVED},
    trace::{SweepSpan, TraceContext},
};

/// The number of players read from an index at a time.
const PAGE: usize = 1_000;

/// The number of players that one script call looks at.
const PLAYERS_PER_CALL: usize = 50;

/// The number of pages of one shard in one pass; the rest waits for the next.
const PAGES_PER_PASS: usize = 200;

/// Sweeps. Any number of sweepers may run: each transition is made once.
#[derive(Clone)]
pub struct Sweeper {
    repository: Repository,
    signal: RelaySignal,
    total: Arc<Mutex<Swept>>,
}

/// What a pass of the sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Players who went OFFLINE.
    pub expired: u64,
    /// Players who turned out to be alive, and were rescheduled.
    pub refiled: u64,
    /// Members of the index that are not players, and were removed.
    pub removed: u64,
}

/// What was done in a shard, and what went wrong there.
type Part = (Swept, Option<StoreError>);

impl Sweeper {
    /// A sweeper of the players in `repository`, which notifies the relay of its process of the events that it makes.
    pub fn new(repository: Repository, signal: RelaySignal) -> Self {
        Self { repository, signal, total: Arc::default() }
    }

    /// Looks at all players whose time in the index has come. The nodes of a cluster do not wait for each other.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not answer. The players of the others were looked at all the same, and are
    /// counted in [`total`](Self::total) and in the metrics.
    pub async fn pass(&self) -> Result<Swept, StoreError> {
        let span = OnceLock::new();
        let nodes = self.repository.shards_by_node().await;
        let parts = join_all(nodes.iter().map(|shards| self.sweep_node(shards, &span))).await;
        let swept = parts.iter().fold(Swept::default(), |sum, (swept, _)| sum + *swept);
        if let Some(span) = span.into_inner() {
            span.swept(swept.expired, swept.refiled);
        }
        if let Some(error) = parts.into_iter().find_map(|(_, failure)| failure) {
            return Err(error);
        }
        self.repository.note_sweep().await?;
        Ok(swept)
    }

    /// Sweeps at half of `interval`, without an end: a record that expires right after a pass waits for the next one, and
    /// then for what expired before it. Both together are to be within `interval`.
    pub async fn run(&self, interval: Duration) {
        let pace = interval / 2;
        // A server that dies during its pass delays the next one by that.
        let patience = interval / 4;
        let mut next = Instant::now() + pace;
        self.pass_or_log().await;
        loop {
            sleep_until(next).await;
            let asked_at = Instant::now();
            let turn = self.repository.take_turn(Task::Sweep, pace, patience).await;
            let began = if turn.is_ok() { Instant::now() } else { asked_at };
            next = match turn {
                Ok(Turn::Later(wait)) => began + wait.min(pace),
                // It is this sweeper's turn if that cannot be found out.
                Ok(Turn::Own) | Err(_) => {
                    self.pass_or_log().await;
                    began + pace
                }
            };
        }
    }

    async fn pass_or_log(&self) {
        if let Err(error) = self.pass().await {
            episodes::pass_failed(&error, "sweep pass failed, retrying at the next interval");
        }
    }

    /// What this sweeper, and its clones, have done so far.
    pub fn total(&self) -> Swept {
        self.total.lock().map(|total| *total).unwrap_or_default()
    }

    fn count(&self, swept: Swept) {
        metrics::counter!(SWEEP_EXPIRED).increment(swept.expired);
        metrics::counter!(SWEEP_REFILED).increment(swept.refiled);
        metrics::counter!(SWEEP_REMOVED).increment(swept.removed);
        if swept.removed > 0 {
            tracing::warn!(removed = swept.removed, "the expiry index held members that are not players; removed");
        }
        if let Ok(mut total) = self.total.lock() {
            *total = *total + swept;
        }
    }

    /// Sweeps the shards of one node. `span` begins when something is due: a pass that finds nothing has no span.
    async fn sweep_node(&self, shards: &[Shard], span: &OnceLock<SweepSpan>) -> Part {
        let due = self.repository.due_shards(shards).await;
        if due.found.is_empty() {
            return (Swept::default(), due.failure);
        }
        let trace = &span.get_or_init(SweepSpan::start).context();
        let sweep = |(shard, now)| self.sweep(shard, now, trace);
        let parts = while_node_answers(due.found, sweep).await;
        let swept = parts.iter().fold(Swept::default(), |sum, (swept, _)| sum + *swept);
        self.count(swept);
        (swept, due.failure.or(parts.into_iter().find_map(|(_, failure)| failure)))
    }

    async fn sweep(&self, shard: Shard, now: u64, trace: &TraceContext) -> Part {
        let mut swept = Swept::default();
        for _ in 0..PAGES_PER_PASS {
            let due = match self.repository.due(shard, PAGE, now).await {
                Ok(due) => due,
                Err(error) => return (swept, Some(error)),
            };
            let (page, failure) = self.expire_page(&due.players, trace).await;
            swept = swept + page;
            if failure.is_some() {
                return (swept, failure);
            }
            if !due.strangers.is_empty() {
                if let Err(error) = self.repository.remove_strangers(shard, &due.strangers).await {
                    return (swept, Some(error));
                }
                swept.removed += due.strangers.len() as u64;
            }
            if !due.has_more {
                break;
            }
        }
        (swept, None)
    }

    async fn expire_page(&self, players: &[PlayerId], trace: &TraceContext) -> Part {
        let calls = players.chunks(PLAYERS_PER_CALL).map(|players| self.repository.expire(players, trace));
        let mut swept = Swept::default();
        let mut failure = None;
        for result in join_all(calls).await {
            match result {
                Ok(Expired { ran_out, alive, events }) => {
                    swept.expired += ran_out as u64;
                    swept.refiled += alive as u64;
                    self.signal.tell(&events);
                }
                Err(error) => failure = Some(error),
            }
        }
        (swept, failure)
    }
}

impl Add for Swept {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            expired: self.expired + other.expired,
            refiled: self.refiled + other.refiled,
            removed: self.removed + other.removed,
        }
    }
}
