//! The presence object.

use serde::{Deserialize, Serialize};

use super::{Activity, PlayerId, PresenceState};

/// One player's presence at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The id of the player.
    pub player_id: PlayerId,
    /// The state of the player.
    pub state: PresenceState,
    /// The time of the player's last call, in Unix milliseconds. `None` for an OFFLINE player, unless the history was
    /// requested and is known.
    pub last_seen: Option<u64>,
    /// The number of live leases.
    pub connection_count: u32,
    /// The version of the newest transition, which orders the transitions of a player. `None` for an OFFLINE player,
    /// unless the history was requested and is known.
    pub version: Option<u64>,
    /// The player's activity, if the game has set one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// The history of an OFFLINE player, which is kept for the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSeen {
    /// The time of the player's last call, in Unix milliseconds.
    pub last_seen: u64,
    /// The version of the newest known transition.
    pub version: u64,
}

impl Presence {
    /// Builds the presence of a player without a record.
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
