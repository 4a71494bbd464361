//! Reads of presences, by plain commands that change nothing.

use redis::{Cmd, Value};

use super::{
    Store,
    past::Past,
    record::{self, Record},
    reply,
};
use crate::{
    model::{PlayerId, Presence},
    redis::{ConcatArg, Policy, Shard, StoreError, Timed},
};

/// Presences, and the time at which they were read.
#[derive(Debug)]
pub struct Snapshot {
    /// When the presences were read, in Unix milliseconds of Redis's clock; the earliest time of
    /// the nodes involved.
    pub as_of: u64,
    /// The presences, in the order of the call.
    pub presences: Vec<Presence>,
}

/// A presence whose record and past were read by one `MGET`.
#[derive(Debug, Clone)]
pub(super) struct PresenceRead {
    pub(super) presence: Presence,
    /// Whether the record is missing although the past says that the player is not OFFLINE. `MGET`
    /// reports a key of another type as missing, so [`Store::check_records`] has to look again.
    pub(super) is_doubtful: bool,
}

impl Store {
    /// Reads the presences of `players`, in one round trip to each Redis node involved; in two if
    /// some of them have an activity.
    ///
    /// # Errors
    /// [`StoreError`] if a node did not respond: unknown is never OFFLINE.
    pub async fn presences(&self, players: &[PlayerId]) -> Result<Snapshot, StoreError> {
        let to_keys = |shard, player| [self.keys.record(shard, player)];
        let (as_of, read) = self
            .read(
                players,
                to_keys,
                |player, [record], now| match Record::from_value(record)? {
                    Some(record) => Ok((record.has_activity(), record.presence_at(player, now))),
                    None => Ok((false, Presence::offline(player, None))),
                },
            )
            .await?;
        let marked = read.iter().filter(|(has_activity, _)| *has_activity);
        let players_with_activity: Vec<_> = marked
            .map(|(_, presence)| presence.player_id.clone())
            .collect();
        // Most calls end here, with one round trip.
        let with_activity = match players_with_activity.is_empty() {
            true => Vec::new(),
            false => self.presences_with_activity(&players_with_activity).await?,
        };
        let mut remaining = with_activity.into_iter();
        let pick_complete = |(has_activity, presence)| {
            if has_activity { remaining.next() } else { None }.unwrap_or(presence)
        };
        Ok(Snapshot {
            as_of,
            presences: read.into_iter().map(pick_complete).collect(),
        })
    }

    /// Reads the presences of `players` with an activity in their past. Record and past are read by
    /// one command, so that they are consistent.
    async fn presences_with_activity(
        &self,
        players: &[PlayerId],
    ) -> Result<Vec<Presence>, StoreError> {
        let to_keys = |shard, player| {
            [
                self.keys.record(shard, player),
                self.keys.past(shard, player),
            ]
        };
        let decode = |player, [record, past]: &[Value; 2], now| {
            record::presence(player, [record, past], None, now)
        };
        Ok(self.read(players, to_keys, decode).await?.1)
    }

    /// Reads the presences of `players` to count them. A player whose record is malformed counts as
    /// OFFLINE, so that one such record does not fail the whole count.
    pub(crate) async fn countable_presences(
        &self,
        players: &[PlayerId],
    ) -> Result<Snapshot, StoreError> {
        let decode = |player: PlayerId, [record]: &[Value; 1], now| {
            let presence = record::presence(player.clone(), [record, &Value::Nil], None, now);
            Ok(presence.unwrap_or_else(|_| Presence::offline(player, None)))
        };
        let to_keys = |shard, player| [self.keys.record(shard, player)];
        let (as_of, presences) = self.read(players, to_keys, decode).await?;
        Ok(Snapshot { as_of, presences })
    }

    /// Reads the presences of `players`, with the history of those that are OFFLINE, if it is still
    /// known.
    ///
    /// # Errors
    /// As for [`presences`](Self::presences).
    pub async fn presences_with_history(
        &self,
        players: &[PlayerId],
    ) -> Result<Snapshot, StoreError> {
        let to_keys = |shard, player| {
            [
                self.keys.record(shard, player),
                self.keys.past(shard, player),
            ]
        };
        let decode = |player, [record, past]: &[Value; 2], now| {
            self.presence_with_history(player, [record, past], now)
        };
        let (as_of, read) = self.read(players, to_keys, decode).await?;
        let doubtful: Vec<_> = read
            .iter()
            .filter(|read| read.is_doubtful)
            .map(|read| &read.presence.player_id)
            .collect();
        for check in self.check_records(&doubtful).await {
            check?;
        }
        Ok(Snapshot {
            as_of,
            presences: read.into_iter().map(|read| read.presence).collect(),
        })
    }

    /// Decodes record and past of a player, as `MGET` returned them.
    pub(super) fn presence_with_history(
        &self,
        player: PlayerId,
        [record, past_line]: [&Value; 2],
        now: u64,
    ) -> Result<PresenceRead, StoreError> {
        let past = Past::from_value(past_line, self.ttl)?;
        let history = past
            .as_ref()
            .and_then(|past| past.history(now, self.retention));
        Ok(PresenceRead {
            is_doubtful: *record == Value::Nil
                && past.is_some_and(|past| past.requires_record(now)),
            presence: record::presence(player, [record, past_line], history, now)?,
        })
    }

    /// Checks records that `MGET` reported as missing: `GET` fails if a key is of another type.
    pub(super) async fn check_records(&self, players: &[&PlayerId]) -> Vec<Result<(), StoreError>> {
        if players.is_empty() {
            return Vec::new();
        }
        let build_command = |player: &&PlayerId| {
            let shard = self.keys.shard(player);
            let record = self.keys.record(shard, player);
            (shard, read_command([record].into_iter()))
        };
        let commands: Vec<_> = players.iter().map(build_command).collect();
        let replies = self.redis.read_all(Policy::READ, &commands).await;
        replies.into_iter().map(|reply| reply.map(drop)).collect()
    }

    /// Reads `N` keys of each player, those of one shard together, and the clocks of the nodes.
    /// Returns the earliest of the clocks, and the decoded values in the order of `players`.
    async fn read<'a, const N: usize, T: Clone>(
        &'a self,
        players: &'a [PlayerId],
        to_keys: impl Fn(Shard, &'a PlayerId) -> [ConcatArg<'a>; N],
        decode: impl Fn(PlayerId, &[Value; N], u64) -> Result<T, StoreError>,
    ) -> Result<(u64, Vec<T>), StoreError> {
        let mut as_of = None;
        let mut decoded = vec![None; players.len()];
        for (positions, reply) in self.read_by_shard(players, to_keys).await {
            let (value, now) = reply?;
            as_of = Some(as_of.map_or(now, |earliest: u64| earliest.min(now)));
            let mut remaining = reply::values(value).into_iter();
            for position in positions {
                let values = [(); N].map(|()| remaining.next().unwrap_or(Value::Nil));
                decoded[position] = Some(decode(players[position].clone(), &values, now)?);
            }
        }
        Ok((
            as_of.unwrap_or_default(),
            decoded.into_iter().flatten().collect(),
        ))
    }

    /// Reads `N` keys of each player. Returns the replies, each with the positions of its players
    /// in the list.
    ///
    /// The players of a shard are read by one command. If the shard's slot is being moved, so that
    /// their keys are on two nodes, each player is read by a command of its own.
    pub(super) async fn read_by_shard<'a, const N: usize>(
        &'a self,
        players: &'a [PlayerId],
        to_keys: impl Fn(Shard, &'a PlayerId) -> [ConcatArg<'a>; N],
    ) -> Vec<(Vec<usize>, Result<Timed, StoreError>)> {
        let build_command = |(shard, positions): &(Shard, Vec<usize>)| {
            (
                *shard,
                read_command(
                    positions
                        .iter()
                        .flat_map(|position| to_keys(*shard, &players[*position])),
                ),
            )
        };
        let groups: Vec<_> = self
            .keys
            .group_by_shard(0..players.len(), |position| &players[*position])
            .into_iter()
            .collect();
        let commands: Vec<_> = groups.iter().map(build_command).collect();
        let replies = self.redis.read_all(Policy::READ_TOGETHER, &commands).await;

        let mut read = Vec::with_capacity(groups.len());
        let mut apart = Vec::new();
        for ((shard, positions), reply) in groups.into_iter().zip(replies) {
            match reply {
                Err(error) if error.is_keys_apart() => apart.extend(
                    positions
                        .into_iter()
                        .map(|position| (shard, vec![position])),
                ),
                reply => read.push((positions, reply)),
            }
        }
        if !apart.is_empty() {
            let commands: Vec<_> = apart.iter().map(build_command).collect();
            let replies = self.redis.read_all(Policy::READ, &commands).await;
            read.extend(
                apart
                    .into_iter()
                    .map(|(_, positions)| positions)
                    .zip(replies),
            );
        }
        read
    }
}

/// Builds the command that reads `keys`. A single key is read by `GET`, which fails if it is not a
/// string; `MGET` would report it as missing, and the player as OFFLINE.
fn read_command<'a>(keys: impl Iterator<Item = ConcatArg<'a>>) -> Cmd {
    let keys: Vec<_> = keys.collect();
    let mut command = redis::cmd(if keys.len() == 1 { "GET" } else { "MGET" });
    command.arg(&keys);
    command
}
