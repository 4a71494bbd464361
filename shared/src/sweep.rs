//! The sweep: players whose record ran out without anybody's call make their OFFLINE transition.

use std::{ops::Add, time::Duration};

use futures_util::{StreamExt as _, future::try_join_all, stream};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::{
    events::RelaySignal,
    repository::{Expired, Partial, Repository, SHARDS_AT_A_TIME, Shard, StoreError},
    telemetry::metrics::{SWEEP_EXPIRED, SWEEP_REFILED},
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
}

/// What a pass of the sweep did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Players who went OFFLINE.
    pub expired: u64,
    /// Players who turned out to be alive, and were filed anew.
    pub refiled: u64,
}

impl Sweeper {
    /// A sweeper of the players in `repository`, which tells the relay of its process of the events that it makes.
    pub fn new(repository: Repository, signal: RelaySignal) -> Self {
        Self { repository, signal }
    }

    /// Looks at all players whose time in the index has come.
    ///
    /// # Errors
    /// [`StoreError`] where a Redis node did not answer; the players of the others were looked at all the same.
    pub async fn pass(&self) -> Result<Swept, StoreError> {
        let due = self.repository.due_shards().await;
        // With nobody due there is nothing to tell of, in pass after pass.
        let span = (!due.found.is_empty()).then(SweepSpan::start);
        let trace = span.as_ref().map_or_else(TraceContext::new_root, SweepSpan::context);
        let sweeps = stream::iter(due.found).map(|(shard, now)| self.sweep(shard, now, &trace));
        let results: Vec<_> = sweeps.buffer_unordered(SHARDS_AT_A_TIME).collect().await;
        let swept = Partial::collect(results.into_iter().map(|swept| swept.map(Some)));
        let swept = Partial { failure: due.failure.or(swept.failure), found: swept.found };
        let swept = swept.complete()?.into_iter().fold(Swept::default(), Add::add);
        self.repository.note_sweep().await?;
        if let Some(span) = span {
            span.swept(swept.expired, swept.refiled);
        }
        metrics::counter!(SWEEP_EXPIRED).increment(swept.expired);
        metrics::counter!(SWEEP_REFILED).increment(swept.refiled);
        Ok(swept)
    }

    /// Sweeps for ever, twice in every `interval`: a record that runs out right after a pass waits for the next one, and then
    /// for what ran out before it. Both together are to be within `interval`.
    pub async fn run(&self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.pass().await {
                tracing::error!(error = &error as &dyn std::error::Error, "sweep failed; the next one may not");
            }
        }
    }

    async fn sweep(&self, shard: Shard, now: u64, trace: &TraceContext) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for _ in 0..PAGES_PER_PASS {
            let due = self.repository.due(shard, PAGE, now).await?;
            let calls = due.chunks(PLAYERS_PER_CALL).map(|players| self.repository.expire(players, trace));
            for Expired { ran_out, alive, events } in try_join_all(calls).await? {
                swept.expired += ran_out as u64;
                swept.refiled += alive as u64;
                self.signal.tell(&events);
            }
            if due.len() < PAGE {
                break;
            }
        }
        Ok(swept)
    }
}

impl Add for Swept {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { expired: self.expired + other.expired, refiled: self.refiled + other.refiled }
    }
}
