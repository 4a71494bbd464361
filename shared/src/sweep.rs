//! The sweep: players whose record ran out without anybody's call make their OFFLINE transition.

use std::ops::Add;

use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all, stream};
use serde::Serialize;

use crate::{
    repository::{Expired, Repository, SHARDS_AT_A_TIME, Shard, StoreError},
    telemetry::metrics::{SWEEP_EXPIRED, SWEEP_REFILED},
    trace::TraceContext,
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
    /// A sweeper of the players in `repository`.
    pub fn new(repository: Repository) -> Self {
        Self { repository }
    }

    /// Looks at all players whose time in the index has come.
    ///
    /// # Errors
    /// [`StoreError`] where Redis did not answer.
    pub async fn pass(&self) -> Result<Swept, StoreError> {
        let trace = TraceContext::new_root();
        let shards = stream::iter(self.repository.shards()).map(|shard| self.sweep(shard, &trace));
        let swept = shards
            .buffer_unordered(SHARDS_AT_A_TIME)
            .try_fold(Swept::default(), async |sum, swept| Ok(sum + swept))
            .await?;
        self.repository.note_sweep().await?;
        metrics::counter!(SWEEP_EXPIRED).increment(swept.expired);
        metrics::counter!(SWEEP_REFILED).increment(swept.refiled);
        Ok(swept)
    }

    async fn sweep(&self, shard: Shard, trace: &TraceContext) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for _ in 0..PAGES_PER_PASS {
            let due = self.repository.due(shard, PAGE).await?;
            let calls = due.chunks(PLAYERS_PER_CALL).map(|players| self.repository.expire(players, trace));
            for Expired { ran_out, alive } in try_join_all(calls).await? {
                swept.expired += ran_out as u64;
                swept.refiled += alive as u64;
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
