//! Turns of servers: of those that sweep or relay one cluster, one at a time makes a pass over all
//! partitions.
//!
//! A pass that another server has just made is skipped, so that many servers together cost Redis
//! about as much as one. Turns only save that cost: a server that cannot ask for one makes its
//! pass.

use std::time::Duration;

use redis::Cmd;

use super::{Store, scripts};
use crate::redis::{Shard, StoreError, value};

/// A task that makes passes over all partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// The sweep.
    Sweep,
    /// The relay, which looks at all outboxes.
    Relay,
}

/// The outcome of asking for a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is the caller's turn to make a pass.
    Own,
    /// Another server has made a pass, or is making one. The caller asks again after this time.
    Later(Duration),
}

impl Store {
    /// Whether servers take turns: only in a cluster, as a pass takes one command per partition
    /// there.
    pub(crate) fn takes_turns(&self) -> bool {
        self.keys.is_partitioned()
    }

    /// Asks for the turn to make a pass. Passes begin `interval` apart. A pass that has not ended
    /// after `pass_timeout` counts as dead with its server. If servers do not take turns, it is
    /// always the caller's.
    ///
    /// # Errors
    /// [`StoreError`] if Redis did not respond.
    pub(crate) async fn take_turn(
        &self,
        task: Task,
        interval: Duration,
        pass_timeout: Duration,
    ) -> Result<Turn, StoreError> {
        if !self.takes_turns() {
            return Ok(Turn::Own);
        }
        let (began, ended) = match task {
            Task::Sweep => (self.keys.sweeping(), self.keys.last_sweep()),
            Task::Relay => (self.keys.relaying(), self.keys.relayed()),
        };
        let complete = |command: &mut Cmd| {
            command
                .arg(2)
                .arg(began)
                .arg(ended)
                .arg(interval.as_millis() as u64)
                .arg(pass_timeout.as_millis() as u64);
        };
        let wait: u64 = redis::from_redis_value(
            scripts::TURN
                .run(&self.redis, Shard::FIRST, complete)
                .await?,
        )?;
        Ok(if wait == 0 {
            Turn::Own
        } else {
            Turn::Later(Duration::from_millis(wait))
        })
    }

    /// Records that a sweep of all shards has ended.
    pub(crate) async fn note_sweep(&self) -> Result<(), StoreError> {
        let now = self.clock().await?;
        self.redis
            .query(
                Shard::FIRST,
                redis::cmd("SET").arg(self.keys.last_sweep()).arg(now),
            )
            .await?;
        Ok(())
    }

    /// Records that a relay has looked at all outboxes, and has published everything that it found.
    pub(crate) async fn note_relay(&self) -> Result<(), StoreError> {
        let now = self.clock().await?;
        self.redis
            .query(
                Shard::FIRST,
                redis::cmd("SET").arg(self.keys.relayed()).arg(now),
            )
            .await?;
        Ok(())
    }

    /// The time since a relay last emptied all outboxes. `None` if none has yet, or if servers do
    /// not take turns.
    pub(crate) async fn relay_lag(&self) -> Result<Option<Duration>, StoreError> {
        if !self.takes_turns() {
            return Ok(None);
        }
        let get = [(
            Shard::FIRST,
            redis::cmd("GET").arg(self.keys.relayed()).to_owned(),
        )];
        let reply = self.redis.query_all_timed(&get).await.pop();
        let (value, now) = reply.unwrap_or(Err(StoreError::Unexpected("no reply")))?;
        let relayed: Option<u64> = redis::from_redis_value(value)?;
        Ok(relayed.map(|relayed| Duration::from_millis(now.saturating_sub(relayed))))
    }

    async fn clock(&self) -> Result<u64, StoreError> {
        value::time(&self.redis.query(Shard::FIRST, &redis::cmd("TIME")).await?)
    }
}
