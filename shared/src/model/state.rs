//! States of a player, and reasons of a disconnect.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text::Text;

/// The state of a player: one per player, whatever the number of devices.
///
/// Every transition is allowed but OFFLINE → IN_QUEUE and OFFLINE → IN_MATCH. The rule is enforced in
/// `lua/set_state.lua`, which is atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PresenceState {
    /// Not connected: Redis has no record.
    Offline,
    /// Connected.
    Online,
    /// Waiting for a match.
    InQueue,
    /// Playing.
    InMatch,
    /// Connected, but absent.
    Away,
}

/// The reason of a disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DisconnectReason {
    /// The player left on purpose. The disconnect takes effect at once.
    #[default]
    Quit,
    /// The socket broke. The player may reconnect within the grace, if one is configured.
    Lost,
    /// The gateway restarts as planned. The player may connect to another one within the move grace.
    Moving,
}

/// Error of an unknown name. Its message lists the known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown name: it is {0}")]
pub struct UnknownName(&'static str);

impl PresenceState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Offline, Self::Online, Self::InQueue, Self::InMatch, Self::Away];

    /// The state's name in JSON and in Redis.
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

impl FromStr for PresenceState {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let names = UnknownName("OFFLINE, ONLINE, IN_QUEUE, IN_MATCH or AWAY");
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(names)
    }
}

impl FromStr for DisconnectReason {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        match text {
            "quit" => Ok(Self::Quit),
            "lost" => Ok(Self::Lost),
            "moving" => Ok(Self::Moving),
            _ => Err(UnknownName("quit, lost or moving")),
        }
    }
}

impl Serialize for PresenceState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for PresenceState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::from_str))
    }
}

impl<'de> Deserialize<'de> for DisconnectReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::from_str))
    }
}
