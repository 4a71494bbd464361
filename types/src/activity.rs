//! Activity of a player, as the game describes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::PlayerId;

/// The activity of a player: what the player is doing, and whether others can join. At least one
/// member is set, and the whole has at most 1 KiB as compact JSON; the service refuses any other.
///
/// ```
/// use presence_types::Activity;
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
    /// An object that the game defines. It comes back as the same JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Map<String, Value>>,
}

/// A group of players: 1 ≤ `size` ≤ `max` ≤ 1,000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The id of the group, which is unique within the game.
    pub id: PlayerId,
    /// The number of players in the group.
    pub size: u16,
    /// The largest number of players in the group.
    pub max: u16,
}
