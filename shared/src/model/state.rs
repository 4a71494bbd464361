//! The states of a player.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a player is doing. One state for each player, whatever the number of devices.
///
/// Every transition is allowed but OFFLINE → IN_QUEUE and OFFLINE → IN_MATCH. The rule is enforced where it is atomic,
/// in `lua/set_state.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PresenceState {
    /// No record in Redis.
    Offline,
    /// Connected.
    Online,
    /// Waiting for a match.
    InQueue,
    /// Playing.
    InMatch,
    /// Connected, but not there.
    Away,
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DisconnectReason {
    /// On purpose: takes effect at once.
    #[default]
    Quit,
    /// The socket broke: the player has the grace, where one is configured, to come back.
    Lost,
}

/// A text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown state")]
pub struct UnknownState;

impl PresenceState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Offline, Self::Online, Self::InQueue, Self::InMatch, Self::Away];

    /// The state's name, as it stands in JSON and in Redis.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "OFFLINE",
            Self::Online => "ONLINE",
            Self::InQueue => "IN_QUEUE",
            Self::InMatch => "IN_MATCH",
            Self::Away => "AWAY",
        }
    }
}

impl fmt::Display for PresenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for PresenceState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}
