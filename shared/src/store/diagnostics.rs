//! Queries of operators: a sample of players, and diagnostics of one player.

use redis::Cmd;
use serde::Deserialize;

use super::{Store, past::Past, record, reply};
use crate::{
    model::{Explanation, Lease, PlayerId, State, Transition},
    redis::{Shard, StoreError, value},
};

/// The members of a record that diagnostics need.
#[derive(Deserialize)]
struct Record {
    state: State,
    version: u64,
}

impl Store {
    /// Reads the number of players in the expiry index, a sample of them, and the earliest of the
    /// nodes' clocks (Unix milliseconds). The sample has `count` players if there are as many; in a
    /// cluster it may have more, by up to `count`.
    pub(crate) async fn some_players(
        &self,
        count: usize,
    ) -> Result<(u64, Vec<PlayerId>, u64), StoreError> {
        let zcards: Vec<_> = self
            .keys
            .shards()
            .map(|shard| (shard, self.of_index("ZCARD", shard)))
            .collect();
        let replies = self.redis.query_all_timed(&zcards).await;
        let parsed = replies.into_iter().map(|reply| {
            let (size, now) = reply?;
            Ok((redis::from_redis_value::<u64>(size)?, now))
        });
        let sizes: Vec<(u64, u64)> = parsed.collect::<Result<_, StoreError>>()?;
        let now = sizes.iter().map(|(_, now)| *now).min().unwrap_or_default();

        // A player's shard does not depend on the state, so the first shards are a fair sample.
        let mut zrandmembers = Vec::new();
        let mut found = 0;
        for ((shard, _), (size, _)) in zcards.iter().zip(&sizes) {
            if *size > 0 && found < count as u64 {
                let mut zrandmember = self.of_index("ZRANDMEMBER", *shard);
                zrandmember.arg(count);
                zrandmembers.push((*shard, zrandmember));
                found += size;
            }
        }
        let mut players = Vec::new();
        for reply in self.redis.query_all(&zrandmembers).await {
            let ids: Vec<Vec<u8>> = redis::from_redis_value(reply?)?;
            players.extend(
                ids.iter()
                    .filter_map(|id| PlayerId::parse(str::from_utf8(id).ok()?).ok()),
            );
        }
        Ok((sizes.iter().map(|(size, _)| size).sum(), players, now))
    }

    fn of_index(&self, command: &str, shard: Shard) -> Cmd {
        let mut command = redis::cmd(command);
        command.arg(self.keys.expiry_index(shard));
        command
    }

    /// Reads everything that Redis stores about a player.
    pub(crate) async fn explain(&self, player: &PlayerId) -> Result<Explanation, StoreError> {
        let shard = self.keys.shard(player);
        let mut mget = redis::cmd("MGET");
        mget.arg(self.keys.record(shard, player))
            .arg(self.keys.past(shard, player));
        let mut zcard = redis::cmd("ZCARD");
        zcard.arg(self.keys.tombstones(shard, player));
        let replies = self
            .redis
            .query_all_timed(&[(shard, mget), (shard, zcard)])
            .await;
        let [keys_reply, closed_reply] =
            <[_; 2]>::try_from(replies).map_err(|_| StoreError::Unexpected("wrong reply count"))?;
        let (values, now) = keys_reply?;
        let (closed, _) = closed_reply?;
        let values = reply::values(values, 2)?;
        let (record_value, past_value) = (&values[0], &values[1]);
        let stored_past = Past::from_value(past_value, self.ttl)?;
        let history = stored_past
            .as_ref()
            .and_then(|past| past.history(now, self.retention));
        let presence = record::presence(player.clone(), [record_value, past_value], history, now)?;
        // After the retention the key lives on for the sake of the next version only.
        let past = stored_past.filter(|past| past.state != State::Offline || history.is_some());
        let record = match value::text(record_value)? {
            Some(json) => Some(Record::parse(json)?),
            None => None,
        };
        Ok(Explanation {
            as_of: now,
            ttl_ms: self.ttl,
            presence,
            connections: record
                .as_ref()
                .and(past.as_ref())
                .map(|past| live_leases(past, now))
                .unwrap_or_default(),
            closed_connections: redis::from_redis_value(closed)?,
            last_transition: last_transition(record.as_ref(), past.as_ref()),
            next_transition: past.filter(|past| past.state != State::Offline).map(end),
        })
    }
}

impl Record {
    fn parse(json: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(json).map_err(|_| StoreError::Unexpected("malformed record"))
    }
}

/// The leases that count at `now` (Unix ms), soonest expiry first. A lease counts through the
/// millisecond of its expiry.
fn live_leases(past: &Past, now: u64) -> Vec<Lease> {
    let live = past
        .leases
        .iter()
        .filter(|(_, expires_at)| *expires_at >= now);
    let to_lease = |(id, expires_at): &(String, u64)| Lease {
        connection_id: id.clone(),
        expires_at: *expires_at,
        expires_in_ms: expires_at - now,
    };
    let mut leases: Vec<_> = live.map(to_lease).collect();
    leases.sort_by_key(|lease| lease.expires_at);
    leases
}

/// The transition that follows if the record is not renewed.
fn end(past: Past) -> Transition {
    Transition {
        state: State::Offline,
        at: past.expires_at,
        version: None,
        reason: Some(past.reason),
    }
}

/// The newest transition. Its version is taken for its time: a version is the Unix millisecond of
/// the transition, unless the player changed twice within one.
fn last_transition(record: Option<&Record>, past: Option<&Past>) -> Option<Transition> {
    let build = |state, version| Transition {
        state,
        at: version,
        version: Some(version),
        reason: None,
    };
    match (record, past?) {
        (Some(record), _) => Some(build(record.state, record.version)),
        (None, past) if past.state == State::Offline => Some(Transition {
            at: past.expires_at,
            reason: Some(past.reason.clone()),
            ..build(State::Offline, past.version)
        }),
        (None, past) => Some(build(past.state, past.version)),
    }
}
