//! Identifiers of players, connections and gateways.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest id of a player or a connection, in bytes.
const MAX_LENGTH: usize = 128;

/// The longest id of a gateway, in bytes.
const MAX_GATEWAY_LENGTH: usize = 64;

/// The id of one account: 1–128 bytes of `A-Z a-z 0-9 . _ - : @ |`, but neither `.` nor `..`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlayerId(Arc<str>);

/// The id of one open socket: 1–128 bytes of a [`PlayerId`]'s characters and `= + /`. Never used twice by its gateway,
/// not even after a restart. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(Arc<str>);

/// The id of one run of a gateway: 1–64 bytes of a [`ConnectionId`]'s characters, new at every start of the process. Cheap
/// to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(Arc<str>);

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
        if !is_id(text, MAX_LENGTH, is_player_byte) || matches!(text, "." | "..") {
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
        if !is_id(text, MAX_LENGTH, is_connection_byte) {
            return Err(InvalidId("a connection's id has 1 to 128 characters of A-Z a-z 0-9 . _ - : @ | = + /"));
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
            return Err(InvalidId("a gateway's id has 1 to 64 characters of A-Z a-z 0-9 . _ - : @ | = + /"));
        }
        Ok(Self(text.into()))
    }

    /// Makes an id from the host's name and a random part, for one start of a process.
    pub fn generate() -> Self {
        Self::of_host(&host_name(), fastrand::u64(..))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of_host(host: &str, random: u64) -> Self {
        let allowed: String = host.chars().filter(|c| u8::try_from(*c).is_ok_and(is_connection_byte)).collect();
        let name = if allowed.is_empty() { "gateway" } else { &allowed };
        let random = format!("-{random:016x}");
        Self(format!("{}{random}", &name[..name.len().min(MAX_GATEWAY_LENGTH - random.len())]).into())
    }
}

/// The host's name; in a container, that of the container. Empty if the system does not say.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    name.unwrap_or_default().trim().to_owned()
}

fn is_id(text: &str, max_length: usize, is_allowed: impl Fn(u8) -> bool) -> bool {
    (1..=max_length).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn is_connection_byte(byte: u8) -> bool {
    is_player_byte(byte) || matches!(byte, b'=' | b'+' | b'/')
}

fn is_player_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'@' | b'|')
}

/// What all kinds of id have in common.
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

id!(PlayerId ConnectionId GatewayId);

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
    #[test]
    fn a_gateways_id_has_1_to_64_bytes() {
        assert!(GatewayId::parse("gw-7/eu=1+2").is_ok());
        assert!(GatewayId::parse(&"a".repeat(64)).is_ok());
        for text in ["", "a b", "a!b", &"a".repeat(65)] {
            assert!(GatewayId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_generated_id_is_valid_whatever_the_host_is_called_and_never_the_same() {
        for host in ["gw-1.example.com", "", "ä b!", &"long".repeat(40)] {
            let id = GatewayId::of_host(host, 7);
            assert_eq!(GatewayId::parse(id.as_str()), Ok(id.clone()), "{host}");
        }
        assert_eq!(GatewayId::of_host("gw-1", 7).as_str(), "gw-1-0000000000000007");
        assert_ne!(GatewayId::generate(), GatewayId::generate());
    }
}
