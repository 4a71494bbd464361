//! The presence object.

use serde::{Deserialize, Serialize};

use crate::{Activity, PlayerId, State};

/// One player's presence at one moment. `A` is the form in which the activity is held: the service
/// keeps its JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence<A = Activity> {
    /// The id of the player.
    pub player_id: PlayerId,
    /// The state of the player.
    pub state: State,
    /// The time of the player's last call, in Unix milliseconds. `None` for an OFFLINE player,
    /// unless the history was requested and is known.
    pub last_seen: Option<u64>,
    /// The number of live leases, which is the number of open connections.
    pub connection_count: u32,
    /// The version of the newest transition, which orders the transitions of a player. `None` for
    /// an OFFLINE player, unless the history was requested and is known.
    pub version: Option<u64>,
    /// The player's activity, if the game has set one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<A>,
}

/// The presences of several players, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Friends<A = Activity> {
    /// When the presences were read, in Unix milliseconds of Redis's clock. In a cluster, this is
    /// the earliest time of the nodes involved.
    pub as_of: u64,
    /// One presence for each id of the call, in that order.
    pub presences: Vec<Presence<A>>,
}

/// The history of an OFFLINE player, which is kept for the retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// The time of the player's last call, in Unix milliseconds.
    pub last_seen: u64,
    /// The version of the newest known transition.
    pub version: u64,
}

impl<A> Presence<A> {
    /// Builds the presence of a player without a record.
    pub fn offline(player_id: PlayerId, history: Option<History>) -> Self {
        Self {
            player_id,
            state: State::Offline,
            last_seen: history.map(|history| history.last_seen),
            connection_count: 0,
            version: history.map(|history| history.version),
            activity: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presence_is_read_as_it_is_written_and_may_have_members_of_a_newer_service() {
        let json = r#"{"player_id":"alice","state":"OFFLINE","last_seen":null,"connection_count":0,"version":null}"#;
        let presence: Presence = serde_json::from_str(json).unwrap();
        assert_eq!(
            presence,
            Presence::offline(PlayerId::parse("alice").unwrap(), None)
        );
        assert_eq!(serde_json::to_string(&presence).unwrap(), json);

        let without_activity = r#"{"player_id":"alice","state":"IN_MATCH","last_seen":7,"connection_count":1,"version":5,"#;
        let json = format!(r#"{without_activity}"activity":{{"joinable":true}}}}"#);
        let presence: Presence =
            serde_json::from_str(&json.replace("{\"p", "{\"mood\":[1],\"p")).unwrap();
        assert_eq!(
            presence
                .activity
                .as_ref()
                .and_then(|activity| activity.joinable),
            Some(true)
        );
        assert_eq!(serde_json::to_string(&presence).unwrap(), json);
    }
}
