//! What a consumer of the service's events gets.

use serde::{Deserialize, Serialize};

use crate::{Activity, PlayerId, State};

/// A change of a player's state: the body of an event, whether it came from NATS or from an
/// [`EventStream`](super::EventStream).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceEvent {
    /// `<player_id>:<version>`; no two events share one.
    pub id: String,
    /// `PresenceOnline`, `PresenceOffline` or `PresenceStateChanged`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whose state changed.
    pub player_id: PlayerId,
    /// The state now.
    pub state: State,
    /// The state before.
    pub previous_state: State,
    /// The player's live connections after the change.
    pub connection_count: u32,
    /// When the player was last heard of, in Unix milliseconds.
    pub last_seen: u64,
    /// Orders the events of a player, whatever order they come in.
    pub version: u64,
    /// When the change was made, in Unix milliseconds.
    pub occurred_at: u64,
    /// Why: `connect`, `restore`, `disconnect`, `lost`, `expired`, `signed_out`, `set_state` or `set_activity`.
    pub reason: String,
    /// What the player is doing after the change, if the game has reported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}
