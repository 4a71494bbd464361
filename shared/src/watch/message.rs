//! Messages that the service sends on a stream.

use std::fmt::Write as _;

use serde::Serialize;

use super::{hub::Delivery, request::RequestId};
use crate::http::Problem;

/// The longest message. Common WebSocket clients accept no longer ones by default.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The longest entry of a message: an id of 128 bytes, an activity of 1 KiB, and the JSON around
/// them.
const MAX_ENTRY_BYTES: usize = 256 + 1024;

/// The length from which on a message of a snapshot gets no further entries. A WebSocket keeps a
/// buffer as long as its longest message until it closes, so one message with all players of a
/// snapshot would cost each stream that much.
const SNAPSHOT_MESSAGE_BYTES: usize = 32 * 1024;

/// The source of changes, as callers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Feed {
    /// Events arrive from the stream.
    Live,
    /// All watched players are read repeatedly: events are off, or NATS is down.
    Polling,
    /// Redis cannot be read. The presences that callers hold may be outdated.
    Stale,
}

/// Builder of a `presences` message.
#[derive(Debug)]
pub(super) struct PresencesMessage {
    json: String,
    length: usize,
}

impl Feed {
    /// All feed states.
    pub const ALL: [Self; 3] = [Self::Live, Self::Polling, Self::Stale];

    /// The state's name in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Polling => "polling",
            Self::Stale => "stale",
        }
    }

    /// The `feed` message with this state.
    pub fn message(self) -> String {
        format!(r#"{{"feed":"{}"}}"#, self.as_str())
    }
}

impl PresencesMessage {
    pub(super) fn new() -> Self {
        Self {
            json: String::new(),
            length: 0,
        }
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, delivery: &Delivery<'_>) {
        let begin = if self.length == 0 {
            r#"{"presences":["#
        } else {
            ","
        };
        let Delivery { player, fact, .. } = delivery;
        // Ids and states have no characters that JSON escapes, and an activity is JSON already.
        let _ = write!(
            self.json,
            r#"{begin}{{"player_id":"{player}","state":"{}","last_seen":{},"version":{}"#,
            fact.state,
            Nullable(fact.last_seen),
            Nullable(fact.version),
        );
        if let Some(activity) = &fact.activity {
            let _ = write!(self.json, r#","activity":{}"#, activity.as_json());
        }
        self.json.push('}');
        self.length += 1;
    }

    /// Whether another entry fits in, even one of maximum length.
    pub(super) fn has_room(&self) -> bool {
        self.has_room_for(1)
    }

    /// Whether this number of entries fits in, even if all have the maximum length.
    pub(super) fn has_room_for(&self, entries: usize) -> bool {
        self.json.len() + entries * MAX_ENTRY_BYTES <= MAX_MESSAGE_BYTES
    }

    /// Whether a message of a snapshot gets further entries.
    pub(super) fn is_short(&self) -> bool {
        self.json.len() < SNAPSHOT_MESSAGE_BYTES
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The complete message. `None` if it has no entries.
    pub(super) fn finish(mut self) -> Option<String> {
        if self.length == 0 {
            return None;
        }
        self.json.push_str("]}");
        Some(self.json)
    }
}

/// Builds the message that a request is complete.
pub(super) fn complete(id: Option<&RequestId>, watching: usize) -> String {
    #[derive(Serialize)]
    struct Complete<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        watching: usize,
    }

    serde_json::to_string(&Complete { id, watching }).unwrap_or_default()
}

/// Builds the message that a request failed and changed nothing.
pub(super) fn failure(id: Option<&RequestId>, error: &Problem) -> String {
    #[derive(Serialize)]
    struct Failure<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RequestId>,
        error: &'a Problem,
    }

    serde_json::to_string(&Failure { id, error }).unwrap_or_default()
}

/// A number or `null`.
struct Nullable(Option<u64>);

impl std::fmt::Display for Nullable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(number) => number.fmt(f),
            None => f.write_str("null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        model::{Activity, PlayerId, State},
        watch::knowledge::Fact,
    };

    fn push(
        message: &mut PresencesMessage,
        id: &str,
        version: Option<u64>,
        activity: Option<Activity>,
    ) {
        let player = &PlayerId::parse(id).unwrap();
        let fact = Fact {
            state: State::InMatch,
            last_seen: version,
            version,
            activity,
        };
        message.push(&Delivery {
            player,
            fact,
            occurred_at: None,
            is_change: true,
        });
    }

    #[test]
    fn presences_are_json_with_four_members_each_and_an_activity() {
        let mut message = PresencesMessage::new();
        push(&mut message, "alice", Some(17), None);
        push(&mut message, "a:b|c@d", None, None);
        let activity = json!({"details": "\"}]\u{2028}"});
        push(
            &mut message,
            "bob",
            Some(18),
            Some(serde_json::from_value(activity.clone()).unwrap()),
        );
        let json: Value = serde_json::from_str(&message.finish().unwrap()).unwrap();
        assert_eq!(
            json,
            json!({"presences": [
                {"player_id": "alice", "state": "IN_MATCH", "last_seen": 17, "version": 17},
                {"player_id": "a:b|c@d", "state": "IN_MATCH", "last_seen": null, "version": null},
                {"player_id": "bob", "state": "IN_MATCH", "last_seen": 18, "version": 18, "activity": activity},
            ]})
        );
        assert_eq!(PresencesMessage::new().finish(), None);
    }

    #[test]
    fn no_message_is_longer_than_a_mebibyte() {
        let activity =
            json!({"custom": {"text": "x".repeat(1_024 - r#"{"custom":{"text":""}}"#.len())}});
        let longest: Activity = serde_json::from_value(activity).unwrap();
        for (activity, least) in [(None, 4_000), (Some(longest), 800)] {
            let mut message = PresencesMessage::new();
            while message.has_room() {
                push(
                    &mut message,
                    &"x".repeat(128),
                    Some(u64::MAX),
                    activity.clone(),
                );
            }
            assert!(message.len() > least, "{}", message.len());
            assert!(message.finish().unwrap().len() <= MAX_MESSAGE_BYTES);
        }
    }

    #[test]
    fn replies_repeat_the_number_of_the_request() {
        let id: RequestId = serde_json::from_str("7").unwrap();
        assert_eq!(complete(Some(&id), 2), r#"{"id":7,"watching":2}"#);
        assert_eq!(complete(None, 0), r#"{"watching":0}"#);
        let message = failure(Some(&id), &Problem::invalid_request("no"));
        assert!(
            message.starts_with(r#"{"id":7,"error":{"type":"urn:presence:invalid-request","#),
            "{message}"
        );
    }
}
