//! The presence object, as callers get it.

use serde::{Deserialize, Serialize};

use super::{Activity, PlayerId, PresenceState};

/// One player's presence at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whose presence it is.
    pub player_id: PlayerId,
    /// What the player is doing.
    pub state: PresenceState,
    /// When the player was last heard of, in Unix milliseconds. `None` for an OFFLINE player, unless the history was
    /// asked for and is known.
    pub last_seen: Option<u64>,
    /// The number of live leases.
    pub connection_count: u32,
    /// Orders the player's transitions. `None` as for `last_seen`.
    pub version: Option<u64>,
    /// What the player is doing, if the game has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// What is still known of an OFFLINE player, for the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSeen {
    /// When the player was last heard of, in Unix milliseconds.
    pub last_seen: u64,
    /// The version of the newest transition known.
    pub version: u64,
}

impl Presence {
    /// The presence of a player without a record.
    pub fn offline(player_id: PlayerId, past: Option<LastSeen>) -> Self {
        Self {
            player_id,
            state: PresenceState::Offline,
            last_seen: past.map(|past| past.last_seen),
            connection_count: 0,
            version: past.map(|past| past.version),
            activity: None,
        }
    }
}
