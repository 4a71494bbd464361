//! What is known of a player.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Activity, PlayerId};

/// What a player is doing. One state for each player, whatever the number of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Not there. Setting it signs the player out: all connections are closed, on every gateway.
    Offline,
    /// Connected.
    Online,
    /// Waiting for a match. An OFFLINE player cannot go here.
    InQueue,
    /// Playing. An OFFLINE player cannot go here.
    InMatch,
    /// Connected, but not there.
    Away,
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// On purpose: takes effect at once.
    Quit,
    /// The socket broke: the player has the service's grace, where one is configured, to come back.
    Lost,
    /// The gateway restarts on purpose: a player without another connection keeps record and state for the service's move
    /// grace, to come back through another gateway.
    Moving,
}

/// One player's presence at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whose presence it is.
    pub player_id: PlayerId,
    /// What the player is doing.
    pub state: State,
    /// When the player was last heard of, in Unix milliseconds. `None` for an OFFLINE player, unless the history was
    /// asked for and is known.
    pub last_seen: Option<u64>,
    /// The number of the player's open connections.
    pub connection_count: u32,
    /// Orders the player's transitions. `None` as for `last_seen`.
    pub version: Option<u64>,
    /// What the player is doing, in the game's own words, if the game has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// Several players' presences, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Friends {
    /// When they were read, in Unix milliseconds of the service's clock.
    pub as_of: u64,
    /// One for each id asked for, in that order.
    pub presences: Vec<Presence>,
}

/// Whether an OFFLINE player's past is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// The present alone.
    Omit,
    /// For an OFFLINE player, when it was last seen, as long as the service remembers it.
    Include,
}

impl State {
    /// The state's name, as it stands in JSON.
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

impl Reason {
    /// What a WebSocket's close code says: 1000 (normal) and 1001 (going away) are a quit, any other is a loss.
    pub fn from_close_code(code: u16) -> Self {
        if matches!(code, 1000 | 1001) { Self::Quit } else { Self::Lost }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
