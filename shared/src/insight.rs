//! Read-only queries of operators: player counts, gateways, and diagnostics of one player.

use std::time::Duration;

use serde::Serialize;

use crate::{
    StoreError,
    model::{Explanation, Gateway, PlayerId, Presence, State},
    repository::Repository,
    telemetry::metrics::{CONNECTIONS, PLAYERS},
};

/// The most records that are read to estimate the number of players by state.
const SAMPLE: usize = 1_000;

/// The most commands per second, on average, by which one server counts the connections of gateways: about 3 % of what one
/// Redis node can do. 100 gateways in a cluster of 256 partitions are counted every 2.6 s.
pub const MAX_COUNTS_PER_SECOND: u32 = 10_000;

/// Queries of operators.
#[derive(Clone)]
pub struct Insight {
    repository: Repository,
}

/// Counts of the players that are not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// When the players were counted, in Unix milliseconds of Redis's clock.
    pub as_of: u64,
    /// The number of players that are not OFFLINE.
    pub players: u64,
    /// The number of players by state.
    pub states: States,
    /// The number of connections of these players.
    pub connections: u64,
    /// The number of records that were read. The other figures are extrapolated from them, unless all were read.
    pub sampled: u64,
    /// Whether all records were read, so that the figures are exact.
    pub is_exact: bool,
}

/// The known gateways, and those whose connections' leases are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateways {
    /// When the gateways were read, in Unix milliseconds of Redis's clock.
    pub as_of: u64,
    /// The known gateways, by id.
    pub gateways: Vec<Gateway>,
}

/// Numbers of players by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct States {
    /// Players that are connected.
    pub online: u64,
    /// Players that wait for a match.
    pub in_queue: u64,
    /// Players in a match.
    pub in_match: u64,
    /// Players that are connected, but absent.
    pub away: u64,
}

impl Insight {
    pub(crate) fn new(repository: Repository) -> Self {
        Self { repository }
    }

    /// Counts the players, and sets the gauges. Costs one command per shard, and reads 1,000 records at most.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not answer.
    pub async fn statistics(&self) -> Result<Statistics, StoreError> {
        let (total, players, as_of) = self.repository.some_players(SAMPLE).await?;
        let snapshot = self.repository.countable_presences(&players).await?;
        Ok(Statistics::estimate(total, &snapshot.presences, as_of).measured())
    }

    /// Reads the known gateways, and those whose connections' leases are being ended. Costs one command per gateway and
    /// shard.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not answer.
    pub async fn gateways(&self) -> Result<Gateways, StoreError> {
        let (gateways, as_of) = self.repository.gateways().await?;
        Ok(Gateways { as_of, gateways })
    }

    /// How long a list of gateways has to be shared so that counting their connections costs Redis no more than
    /// [`MAX_COUNTS_PER_SECOND`].
    pub fn gateways_ttl(&self, list: &Gateways) -> Duration {
        let counts = list.gateways.len() * self.repository.commands_per_gateway();
        Duration::from_secs_f64(counts as f64 / f64::from(MAX_COUNTS_PER_SECOND))
    }

    /// Reads everything that Redis stores about a player.
    ///
    /// # Errors
    /// [`StoreError`] if Redis did not answer.
    pub async fn explain(&self, player: &PlayerId) -> Result<Explanation, StoreError> {
        self.repository.explain(player).await
    }
}

impl Statistics {
    /// Extrapolates from a sample of presences to `indexed` players. Players that have just expired are among both.
    fn estimate(indexed: u64, presences: &[Presence], as_of: u64) -> Self {
        let sampled = presences.len() as u64;
        // Players may have left the index between the counting and the reading.
        let total = indexed.max(sampled);
        let scale = |count: u64| (count * total + sampled / 2).checked_div(sampled).unwrap_or_default(); // rounded
        let count = |state| scale(presences.iter().filter(|presence| presence.state == state).count() as u64);
        let states = States {
            online: count(State::Online),
            in_queue: count(State::InQueue),
            in_match: count(State::InMatch),
            away: count(State::Away),
        };
        Self {
            as_of,
            players: states.online + states.in_queue + states.in_match + states.away,
            states,
            connections: scale(presences.iter().map(|presence| u64::from(presence.connection_count)).sum()),
            sampled,
            is_exact: sampled == total,
        }
    }

    fn measured(self) -> Self {
        let States { online, in_queue, in_match, away } = self.states;
        let players =
            [(State::Online, online), (State::InQueue, in_queue), (State::InMatch, in_match), (State::Away, away)];
        for (state, count) in players {
            metrics::gauge!(PLAYERS, "state" => state.as_str()).set(count as f64);
        }
        metrics::gauge!(CONNECTIONS).set(self.connections as f64);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presences(counts: &[(State, usize)]) -> Vec<Presence> {
        let presences = counts.iter().flat_map(|(state, count)| std::iter::repeat_n(*state, *count));
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
        let statistics = Statistics::estimate(5, &presences, 7);
        assert_eq!(statistics.states, States { online: 3, away: 1, ..States::default() });
        assert_eq!((statistics.players, statistics.connections, statistics.is_exact), (4, 8, true));
    }

    #[test]
    fn many_players_are_estimated_from_a_sample() {
        let presences = presences(&[(State::Online, 700), (State::InMatch, 299), (State::Offline, 1)]);
        let statistics = Statistics::estimate(1_000_000, &presences, 7);
        assert_eq!(statistics.states, States { online: 700_000, in_match: 299_000, ..States::default() });
        assert_eq!((statistics.players, statistics.connections, statistics.is_exact), (999_000, 1_998_000, false));
    }

    #[test]
    fn without_players_there_is_nothing_to_count() {
        let statistics = Statistics::estimate(0, &[], 7);
        assert_eq!((statistics.players, statistics.is_exact), (0, true));
    }
}
