//! Identifiers of players and connections.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::text::Text;

/// The longest id, in bytes.
const MAX_LENGTH: usize = 128;

/// The id of one account: 1–128 bytes of `A-Z a-z 0-9 . _ - : @ |`, but neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PlayerId(Box<str>);

/// The id of one open socket: 1–128 bytes of a [`PlayerId`]'s characters and `= + /`. Never used twice by its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(Box<str>);

/// One open socket of one player, as gateways report it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Whose socket it is.
    pub player_id: PlayerId,
    /// Which socket it is.
    pub connection_id: ConnectionId,
}

/// Why a text is no id. Its message says what an id looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Wrong length or characters.
    #[error("an id has 1 to {MAX_LENGTH} characters of {0}")]
    Malformed(&'static str),
    /// The ids `.` and `..`: no URL path can carry them.
    #[error("the ids \".\" and \"..\" are not allowed")]
    DotSegment,
}

impl PlayerId {
    /// Parses a player's id.
    ///
    /// # Errors
    /// [`InvalidId`] where the text is none.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, is_player_byte) {
            return Err(InvalidId::Malformed("A-Z a-z 0-9 . _ - : @ |"));
        }
        if matches!(text, "." | "..") {
            return Err(InvalidId::DotSegment);
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ConnectionId {
    /// Parses a connection's id.
    ///
    /// # Errors
    /// [`InvalidId`] where the text is none.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, |byte| is_player_byte(byte) || matches!(byte, b'=' | b'+' | b'/')) {
            return Err(InvalidId::Malformed("A-Z a-z 0-9 . _ - : @ | = + /"));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_id(text: &str, is_allowed: impl Fn(u8) -> bool) -> bool {
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_player_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'@' | b'|')
}

impl fmt::Display for PlayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PlayerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::parse))
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_the_characters_of_their_kind_and_no_others() {
        assert!(PlayerId::parse("steam:76561.198_0-0@eu|x").is_ok());
        assert!(ConnectionId::parse("L0SM9cOFvHcCIhw=+/").is_ok());
        for text in ["a=b", "a b", "a/b", "a{b}", "é", "a\n", "*"] {
            assert!(PlayerId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_have_1_to_128_bytes() {
        assert!(PlayerId::parse("").is_err());
        assert!(PlayerId::parse(&"a".repeat(128)).is_ok());
        assert!(PlayerId::parse(&"a".repeat(129)).is_err());
    }

    #[test]
    fn dot_segments_are_no_player_ids() {
        assert_eq!(PlayerId::parse("."), Err(InvalidId::DotSegment));
        assert_eq!(PlayerId::parse(".."), Err(InvalidId::DotSegment));
        assert!(PlayerId::parse("...").is_ok());
    }
}
