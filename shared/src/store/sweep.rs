//! The expiry index: the players that are not OFFLINE, by the time at which the sweep checks them.

use redis::{Cmd, Value};

use super::{
    OutboxEntry, PartialResult, Store,
    mutate::OTHER_TYPE,
    reply::{Outcome, Reply},
    scripts,
};
use crate::{
    model::PlayerId,
    redis::{Shard, StoreError},
    telemetry::TraceContext,
};

/// Script that deletes a key if its type is not the one that a read command needs. Check and
/// deletion are one step, so that a key of the right type, created in between, is safe.
const DELETE_WRONG_TYPE: &str = "local reply = redis.pcall(ARGV[1], KEYS[1], unpack(ARGV, 2)) \
    if type(reply) == 'table' and reply.err and string.find(reply.err, 'WRONGTYPE', 1, true) then \
    return redis.call('DEL', KEYS[1]) end return 0";

/// The due players of one shard, from one read of its index.
#[derive(Debug, Default)]
pub(crate) struct DuePage {
    pub(crate) players: Vec<PlayerId>,
    /// Members that are not players of this shard.
    pub(crate) foreign_members: Vec<Vec<u8>>,
    /// Whether more players may be due: the page is full.
    pub(crate) has_more: bool,
}

/// The outcome of a check of due players.
#[derive(Debug)]
pub(crate) struct Expired {
    /// The number of players that went OFFLINE.
    pub(crate) expired: usize,
    /// The number of players that were still alive, and were rescheduled.
    pub(crate) rescheduled: usize,
    pub(crate) events: Vec<OutboxEntry>,
}

/// The outcome of a check of one due player: of the script expire.
#[derive(Debug, Clone, Copy)]
enum ExpiryOutcome {
    /// The record had expired, and the player went OFFLINE.
    Expired,
    /// The player is alive, and was rescheduled.
    Alive,
    /// The player was OFFLINE already.
    WasOffline,
}

impl Outcome for ExpiryOutcome {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'E' => Some(Self::Expired),
            b'A' => Some(Self::Alive),
            b'X' => Some(Self::WasOffline),
            _ => None,
        }
    }
}

impl Store {
    /// Reads which of `shards` have due players, and the clock of their node (Unix milliseconds).
    ///
    /// An index key of another type is deleted: it would make all calls of its players fail.
    pub(crate) async fn due_shards(&self, shards: &[Shard]) -> PartialResult<(Shard, u64)> {
        let heads: Vec<_> = shards
            .iter()
            .map(|shard| (*shard, self.head_of_index(*shard)))
            .collect();
        let replies = self.redis.query_all_timed(&heads).await;
        let mut results = Vec::with_capacity(1);
        for ((shard, _), reply) in heads.iter().zip(replies) {
            results.push(match reply {
                Ok((head, now)) => {
                    due(head, now).map(|due| (!due.is_empty()).then_some((*shard, now)))
                }
                Err(error) if is_wrong_type(&error) => {
                    let index = self.keys.expiry_index(*shard).to_string();
                    self.delete_wrong_type(*shard, index, &["ZRANGE", "0", "0"])
                        .await
                        .map(|()| None)
                }
                Err(error) => Err(error),
            });
        }
        PartialResult::collect(results.into_iter())
    }

    fn head_of_index(&self, shard: Shard) -> Cmd {
        let mut zrange = redis::cmd("ZRANGE");
        zrange
            .arg(self.keys.expiry_index(shard))
            .arg(0)
            .arg(0)
            .arg("WITHSCORES");
        zrange
    }

    /// Players of a shard who are due at `now`, at most `count` of them, the longest overdue first.
    pub(crate) async fn due(
        &self,
        shard: Shard,
        count: usize,
        now: u64,
    ) -> Result<DuePage, StoreError> {
        let mut zrange = redis::cmd("ZRANGE");
        zrange
            .arg(self.keys.expiry_index(shard))
            .arg("-inf")
            .arg(format!("({now}"));
        zrange.arg("BYSCORE").arg("LIMIT").arg(0).arg(count);
        let members: Vec<Vec<u8>> =
            redis::from_redis_value(self.redis.query(shard, &zrange).await?)?;
        let mut page = DuePage {
            has_more: members.len() == count,
            ..DuePage::default()
        };
        for member in members {
            let player = str::from_utf8(&member)
                .ok()
                .and_then(|id| PlayerId::parse(id).ok());
            match player.filter(|player| self.keys.shard(player) == shard) {
                Some(player) => page.players.push(player),
                None => page.foreign_members.push(member),
            }
        }
        Ok(page)
    }

    /// Removes members of an index that are not players of its shard.
    pub(crate) async fn remove_foreign_members(
        &self,
        shard: Shard,
        foreign_members: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        let mut zrem = redis::cmd("ZREM");
        zrem.arg(self.keys.expiry_index(shard)).arg(foreign_members);
        self.redis.query(shard, &zrem).await.map(drop)
    }

    /// Checks due players of one shard again, and makes the OFFLINE transition of those whose
    /// record has expired. With any number of concurrent callers, each transition is made once.
    pub(crate) async fn expire(
        &self,
        players: &[PlayerId],
        trace: &TraceContext,
    ) -> Result<Expired, StoreError> {
        let players: Vec<_> = players.iter().collect();
        let Reply {
            outcomes, events, ..
        } = self.call(&scripts::EXPIRE, &players, trace, |_| {}).await?;
        let mut checked = Expired {
            expired: 0,
            rescheduled: 0,
            events,
        };
        for outcome in outcomes {
            match outcome.ok_or(OTHER_TYPE)? {
                ExpiryOutcome::Expired => checked.expired += 1,
                ExpiryOutcome::Alive => checked.rescheduled += 1,
                ExpiryOutcome::WasOffline => {}
            }
        }
        Ok(checked)
    }

    /// Deletes a key of this service that holds another type than it should.
    pub(super) async fn delete_wrong_type(
        &self,
        shard: Shard,
        key: String,
        read: &[&str],
    ) -> Result<(), StoreError> {
        let mut eval = redis::cmd("EVAL");
        eval.arg(DELETE_WRONG_TYPE).arg(1).arg(&key).arg(read);
        let deleted: u64 = redis::from_redis_value(self.redis.query(shard, &eval).await?)?;
        if deleted > 0 {
            tracing::error!(
                key,
                "a key of another type stood in the way and was deleted"
            );
        }
        Ok(())
    }

    /// The time since the last sweep of all shards ended, in milliseconds. `None` before the first
    /// sweep.
    pub(crate) async fn sweep_lag(&self) -> Result<Option<u64>, StoreError> {
        let get = [(
            Shard::FIRST,
            redis::cmd("GET").arg(self.keys.last_sweep()).to_owned(),
        )];
        let reply = self.redis.query_all_timed(&get).await.pop();
        let (value, now) = reply.unwrap_or(Err(StoreError::Unexpected("no reply")))?;
        let swept: Option<u64> = redis::from_redis_value(value)?;
        Ok(swept.map(|swept| now.saturating_sub(swept)))
    }
}

/// The members in a reply of `ZRANGE … WITHSCORES` whose time has passed. A record counts through
/// the millisecond of its expiry.
pub(super) fn due(reply: Value, now: u64) -> Result<Vec<Vec<u8>>, StoreError> {
    let members: Vec<(Vec<u8>, f64)> = redis::from_redis_value(reply)?;
    let due = members
        .into_iter()
        .take_while(|(_, expires_at)| *expires_at < now as f64);
    Ok(due.map(|(member, _)| member).collect())
}

/// Whether Redis refused a command because a key holds another type.
pub(super) fn is_wrong_type(error: &StoreError) -> bool {
    matches!(error, StoreError::Redis(error) if error.code() == Some("WRONGTYPE"))
}
