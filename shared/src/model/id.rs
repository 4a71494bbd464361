//! Identifiers of players, connections and gateways.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::text::Text;

/// The longest id of a player or a connection, in bytes.
const MAX_LENGTH: usize = 128;

/// The longest id of a gateway, in bytes.
const MAX_GATEWAY_LENGTH: usize = 64;

/// The id of one account: 1–128 bytes of `A-Z a-z 0-9 . _ - : @ |`, but neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PlayerId(Box<str>);

/// The id of one open socket: 1–128 bytes of a [`PlayerId`]'s characters and `= + /`. Never used twice by its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(Box<str>);

/// The id of one run of a gateway: 1–64 bytes of a [`ConnectionId`]'s characters. New at every start of its process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct GatewayId(Box<str>);

/// One open socket of one player, as gateways report it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// The player on the socket.
    pub player_id: PlayerId,
    /// The id of the socket.
    pub connection_id: ConnectionId,
}

/// Error of a text that is not an id. Its message says what an id looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// The text is too short, too long, or has other characters.
    #[error("an id has 1 to {0} characters of {1}")]
    Malformed(usize, &'static str),
    /// The ids `.` and `..` are refused: no URL path can carry them.
    #[error("the ids \".\" and \"..\" are not allowed")]
    DotSegment,
}

impl PlayerId {
    /// Parses a player's id.
    ///
    /// # Errors
    /// [`InvalidId`] if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, MAX_LENGTH, is_player_byte) {
            return Err(InvalidId::Malformed(MAX_LENGTH, "A-Z a-z 0-9 . _ - : @ |"));
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
    /// [`InvalidId`] if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, MAX_LENGTH, is_connection_byte) {
            return Err(InvalidId::Malformed(MAX_LENGTH, CONNECTION_CHARACTERS));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl GatewayId {
    /// Parses a gateway's id.
    ///
    /// # Errors
    /// [`InvalidId`] if the text is not an id.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, MAX_GATEWAY_LENGTH, is_connection_byte) {
            return Err(InvalidId::Malformed(MAX_GATEWAY_LENGTH, CONNECTION_CHARACTERS));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A connection, and the gateway that a call names for it.
#[derive(Debug, Clone, Copy)]
pub struct OwnedConnection<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The gateway that it belongs to from now on. `None` leaves its owner as it is.
    pub gateway: Option<&'a GatewayId>,
}

/// Connections, and the gateway that a call names for them.
#[derive(Debug, Clone)]
pub struct OwnedConnections {
    /// The connections.
    pub connections: Vec<Connection>,
    /// The gateway that they belong to from now on. `None` leaves their owner as it is.
    pub gateway: Option<GatewayId>,
}

impl<'a> From<&'a Connection> for OwnedConnection<'a> {
    fn from(connection: &'a Connection) -> Self {
        Self { connection, gateway: None }
    }
}

impl From<Vec<Connection>> for OwnedConnections {
    fn from(connections: Vec<Connection>) -> Self {
        Self { connections, gateway: None }
    }
}

/// The characters of the ids of connections and gateways, for messages.
const CONNECTION_CHARACTERS: &str = "A-Z a-z 0-9 . _ - : @ | = + /";

fn is_id(text: &str, max: usize, is_allowed: impl Fn(u8) -> bool) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_connection_byte(byte: u8) -> bool {
    is_player_byte(byte) || matches!(byte, b'=' | b'+' | b'/')
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

impl<'de> Deserialize<'de> for GatewayId {
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
    fn a_gateway_id_has_1_to_64_bytes_of_a_connections() {
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
}
