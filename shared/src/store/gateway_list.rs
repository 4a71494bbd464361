//! The list of gateways for operators. Reads only.

use std::collections::BTreeMap;

use redis::{Cmd, Value};

use super::{Store, gateways::Ending};
use crate::{
    model::{Gateway, GatewayId, GatewayState},
    redis::{Shard, StoreError},
};

/// The number of gateways that are counted in one go.
const GATEWAYS_PER_PIPELINE: usize = 100;

/// Gateways, what is happening to them, and how long their leases live (ms).
type States = BTreeMap<GatewayId, (GatewayState, u64)>;

impl Store {
    /// All known gateways and those whose connections' leases are being ended, by id; and the clock
    /// (Unix milliseconds). Costs a command per gateway and shard.
    pub(crate) async fn gateways(&self) -> Result<(Vec<Gateway>, u64), StoreError> {
        let mut replies = self
            .redis
            .query_all_timed(&self.gateway_reads())
            .await
            .into_iter();
        let mut take_reply = || {
            replies
                .next()
                .unwrap_or(Err(StoreError::Unexpected("no reply")))
        };
        let (leases, now) = take_reply()?;
        let (endings, _) = take_reply()?;
        let (hold, _) = take_reply()?;
        let (held_until,): (Option<u64>,) = redis::from_redis_value(hold)?;
        let is_held = held_until.is_some_and(|held_until| now < held_until);
        let mut states = ending_gateways(endings)?;
        states.extend(known_gateways(leases, is_held, now)?);
        let gateways: Vec<_> = states.into_iter().collect();
        let mut list = Vec::with_capacity(gateways.len());
        for chunk in gateways.chunks(GATEWAYS_PER_PIPELINE) {
            let counts = self
                .count_owned(chunk.iter().map(|(gateway, _)| gateway))
                .await?;
            list.extend(chunk.iter().zip(counts).map(
                |((gateway_id, (state, expires_in_ms)), connections)| Gateway {
                    gateway_id: gateway_id.clone(),
                    connections,
                    expires_in_ms: *expires_in_ms,
                    state: *state,
                },
            ));
        }
        Ok((list, now))
    }

    /// The number of commands that the counting of a gateway's connections costs.
    pub(crate) fn commands_per_gateway(&self) -> usize {
        self.keys.shards().count()
    }

    fn gateway_reads(&self) -> [(Shard, Cmd); 3] {
        let read_all = |key| {
            redis::cmd("ZRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .to_owned()
        };
        let held_until = redis::cmd("HMGET")
            .arg(self.keys.gateways_seen())
            .arg("held_until")
            .to_owned();
        let reads = [
            read_all(self.keys.gateways()),
            read_all(self.keys.gateways_ending()),
            held_until,
        ];
        reads.map(|read| (Shard::FIRST, read))
    }
}

/// The gateways with a lease, also with one that has expired and that no sweep has noticed yet.
fn known_gateways(reply: Value, is_held: bool, now: u64) -> Result<States, StoreError> {
    let leases: Vec<(String, f64)> = redis::from_redis_value(reply)?;
    let known = leases.into_iter().filter_map(|(id, expires_at)| {
        let expires_at = expires_at as u64;
        // A lease counts through the millisecond of its expiry.
        let state = match expires_at >= now {
            true => GatewayState::Live,
            false if is_held => GatewayState::Held,
            false => GatewayState::Lost,
        };
        Some((
            GatewayId::parse(&id).ok()?,
            (state, expires_at.saturating_sub(now)),
        ))
    });
    Ok(known.collect())
}

/// The gateways whose connections' leases are being ended. The score says when sweeps take over:
/// after `before` for a gateway that leaves (lua/leave_gateway.lua), not after it for a lost one.
fn ending_gateways(reply: Value) -> Result<States, StoreError> {
    let endings: Vec<(String, f64)> = redis::from_redis_value(reply)?;
    let ending = endings.into_iter().filter_map(|(member, swept_from)| {
        let ending = Ending::parse(&member)?;
        let is_leaving = swept_from as u64 > ending.before;
        let state = if is_leaving {
            GatewayState::Leaving
        } else {
            GatewayState::Lost
        };
        Some((ending.gateway, (state, 0)))
    });
    Ok(ending.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(members: &[(&str, u64)]) -> Value {
        let pairs = members.iter().flat_map(|(member, score)| {
            [
                Value::BulkString((*member).into()),
                Value::BulkString(score.to_string().into()),
            ]
        });
        Value::Array(pairs.collect())
    }

    fn states(states: Result<States, StoreError>) -> Vec<(String, GatewayState, u64)> {
        let states = states.unwrap().into_iter();
        states
            .map(|(id, (state, expires_in_ms))| (id.as_str().to_owned(), state, expires_in_ms))
            .collect()
    }

    #[test]
    fn a_lease_counts_through_the_millisecond_of_its_expiry() {
        let build_leases = || scored(&[("a", 999), ("b", 1_000), ("c", 1_500)]);
        let list_states = |is_held| states(known_gateways(build_leases(), is_held, 1_000));
        let build_expected = |state_of_a| {
            [
                ("a", state_of_a, 0),
                ("b", GatewayState::Live, 0),
                ("c", GatewayState::Live, 500),
            ]
            .map(|(id, state, expires_in_ms)| (id.to_owned(), state, expires_in_ms))
        };
        assert_eq!(list_states(false), build_expected(GatewayState::Lost));
        assert_eq!(list_states(true), build_expected(GatewayState::Held));
    }

    #[test]
    fn a_gateway_that_leaves_is_not_a_lost_one() {
        let endings = scored(&[
            ("a!1000!lost!0", 1_000),
            ("b!2000!lost!30000", 16_000),
            ("nonsense", 5),
        ]);
        let expected = [("a", GatewayState::Lost), ("b", GatewayState::Leaving)];
        assert_eq!(
            states(ending_gateways(endings)),
            expected.map(|(id, state)| (id.to_owned(), state, 0))
        );
    }
}
