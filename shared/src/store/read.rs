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
#[derive(Debug)]
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
        let mut presences = all_offline(players);
        let mut with_activity = Vec::new();
        let decode = |position: usize, [record]: &[Value; 1], now| {
            if let Some(record) = Record::from_value(record)? {
                if record.has_activity() {
                    with_activity.push(position);
                }
                record.write_at(now, &mut presences[position]);
            }
            Ok(())
        };
        let as_of = self.read(players, to_keys, decode).await?;
        // Most calls end here, with one round trip.
        if !with_activity.is_empty() {
            self.read_activities(&with_activity, &mut presences).await?;
        }
        Ok(Snapshot { as_of, presences })
    }

    /// Reads the presences at these positions again, with the activity in the players' past. Record
    /// and past are read by one command, so that they are consistent.
    async fn read_activities(
        &self,
        positions: &[usize],
        presences: &mut [Presence],
    ) -> Result<(), StoreError> {
        let players: Vec<_> = positions
            .iter()
            .map(|position| presences[*position].player_id.clone())
            .collect();
        let to_keys = |shard, player| {
            [
                self.keys.record(shard, player),
                self.keys.past(shard, player),
            ]
        };
        let decode = |index: usize, [record, past]: &[Value; 2], now| {
            let presence = record::presence(players[index].clone(), [record, past], None, now)?;
            presences[positions[index]] = presence;
            Ok(())
        };
        self.read(&players, to_keys, decode).await.map(drop)
    }

    /// Reads the presences of `players` to count them. A player whose record is malformed counts as
    /// OFFLINE, so that one such record does not fail the whole count.
    pub(crate) async fn countable_presences(
        &self,
        players: &[PlayerId],
    ) -> Result<Snapshot, StoreError> {
        let to_keys = |shard, player| [self.keys.record(shard, player)];
        let mut presences = all_offline(players);
        let decode = |position: usize, [record]: &[Value; 1], now| {
            if let Ok(Some(record)) = Record::from_value(record) {
                record.write_at(now, &mut presences[position]);
            }
            Ok(())
        };
        let as_of = self.read(players, to_keys, decode).await?;
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
        let mut presences = all_offline(players);
        let mut doubtful = Vec::new();
        let decode = |position: usize, [record, past]: &[Value; 2], now| {
            let player = &players[position];
            let read = self.presence_with_history(player.clone(), [record, past], now)?;
            if read.is_doubtful {
                doubtful.push(player);
            }
            presences[position] = read.presence;
            Ok(())
        };
        let as_of = self.read(players, to_keys, decode).await?;
        for check in self.check_records(&doubtful).await {
            check?;
        }
        Ok(Snapshot { as_of, presences })
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
        let replies = self.redis.read_all(Policy::READ, commands).await;
        replies.into_iter().map(|reply| reply.map(drop)).collect()
    }

    /// Reads `N` keys of each player, those of one shard together, and the clocks of the nodes.
    /// `decode` gets the position, the values and the clock of each player, in any order. Returns
    /// the earliest of the clocks.
    async fn read<'a, const N: usize>(
        &'a self,
        players: &'a [PlayerId],
        to_keys: impl Fn(Shard, &'a PlayerId) -> [ConcatArg<'a>; N],
        mut decode: impl FnMut(usize, &[Value; N], u64) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let mut as_of = None;
        let mut decoded = 0;
        for (positions, reply) in self.read_by_shard(players, to_keys).await {
            let (value, now) = reply?;
            as_of = Some(as_of.map_or(now, |earliest: u64| earliest.min(now)));
            let values = reply::values(value, N * positions.len())?;
            let (values_by_player, _) = values.as_chunks();
            decoded += positions.len();
            for (position, values) in positions.into_iter().zip(values_by_player) {
                decode(position, values, now)?;
            }
        }
        // Players without a reply are unknown, not OFFLINE.
        if decoded < players.len() {
            return Err(StoreError::Unexpected("no reply"));
        }
        Ok(as_of.unwrap_or_default())
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
        let replies = self.redis.read_all(Policy::READ_TOGETHER, commands).await;

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
            let replies = self.redis.read_all(Policy::READ, commands).await;
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

/// Builds an OFFLINE presence per player, for the records to be written into.
fn all_offline(players: &[PlayerId]) -> Vec<Presence> {
    let offline = |player: &PlayerId| Presence::offline(player.clone(), None);
    players.iter().map(offline).collect()
}

/// Builds the command that reads `keys`. A single key is read by `GET`, which fails if it is not a
/// string; `MGET` would report it as missing, and the player as OFFLINE.
fn read_command<'a>(keys: impl Iterator<Item = ConcatArg<'a>>) -> Cmd {
    let keys: Vec<_> = keys.collect();
    let mut command = redis::cmd(if keys.len() == 1 { "GET" } else { "MGET" });
    command.arg(&keys);
    command
}
