//! Reads of many players that fail independently of each other.

use redis::Value;

use super::{Store, read::PresenceRead, reply};
use crate::{
    model::{PlayerId, Presence},
    redis::{StoreError, Timed},
};

/// A presence, and the time at which Redis held it, in Unix milliseconds of the node's clock.
pub(crate) type Sighting = (Presence, u64);

impl Store {
    /// Reads presences with their history, in the order of `players`, in one round trip to each
    /// Redis node involved. A node that does not respond is an error of its own players only, and
    /// a key of another type one of its own player.
    pub(crate) async fn presences_each(
        &self,
        players: &[PlayerId],
    ) -> Vec<Result<Sighting, StoreError>> {
        let to_keys = |shard, player| {
            [
                self.keys.record(shard, player),
                self.keys.past(shard, player),
            ]
        };
        let mut sightings = vec![Err(StoreError::Unexpected("no reply")); players.len()];
        let mut doubtful = Vec::new();
        for (positions, reply) in self.read_by_shard(players, to_keys).await {
            let group: Vec<_> = positions
                .iter()
                .map(|position| &players[*position])
                .collect();
            for (position, read) in positions.iter().zip(self.decode_reply(reply, &group)) {
                sightings[*position] = read.map(|(read, now)| {
                    if read.is_doubtful {
                        doubtful.push(*position);
                    }
                    (read.presence, now)
                });
            }
        }
        let doubtful_players: Vec<_> = doubtful
            .iter()
            .map(|position| &players[*position])
            .collect();
        let checks = self.check_records(&doubtful_players).await;
        for (position, check) in doubtful.into_iter().zip(checks) {
            if let Err(error) = check {
                sightings[position] = Err(error);
            }
        }
        sightings
    }

    /// Decodes the reply of one node about some players, with the node's time.
    fn decode_reply(
        &self,
        reply: Result<Timed, StoreError>,
        players: &[&PlayerId],
    ) -> Vec<Result<(PresenceRead, u64), StoreError>> {
        let checked = reply.and_then(|(value, now)| {
            let values = reply::values(value, 2 * players.len())?;
            Ok((values, now))
        });
        let (values, now) = match checked {
            Ok(checked) => checked,
            Err(error) => return players.iter().map(|_| Err(error.clone())).collect(),
        };
        let (values_by_player, _) = values.as_chunks();
        let decode = |(player, [record, past]): (&&PlayerId, &[Value; 2])| {
            let read = self.presence_with_history((*player).clone(), [record, past], now)?;
            Ok((read, now))
        };
        players.iter().zip(values_by_player).map(decode).collect()
    }
}
