//! States of a player, and reasons of a disconnect.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Text;

/// The state of a player: one per player, whatever the number of devices.
///
/// Every transition is allowed but OFFLINE → IN_QUEUE and OFFLINE → IN_MATCH, which the service
/// rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not connected. Setting it signs the player out: all connections are closed, on every
    /// gateway.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reason {
    /// The player left on purpose. The disconnect takes effect at once.
    #[default]
    Quit,
    /// The socket broke. The player may reconnect within the grace, if one is configured.
    Lost,
    /// The gateway restarts as planned. The player may connect to another one within the move
    /// grace.
    Moving,
}

/// Error of an unknown name. Its message lists the known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown name: it is {0}")]
pub struct UnknownName(&'static str);

impl State {
    /// All states.
    pub const ALL: [Self; 5] = [
        Self::Offline,
        Self::Online,
        Self::InQueue,
        Self::InMatch,
        Self::Away,
    ];

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

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 3] = [Self::Quit, Self::Lost, Self::Moving];

    /// The reason's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Lost => "lost",
            Self::Moving => "moving",
        }
    }

    /// The reason that a WebSocket's close code (RFC 6455) stands for: 1000 (normal closure) and
    /// 1001 (going away) are a quit, any other is a loss.
    pub fn from_close_code(code: u16) -> Self {
        if matches!(code, 1000 | 1001) {
            Self::Quit
        } else {
            Self::Lost
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let names = UnknownName("OFFLINE, ONLINE, IN_QUEUE, IN_MATCH or AWAY");
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(names)
    }
}

impl FromStr for Reason {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let names = UnknownName("quit, lost or moving");
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(names)
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::from_str))
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::from_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_in_no_other_way() {
        for state in State::ALL {
            assert_eq!(
                serde_json::from_str::<State>(&serde_json::to_string(&state).unwrap()).unwrap(),
                state
            );
        }
        for reason in Reason::ALL {
            assert_eq!(
                serde_json::from_str::<Reason>(&serde_json::to_string(&reason).unwrap()).unwrap(),
                reason
            );
        }
        assert_eq!(
            serde_json::to_string(&[State::InQueue, State::InMatch]).unwrap(),
            r#"["IN_QUEUE","IN_MATCH"]"#
        );
        assert!("online".parse::<State>().is_err() && "QUIT".parse::<Reason>().is_err());
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
        let error = serde_json::from_str::<State>(r#""GONE""#)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("unknown name: it is OFFLINE, ONLINE, IN_QUEUE, IN_MATCH or AWAY"),
            "{error}"
        );
        let error = serde_json::from_str::<Reason>(r#""gone""#)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("unknown name: it is quit, lost or moving"),
            "{error}"
        );
    }
}
