//! Identifiers of players, connections and gateways.

use std::{fmt, str::FromStr};

use compact_str::CompactString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest id of a player or a connection, in bytes.
const MAX_LENGTH: usize = 128;

/// The id of one account: 1–128 bytes of `A-Z a-z 0-9 . _ - : @ |`, but neither `.` nor `..`. An
/// id of up to 24 bytes (on 64-bit targets) needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayerId(CompactString);

/// The id of one open socket: 1–128 bytes of a [`PlayerId`]'s characters and `= + /`. Never used
/// twice by its gateway, not even after a restart. An id of up to 24 bytes (on 64-bit targets)
/// needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(CompactString);

/// The id of one run of a gateway: 1–64 bytes of a [`ConnectionId`]'s characters. New at every
/// start of its process. An id of up to 24 bytes (on 64-bit targets) needs no allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(CompactString);

/// One open socket of one player, as gateways report it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Connection {
    /// The player on the socket.
    pub player_id: PlayerId,
    /// The id of the socket.
    pub connection_id: ConnectionId,
}

/// Error of a text that is not an id. Its message says what an id looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidId {
    /// The text is too short, too long, or has other characters.
    #[error("an id has 1 to {0} characters of {1}")]
    Malformed(usize, &'static str),
    /// The ids `.` and `..` are refused: no URL path can carry them.
    #[error("the ids \".\" and \"..\" are not allowed")]
    DotSegment,
}

impl Connection {
    /// The connection of a player.
    pub fn new(player_id: &PlayerId, connection_id: &ConnectionId) -> Self {
        Self {
            player_id: player_id.clone(),
            connection_id: connection_id.clone(),
        }
    }
}

impl PlayerId {
    /// Parses a player's id.
    ///
    /// # Errors
    /// [`InvalidId`] if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, MAX_LENGTH, &PLAYER_BYTES) {
            return Err(InvalidId::Malformed(MAX_LENGTH, "A-Z a-z 0-9 . _ - : @ |"));
        }
        if matches!(text, "." | "..") {
            return Err(InvalidId::DotSegment);
        }
        Ok(Self(text.into()))
    }
}

impl ConnectionId {
    /// Parses a connection's id.
    ///
    /// # Errors
    /// [`InvalidId`] if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, MAX_LENGTH, &CONNECTION_BYTES) {
            return Err(InvalidId::Malformed(MAX_LENGTH, CONNECTION_CHARACTERS));
        }
        Ok(Self(text.into()))
    }
}

impl GatewayId {
    /// The longest id, in bytes.
    pub const MAX_LENGTH: usize = 64;

    /// Parses a gateway's id.
    ///
    /// # Errors
    /// [`InvalidId`] if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, Self::MAX_LENGTH, &CONNECTION_BYTES) {
            return Err(InvalidId::Malformed(
                Self::MAX_LENGTH,
                CONNECTION_CHARACTERS,
            ));
        }
        Ok(Self(text.into()))
    }
}

/// The characters of the ids of connections and gateways, for messages.
const CONNECTION_CHARACTERS: &str = "A-Z a-z 0-9 . _ - : @ | = + /";

/// Whether an id may contain a byte, by the byte: a look-up takes a third of the time of comparisons.
type Allowed = [bool; 256];

const PLAYER_BYTES: Allowed = alphanumeric_and(b"._-:@|");
const CONNECTION_BYTES: Allowed = alphanumeric_and(b"._-:@|=+/");

const fn alphanumeric_and(others: &[u8]) -> Allowed {
    let mut allowed = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        allowed[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        allowed[others[index] as usize] = true;
        index += 1;
    }
    allowed
}

fn is_id(text: &str, max: usize, allowed: &Allowed) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| allowed[usize::from(byte)])
}

/// Implements what all kinds of ids have in common.
macro_rules! id {
    ($($id:ty)*) => {$(
        impl $id {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $id {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(Self::parse))
            }
        }
    )*};
}

id!(PlayerId ConnectionId GatewayId);

/// Parses a value from a borrowed string, without allocating a `String`. Other JSON types are
/// refused.
pub(crate) struct Text<T, E>(pub(crate) fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> de::Visitor<'_> for Text<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
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
        assert!(ConnectionId::parse(&"a".repeat(129)).is_err());
    }

    #[test]
    fn a_gateway_id_has_1_to_64_bytes_of_a_connections() {
        assert!(GatewayId::parse("gw-7/eu=1+2").is_ok());
        assert!(GatewayId::parse(&"g=+/".repeat(16)).is_ok());
        for text in ["", "a!b", "a b", &"a".repeat(65)] {
            assert!(GatewayId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn dot_segments_are_not_player_ids() {
        assert_eq!(PlayerId::parse("."), Err(InvalidId::DotSegment));
        assert_eq!(PlayerId::parse(".."), Err(InvalidId::DotSegment));
        assert!(PlayerId::parse("...").is_ok());
    }

    #[test]
    fn an_id_is_a_string_in_json() {
        let alice: PlayerId = serde_json::from_str(r#""al\u0069ce""#).unwrap();
        assert_eq!(serde_json::to_string(&alice).unwrap(), r#""alice""#);
        for json in ["5", "null", r#""a b""#, r#"["alice"]"#] {
            assert!(serde_json::from_str::<PlayerId>(json).is_err(), "{json}");
        }
    }
}
