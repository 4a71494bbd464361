//! Identifiers of players and connections.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest id, in bytes.
const MAX_LENGTH: usize = 128;

/// The id of one account: 1–128 bytes of `A-Z a-z 0-9 . _ - : @ |`, but neither `.` nor `..`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayerId(Arc<str>);

/// The id of one open socket: 1–128 bytes of a [`PlayerId`]'s characters and `= + /`. Never used twice by its gateway,
/// not even after a restart. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

/// A text that is no id. Its message says what an id looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(&'static str);

impl PlayerId {
    /// Parses a player's id.
    ///
    /// # Errors
    /// [`InvalidId`] where the text is none.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, is_player_byte) || matches!(text, "." | "..") {
            return Err(InvalidId(
                "a player's id has 1 to 128 characters of A-Z a-z 0-9 . _ - : @ | and is not . or ..",
            ));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a part of a path: of its characters, `|` alone may not stand there.
    pub(crate) fn path_segment(&self) -> String {
        self.0.replace('|', "%7C")
    }
}

impl ConnectionId {
    /// Parses a connection's id.
    ///
    /// # Errors
    /// [`InvalidId`] where the text is none.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if !is_id(text, |byte| is_player_byte(byte) || matches!(byte, b'=' | b'+' | b'/')) {
            return Err(InvalidId("a connection's id has 1 to 128 characters of A-Z a-z 0-9 . _ - : @ | = + /"));
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

/// What both kinds of id have in common.
macro_rules! id {
    ($($id:ty)*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $id {
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
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

id!(PlayerId ConnectionId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_take_the_characters_of_their_kind_and_no_others() {
        assert!(PlayerId::parse("steam:76561.198_0-0@eu|x").is_ok());
        assert!(ConnectionId::parse("L0SM9cOFvHcCIhw=+/").is_ok());
        for text in ["a=b", "a b", "a/b", "a{b}", "é", "a\n", "*", ".", ".."] {
            assert!(PlayerId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ids_have_1_to_128_bytes() {
        assert!(PlayerId::parse("").is_err());
        assert!(PlayerId::parse(&"a".repeat(128)).is_ok());
        assert!(ConnectionId::parse(&"a".repeat(129)).is_err());
    }
}
