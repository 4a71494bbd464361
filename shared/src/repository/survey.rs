//! What operators ask for.

use redis::{Cmd, Value};
use serde::Deserialize;

use super::{Repository, StoreError, keys::Shard, past::Past, reply};
use crate::model::{Explanation, Lease, PlayerId, PresenceState, Transition};

/// What this looks at of a record.
#[derive(Deserialize)]
struct Record {
    state: PresenceState,
    version: u64,
}

impl Repository {
    /// The number of players in the expiry index, some of them (`count` where there are as many, in cluster mode up to a
    /// shard's more), and the earliest of the nodes' clocks (Unix milliseconds).
    pub(crate) async fn some_players(&self, count: usize) -> Result<(u64, Vec<PlayerId>, u64), StoreError> {
        let zcards: Vec<_> = self.keys.shards().map(|shard| (shard, self.of_index("ZCARD", shard))).collect();
        let sizes = self.connection.query_all_timed(&zcards).await;
        let sizes = sizes.into_iter().map(|answer| {
            let (size, now) = answer?;
            Ok((redis::from_redis_value::<u64>(size)?, now))
        });
        let sizes: Vec<(u64, u64)> = sizes.collect::<Result<_, StoreError>>()?;
        let now = sizes.iter().map(|(_, now)| *now).min().unwrap_or_default();

        // Who is in which shard has nothing to do with states, so the first ones are as good as any.
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
        for ids in self.connection.query_all(&zrandmembers).await {
            let ids: Vec<Vec<u8>> = redis::from_redis_value(ids?)?;
            players.extend(ids.iter().filter_map(|id| PlayerId::parse(str::from_utf8(id).ok()?).ok()));
        }
        Ok((sizes.iter().map(|(size, _)| size).sum(), players, now))
    }

    fn of_index(&self, command: &str, shard: Shard) -> Cmd {
        let mut command = redis::cmd(command);
        command.arg(self.keys.index(shard));
        command
    }

    /// All that is known of a player.
    pub(crate) async fn explain(&self, player: &PlayerId) -> Result<Explanation, StoreError> {
        let shard = self.keys.shard(player);
        let (mut mget, mut zcard) = (redis::cmd("MGET"), redis::cmd("ZCARD"));
        mget.arg(self.keys.record(shard, player)).arg(self.keys.past(shard, player));
        zcard.arg(self.keys.closed(shard, player));
        let answers = self.connection.query_all_timed(&[(shard, mget), (shard, zcard)]).await;
        let [values, closed] =
            <[_; 2]>::try_from(answers).map_err(|_| StoreError::Unexpected("another number of answers"))?;
        let ((values, now), (closed, _)) = (values?, closed?);
        let [record, past] = <[Value; 2]>::try_from(reply::values(values))
            .map_err(|_| StoreError::Unexpected("another number of values"))?;
        let past_value = past;
        let past = reply::past(&past_value, self.ttl)?;
        let history = past.as_ref().and_then(|past| past.last_seen(now, self.retention));
        let presence = reply::presence(player.clone(), [&record, &past_value], history, now)?;
        // Its key outlives the retention for the next version alone.
        let past = past.filter(|past| past.state != PresenceState::Offline || history.is_some());
        let record = match reply::text(&record)? {
            Some(json) => Some(Record::parse(json)?),
            None => None,
        };
        Ok(Explanation {
            as_of: now,
            ttl_ms: self.ttl,
            presence,
            connections: record.as_ref().and(past.as_ref()).map(|past| live_leases(past, now)).unwrap_or_default(),
            closed_connections: redis::from_redis_value(closed)?,
            last_transition: last_transition(record.as_ref(), past.as_ref()),
            next_transition: past.filter(|past| past.state != PresenceState::Offline).map(end),
        })
    }
}

impl Record {
    fn parse(json: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(json).map_err(|_| StoreError::Unexpected("a record that is none"))
    }
}

/// The leases that count at `now` (Unix ms), soonest expiry first. A lease counts through the millisecond of its expiry.
fn live_leases(past: &Past, now: u64) -> Vec<Lease> {
    let live = past.leases.iter().filter(|(_, expires_at)| *expires_at >= now);
    let lease = |(id, expires_at): &(String, u64)| Lease {
        connection_id: id.clone(),
        expires_at: *expires_at,
        expires_in_ms: expires_at - now,
    };
    let mut leases: Vec<_> = live.map(lease).collect();
    leases.sort_by_key(|lease| lease.expires_at);
    leases
}

/// The transition that follows if nobody renews the record.
fn end(past: Past) -> Transition {
    Transition { state: PresenceState::Offline, at: past.ends_at, version: None, reason: Some(past.reason) }
}

/// A version is the Unix millisecond at which it was made, unless its player changed twice in one.
fn last_transition(record: Option<&Record>, past: Option<&Past>) -> Option<Transition> {
    let made = |state, version| Transition { state, at: version, version: Some(version), reason: None };
    match (record, past?) {
        (Some(record), _) => Some(made(record.state, record.version)),
        (None, past) if past.state == PresenceState::Offline => Some(Transition {
            at: past.ends_at,
            reason: Some(past.reason.clone()),
            ..made(PresenceState::Offline, past.version)
        }),
        (None, past) => Some(made(past.state, past.version)),
    }
}
