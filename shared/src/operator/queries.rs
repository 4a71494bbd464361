//! Read-only queries of operators: player counts, gateways, and diagnostics of one player.

use std::time::Duration;

pub use presence_types::{Gateways, States, Statistics};

use crate::{
    model::{Explanation, PlayerId, Presence, State},
    redis::StoreError,
    store::Store,
    telemetry::metrics::{CONNECTIONS, PLAYERS},
};

/// The most records that are read to estimate the number of players by state.
const SAMPLE: usize = 1_000;

/// The most commands per second, on average, by which one server counts the connections of
/// gateways: about 3 % of what one Redis node can do. 100 gateways in a cluster of 256 partitions
/// are counted every 2.6 s.
pub const MAX_COUNTS_PER_SECOND: u32 = 10_000;

/// Queries of operators.
#[derive(Clone)]
pub struct OperatorQueries {
    store: Store,
}

impl OperatorQueries {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Counts the players, and sets the gauges. Costs one command per shard, and reads 1,000
    /// records at most.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not respond.
    pub async fn statistics(&self) -> Result<Statistics, StoreError> {
        let (total, players, as_of) = self.store.some_players(SAMPLE).await?;
        let snapshot = self.store.countable_presences(&players).await?;
        let statistics = estimate(total, &snapshot.presences, as_of);
        set_gauges(&statistics);
        Ok(statistics)
    }

    /// Reads the known gateways, and those whose connections' leases are being ended. Costs one
    /// command per gateway and shard.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not respond.
    pub async fn gateways(&self) -> Result<Gateways, StoreError> {
        let (gateways, as_of) = self.store.gateways().await?;
        Ok(Gateways { as_of, gateways })
    }

    /// How long a list of gateways has to be shared so that counting their connections costs Redis
    /// no more than [`MAX_COUNTS_PER_SECOND`].
    pub fn gateways_ttl(&self, list: &Gateways) -> Duration {
        let counts = list.gateways.len() * self.store.commands_per_gateway();
        Duration::from_secs_f64(counts as f64 / f64::from(MAX_COUNTS_PER_SECOND))
    }

    /// Reads everything that Redis stores about a player.
    ///
    /// # Errors
    /// [`StoreError`] if Redis did not respond.
    pub async fn explain(&self, player: &PlayerId) -> Result<Explanation, StoreError> {
        self.store.explain(player).await
    }
}

/// Extrapolates from a sample of presences to `indexed` players. Players that have just expired are
/// among both.
fn estimate(indexed: u64, presences: &[Presence], as_of: u64) -> Statistics {
    let sampled = presences.len() as u64;
    // Players may have left the index between the counting and the reading.
    let total = indexed.max(sampled);
    let scale = |count: u64| {
        (count * total + sampled / 2)
            .checked_div(sampled)
            .unwrap_or_default()
    }; // rounded
    let count = |state| {
        scale(
            presences
                .iter()
                .filter(|presence| presence.state == state)
                .count() as u64,
        )
    };
    let states = States {
        online: count(State::Online),
        in_queue: count(State::InQueue),
        in_match: count(State::InMatch),
        away: count(State::Away),
    };
    Statistics {
        as_of,
        players: states.by_state().iter().map(|(_, count)| count).sum(),
        states,
        connections: scale(
            presences
                .iter()
                .map(|presence| u64::from(presence.connection_count))
                .sum(),
        ),
        sampled,
        is_exact: sampled == total,
    }
}

fn set_gauges(statistics: &Statistics) {
    for (state, count) in statistics.states.by_state() {
        metrics::gauge!(PLAYERS, "state" => state.as_str()).set(count as f64);
    }
    metrics::gauge!(CONNECTIONS).set(statistics.connections as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presences(counts: &[(State, usize)]) -> Vec<Presence> {
        let presences = counts
            .iter()
            .flat_map(|(state, count)| std::iter::repeat_n(*state, *count));
        let with_state = |state| Presence {
            player_id: PlayerId::parse("alice").unwrap(),
            state,
            last_seen: None,
            connection_count: if state == State::Offline { 0 } else { 2 },
            version: None,
            activity: None,
        };
        presences.map(with_state).collect()
    }

    #[test]
    fn few_players_are_counted() {
        let presences = presences(&[(State::Online, 3), (State::Away, 1), (State::Offline, 1)]);
        let statistics = estimate(5, &presences, 7);
        assert_eq!(
            statistics.states,
            States {
                online: 3,
                away: 1,
                ..States::default()
            }
        );
        assert_eq!(
            (
                statistics.players,
                statistics.connections,
                statistics.is_exact
            ),
            (4, 8, true)
        );
    }

    #[test]
    fn many_players_are_estimated_from_a_sample() {
        let presences = presences(&[
            (State::Online, 700),
            (State::InMatch, 299),
            (State::Offline, 1),
        ]);
        let statistics = estimate(1_000_000, &presences, 7);
        assert_eq!(
            statistics.states,
            States {
                online: 700_000,
                in_match: 299_000,
                ..States::default()
            }
        );
        assert_eq!(
            (
                statistics.players,
                statistics.connections,
                statistics.is_exact
            ),
            (999_000, 1_998_000, false)
        );
    }

    #[test]
    fn without_players_there_is_nothing_to_count() {
        let statistics = estimate(0, &[], 7);
        assert_eq!((statistics.players, statistics.is_exact), (0, true));
    }
}
