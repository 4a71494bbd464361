//! The expiry index: who may have run out.

use redis::{Cmd, Value};

use super::{OutboxEntry, Outcome, Partial, Repository, StoreError, keys::Shard, node::Timed, scripts};
use crate::{model::PlayerId, trace::TraceContext};

/// What became of players whose time in the index had come.
#[derive(Debug)]
pub(crate) struct Expired {
    /// Players who made their OFFLINE transition.
    pub(crate) ran_out: usize,
    /// Players who turned out to be alive, and were filed anew.
    pub(crate) alive: usize,
    pub(crate) events: Vec<OutboxEntry>,
}

impl Repository {
    /// The shards with somebody who is due, and their node's clock (Unix milliseconds).
    pub(crate) async fn due_shards(&self) -> Partial<(Shard, u64)> {
        let heads: Vec<_> = self.keys.shards().map(|shard| (shard, self.first_of_index(shard, 1))).collect();
        let answers = self.connection.query_all_timed(&heads).await;
        Partial::collect(heads.iter().zip(answers).map(|((shard, _), answer)| {
            let (head, now) = answer?;
            Ok((!due(head, now)?.is_empty()).then_some((*shard, now)))
        }))
    }

    /// Players of a shard who are due at `now`, at most `count` of them, the longest overdue first.
    pub(crate) async fn due(&self, shard: Shard, count: usize, now: u64) -> Result<Vec<PlayerId>, StoreError> {
        due(self.connection.query(shard, &self.first_of_index(shard, count)).await?, now)
    }

    fn first_of_index(&self, shard: Shard, count: usize) -> Cmd {
        let mut zrange = redis::cmd("ZRANGE");
        zrange.arg(self.keys.index(shard)).arg(0).arg(count - 1).arg("WITHSCORES");
        zrange
    }

    /// Looks again at players who are due, all of one shard, and makes the OFFLINE transition of those whose record ran
    /// out. However many call this at the same time, each transition is made once.
    pub(crate) async fn expire(&self, players: &[PlayerId], trace: &TraceContext) -> Result<Expired, StoreError> {
        let players: Vec<_> = players.iter().collect();
        let reply = self.call(&scripts::EXPIRE, &players, trace, |_| {}).await?;
        let count = |outcome| reply.outcomes.iter().filter(|other| **other == outcome).count();
        Ok(Expired { ran_out: count(Outcome::Expired), alive: count(Outcome::Accepted), events: reply.events })
    }

    /// Notes that a sweep of all shards has ended.
    pub(crate) async fn note_sweep(&self) -> Result<(), StoreError> {
        let (_, now) = self.swept().await?;
        self.connection.query(Shard::FIRST, redis::cmd("SET").arg(self.keys.swept()).arg(now)).await?;
        Ok(())
    }

    /// The time since the last sweep of all shards ended, in milliseconds; `None` where there was none yet.
    pub(crate) async fn sweep_lag(&self) -> Result<Option<u64>, StoreError> {
        let (swept, now) = self.swept().await?;
        let swept: Option<u64> = redis::from_redis_value(swept)?;
        Ok(swept.map(|swept| now.saturating_sub(swept)))
    }

    async fn swept(&self) -> Result<Timed, StoreError> {
        let get = [(Shard::FIRST, redis::cmd("GET").arg(self.keys.swept()).to_owned())];
        let answer = self.connection.query_all_timed(&get).await.pop();
        answer.unwrap_or(Err(StoreError::Unexpected("no answer")))
    }
}

/// The players of an answer of `ZRANGE … WITHSCORES` whose time has come.
pub(super) fn due(first: Value, now: u64) -> Result<Vec<PlayerId>, StoreError> {
    let first: Vec<(String, f64)> = redis::from_redis_value(first)?;
    let due = first.iter().take_while(|(_, expires_at)| *expires_at <= now as f64);
    Ok(due.filter_map(|(player, _)| PlayerId::parse(player).ok()).collect())
}
