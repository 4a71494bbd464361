//! Reads of many players that fail independently of each other.

use redis::Value;

use super::{Store, reply};
use crate::{
    model::{PlayerId, Presence},
    redis::{StoreError, Timed},
};

/// A presence, and the time at which Redis held it, in Unix milliseconds of the node's clock.
pub(crate) type Sighting = (Presence, u64);

impl Store {
    /// Reads presences with their history, in the order of `players`, in one round trip to each
    /// Redis node involved. A node that does not answer is an error of its own players only.
    pub(crate) async fn presences_each(
        &self,
        players: &[PlayerId],
    ) -> Vec<Result<Sighting, StoreError>> {
        let keys = |shard, player| {
            [
                self.keys.record(shard, player),
                self.keys.past(shard, player),
            ]
        };
        let mut sightings = vec![Err(StoreError::Unexpected("no answer")); players.len()];
        for (places, reply) in self.read_by_shard(players, keys).await {
            let found = self.sightings(reply, places.iter().map(|place| &players[*place]));
            for (place, sighting) in places.iter().zip(found) {
                sightings[*place] = sighting;
            }
        }
        sightings
    }

    /// Decodes the reply of one node about some players.
    fn sightings<'a>(
        &self,
        reply: Result<Timed, StoreError>,
        players: impl Iterator<Item = &'a PlayerId>,
    ) -> Vec<Result<Sighting, StoreError>> {
        let (mut values, now) = match reply {
            Ok((values, now)) => (reply::values(values).into_iter(), now),
            Err(error) => return players.map(|_| Err(error.clone())).collect(),
        };
        let mut next_value = || values.next().unwrap_or(Value::Nil);
        let decode = |player: &PlayerId| {
            let record = next_value();
            let past = next_value();
            let history =
                reply::past(&past, self.ttl)?.and_then(|past| past.last_seen(now, self.retention));
            Ok((
                reply::presence(player.clone(), [&record, &past], history, now)?,
                now,
            ))
        };
        players.map(decode).collect()
    }
}
