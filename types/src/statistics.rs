//! Counts of players.

use serde::{Deserialize, Serialize};

use crate::State;

/// Counts of the players that are not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// When the players were counted, in Unix milliseconds of Redis's clock.
    pub as_of: u64,
    /// The number of players that are not OFFLINE.
    pub players: u64,
    /// The number of players by state.
    pub states: States,
    /// The number of connections of these players.
    pub connections: u64,
    /// The number of records that were read. The other figures are extrapolated from them, unless
    /// all were read.
    pub sampled: u64,
    /// Whether all records were read, so that the figures are exact.
    pub is_exact: bool,
}

/// Numbers of players by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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

impl States {
    /// Each state but OFFLINE, and the number of players in it.
    pub fn by_state(self) -> [(State, u64); 4] {
        [
            (State::Online, self.online),
            (State::InQueue, self.in_queue),
            (State::InMatch, self.in_match),
            (State::Away, self.away),
        ]
    }
}
