//! Events: transitions of players, as consumers get them.

use serde::{Deserialize, Serialize};

use crate::{Activity, PlayerId, State, open_names::open_names};

/// A transition of a player: the body of an event, whether it comes from NATS or from the server's
/// stream for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceEvent<A = Activity> {
    /// `<player_id>:<version>`, which no other event has.
    pub id: String,
    /// The kind of the transition.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The player whose state or activity changed.
    pub player_id: PlayerId,
    /// The state after the transition.
    pub state: State,
    /// The state before the transition.
    pub previous_state: State,
    /// The number of live leases after the transition.
    pub connection_count: u32,
    /// The time of the player's last call, in Unix milliseconds.
    pub last_seen: u64,
    /// Orders the events of a player, whatever the order in which they arrive.
    pub version: u64,
    /// When the transition was made, in Unix milliseconds.
    pub occurred_at: u64,
    /// The reason of the transition.
    pub reason: EventReason,
    /// The activity after the transition, if the player has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activity: Option<A>,
}

/// The kind of a transition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The player was OFFLINE.
    Online,
    /// The player is OFFLINE now.
    Offline,
    /// The player has another state or activity.
    StateChanged,
    /// A kind that only a newer service has.
    Other(Box<str>),
}

/// The reason of a transition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventReason {
    /// The first connection was opened.
    Connect,
    /// A heartbeat opened a connection that was not known (any more) and not closed.
    Restore,
    /// The last connection was closed on purpose.
    Disconnect,
    /// The last connection broke, or its gateway crashed or restarted as planned, and the player
    /// did not return within the grace.
    Lost,
    /// No connection was renewed in time.
    Expired,
    /// The state was set to OFFLINE.
    SignedOut,
    /// The state was set, perhaps with an activity.
    SetState,
    /// The activity was set or removed.
    SetActivity,
    /// A reason that only a newer service has.
    Other(Box<str>),
}

open_names!(EventKind {
    Online => "PresenceOnline",
    Offline => "PresenceOffline",
    StateChanged => "PresenceStateChanged",
});

open_names!(EventReason {
    Connect => "connect",
    Restore => "restore",
    Disconnect => "disconnect",
    Lost => "lost",
    Expired => "expired",
    SignedOut => "signed_out",
    SetState => "set_state",
    SetActivity => "set_activity",
});

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = concat!(
        r#"{"id":"alice:5","type":"PresenceOffline","player_id":"alice","state":"OFFLINE","previous_state":"AWAY","#,
        r#""connection_count":0,"last_seen":3,"version":5,"occurred_at":4,"reason":"signed_out"}"#,
    );

    #[test]
    fn an_event_is_read_as_it_is_written() {
        let event: PresenceEvent = serde_json::from_str(EVENT).unwrap();
        assert_eq!(
            (&event.kind, &event.reason),
            (&EventKind::Offline, &EventReason::SignedOut)
        );
        assert_eq!(serde_json::to_string(&event).unwrap(), EVENT);
    }

    #[test]
    fn what_only_a_newer_service_says_is_kept() {
        let newer = EVENT
            .replace("signed_out", "banned")
            .replace("PresenceOffline", "PresenceBanned");
        let event: PresenceEvent = serde_json::from_str(&newer).unwrap();
        assert_eq!(
            (event.kind.as_str(), event.reason.as_str()),
            ("PresenceBanned", "banned")
        );
        assert_eq!(event.reason, EventReason::Other("banned".into()));
        assert_eq!(serde_json::to_string(&event).unwrap(), newer);
        assert!(
            serde_json::from_str::<PresenceEvent>(&EVENT.replace(r#""signed_out""#, "5")).is_err()
        );
    }
}
