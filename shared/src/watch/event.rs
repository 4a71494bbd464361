//! Parsing of events for watchers.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::knowledge::Fact;
use crate::model::{Activity, State};

/// An event's members that concern watchers.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Transition<'a> {
    pub(super) player_id: &'a str,
    state: State,
    last_seen: u64,
    version: u64,
    pub(super) occurred_at: u64,
    #[serde(default, deserialize_with = "activity")]
    activity: Option<Activity>,
}

impl<'a> Transition<'a> {
    /// Parses an event's JSON. `None` if it is not an event of this service.
    pub(super) fn parse(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    pub(super) fn fact(&self) -> Fact {
        Fact {
            state: self.state,
            last_seen: Some(self.last_seen),
            version: Some(self.version),
            activity: self.activity.clone(),
        }
    }
}

/// Reads an activity as the scripts write it.
fn activity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Activity>, D::Error> {
    let json = <&RawValue>::deserialize(deserializer)?;
    Ok(Activity::from_stored(json.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activity_is_read_as_the_scripts_write_it() {
        let json = r#"{"player_id":"alice","state":"ONLINE","last_seen":7,"version":5,"occurred_at":6,"activity":ACTIVITY}"#;
        let parse_activity = |text: &str| {
            let event = json.replace("ACTIVITY", text);
            Transition::parse(event.as_bytes()).unwrap().fact().activity
        };
        let expected: Activity = serde_json::from_str(r#"{"details":"a;b"}"#).unwrap();
        assert_eq!(parse_activity(&expected.stored()), Some(expected));
        assert_eq!(parse_activity("5"), None);
    }

    #[test]
    fn an_event_is_read_and_anything_else_is_not() {
        let json = br#"{"id":"alice:5","type":"PresenceOnline","player_id":"alice","state":"ONLINE",
            "previous_state":"OFFLINE","connection_count":1,"last_seen":7,"version":5,"occurred_at":6,"reason":"connect"}"#;
        let transition = Transition::parse(json).unwrap();
        assert_eq!((transition.player_id, transition.occurred_at), ("alice", 6));
        let fact = Fact {
            state: State::Online,
            last_seen: Some(7),
            version: Some(5),
            activity: None,
        };
        assert_eq!(transition.fact(), fact);
        for other in [
            "",
            "{}",
            "null",
            r#"{"player_id":"alice","state":"GONE","last_seen":1,"version":1,"occurred_at":1}"#,
        ] {
            assert_eq!(Transition::parse(other.as_bytes()), None, "{other}");
        }
    }
}
