//! What operators ask for: how many players there are, and why one is in the state that it is in. Reads only.

use std::time::Duration;

use serde::Serialize;

use crate::{
    StoreError,
    model::{Explanation, Gateway, PlayerId, Presence, PresenceState},
    repository::Repository,
    telemetry::metrics::{CONNECTIONS, PLAYERS},
};

/// The most players whose records are read to tell how many there are by state.
const SAMPLE: usize = 1_000;

/// The most commands per second, on average, by which one server counts the connections of gateways: about 3 % of what one
/// Redis node can do. 100 gateways in a cluster of 256 partitions are counted every 2.6 s.
pub const MAX_COUNTS_PER_SECOND: u32 = 10_000;

/// Answers operators.
#[derive(Clone)]
pub struct Insight {
    repository: Repository,
}

/// How many players there are that are not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// When they were counted, in Unix milliseconds of Redis's clock.
    pub as_of: u64,
    /// All of them.
    pub players: u64,
    /// The same by state.
    pub states: States,
    /// Their connections.
    pub connections: u64,
    /// The number of players whose records were read. Where they were all, the figures are exact; else they are
    /// reckoned from these.
    pub sampled: u64,
    /// Whether they were all.
    pub is_exact: bool,
}

/// The known gateways, and those whose connections' leases are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateways {
    /// When they were read, in Unix milliseconds of Redis's clock.
    pub as_of: u64,
    /// All of them, by id.
    pub gateways: Vec<Gateway>,
}

/// Players by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct States {
    /// Connected.
    pub online: u64,
    /// Waiting for a match.
    pub in_queue: u64,
    /// Playing.
    pub in_match: u64,
    /// Connected, but not there.
    pub away: u64,
}

impl Insight {
    pub(crate) fn new(repository: Repository) -> Self {
        Self { repository }
    }

    /// How many players there are; sets the gauges. Costs a command a shard, and the reading of 1,000 records at most.
    ///
    /// # Errors
    /// [`StoreError`] where a Redis node did not answer.
    pub async fn statistics(&self) -> Result<Statistics, StoreError> {
        let (total, players, as_of) = self.repository.some_players(SAMPLE).await?;
        let snapshot = self.repository.countable_presences(&players).await?;
        Ok(Statistics::reckon(total, &snapshot.presences, as_of).measured())
    }

    /// The known gateways, and those whose connections' leases are being ended. Costs a command per gateway and shard.
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

    /// All that is known of a player.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn explain(&self, player: &PlayerId) -> Result<Explanation, StoreError> {
        self.repository.explain(player).await
    }
}

impl Statistics {
    /// From `total` players in all, and the presences of some. Those who ran out a moment ago are among them.
    fn reckon(total: u64, presences: &[Presence], as_of: u64) -> Self {
        let sampled = presences.len() as u64;
        // A player may have gone between the counting and the reading.
        let total = total.max(sampled);
        let scale = |count: u64| (count * total + sampled / 2).checked_div(sampled).unwrap_or_default();
        let count = |state| scale(presences.iter().filter(|presence| presence.state == state).count() as u64);
        let states = States {
            online: count(PresenceState::Online),
            in_queue: count(PresenceState::InQueue),
            in_match: count(PresenceState::InMatch),
            away: count(PresenceState::Away),
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
        let players = [
            (PresenceState::Online, online),
            (PresenceState::InQueue, in_queue),
            (PresenceState::InMatch, in_match),
            (PresenceState::Away, away),
        ];
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

    fn presences(counts: &[(PresenceState, usize)]) -> Vec<Presence> {
        let presences = counts.iter().flat_map(|(state, count)| std::iter::repeat_n(*state, *count));
        let with_state = |state| Presence {
            player_id: PlayerId::parse("alice").unwrap(),
            state,
            last_seen: None,
            connection_count: if state == PresenceState::Offline { 0 } else { 2 },
            version: None,
            activity: None,
        };
        presences.map(with_state).collect()
    }

    #[test]
    fn few_players_are_counted() {
        let presences = presences(&[(PresenceState::Online, 3), (PresenceState::Away, 1), (PresenceState::Offline, 1)]);
        let statistics = Statistics::reckon(5, &presences, 7);
        assert_eq!(statistics.states, States { online: 3, away: 1, ..States::default() });
        assert_eq!((statistics.players, statistics.connections, statistics.is_exact), (4, 8, true));
    }

    #[test]
    fn many_players_are_reckoned_from_some() {
        let presences =
            presences(&[(PresenceState::Online, 700), (PresenceState::InMatch, 299), (PresenceState::Offline, 1)]);
        let statistics = Statistics::reckon(1_000_000, &presences, 7);
        assert_eq!(statistics.states, States { online: 700_000, in_match: 299_000, ..States::default() });
        assert_eq!((statistics.players, statistics.connections, statistics.is_exact), (999_000, 1_998_000, false));
    }

    #[test]
    fn without_players_there_is_nothing_to_count() {
        let statistics = Statistics::reckon(0, &[], 7);
        assert_eq!((statistics.players, statistics.is_exact), (0, true));
    }
}
