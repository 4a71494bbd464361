//! What a player is doing, in the game's own words.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::PlayerId;

/// What a player is doing, and whether others can join. At least one member is set, and the whole has at most 1 KiB as
/// compact JSON; the service refuses any other.
///
/// ```
/// use presence_client::Activity;
///
/// let activity = Activity { details: Some("Ranked".to_owned()), joinable: Some(true), ..Activity::default() };
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// Text for people, 1 to 128 Unicode code points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// The group that the player is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
    /// Whether others can join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joinable: Option<bool>,
    /// What the game defines; it comes back as the same JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Map<String, Value>>,
}

/// A group of players: 1 ≤ `size` ≤ `max` ≤ 1,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Identifies the group among all of the game.
    pub id: PlayerId,
    /// How many players are in it.
    pub size: u16,
    /// How many players can be in it.
    pub max: u16,
}
