//! Messages of `GET /watch`: requests to the service, and messages from it.

use presence_types::ProblemBody;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};

use super::{FeedState, WatchedPresence};
use crate::{PlayerId, Problem};

/// A request to the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The number that the reply repeats.
    pub(super) id: u64,
    pub(super) kind: RequestKind,
    pub(super) players: Vec<PlayerId>,
    /// With [`RequestKind::Watch`]: the versions that are known here; 0 for a player without a
    /// version.
    pub(super) known: Vec<(PlayerId, u64)>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    Watch,
    Unwatch,
}

/// A message from the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ServerMessage {
    Feed(FeedState),
    Presences(Vec<WatchedPresence>),
    /// The service has completed the request with this number.
    Complete(u64),
    /// The service refused the request with this number, which changed nothing. `None` if it could
    /// not read the number.
    Refused(Option<u64>, Problem),
    /// A message that only a newer service sends.
    Unknown,
}

impl RequestKind {
    /// The member of a request that names the players.
    pub(super) fn member(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Unwatch => "unwatch",
        }
    }
}

impl Request {
    /// Formats the request as JSON.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // never fails for a map of strings and numbers
    }
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Known<'a>(&'a [(PlayerId, u64)]);

        impl Serialize for Known<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(player, version)| (player, version)))
            }
        }

        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry(self.kind.member(), &self.players)?;
        if !self.known.is_empty() {
            members.serialize_entry("known", &Known(&self.known))?;
        }
        members.serialize_entry("id", &self.id)?;
        members.end()
    }
}

impl ServerMessage {
    /// Parses a message from the service.
    ///
    /// # Errors
    /// If the text is not a message of the presence service.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Members {
            feed: Option<String>,
            presences: Option<Vec<WatchedPresence>>,
            id: Option<u64>,
            watching: Option<u64>,
            error: Option<ProblemBody<'static>>,
        }

        let Members {
            feed,
            presences,
            id,
            watching,
            error,
        } = serde_json::from_str(text)?;
        if let Some(feed) = feed {
            return Ok(Self::Feed(FeedState::from_name(&feed)));
        }
        if let Some(presences) = presences {
            return Ok(Self::Presences(presences));
        }
        if let Some(error) = error {
            return Ok(Self::Refused(id, Problem::from(&error)));
        }
        Ok(match (watching, id) {
            (Some(_), Some(id)) => Self::Complete(id),
            _ => Self::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;

    fn player(id: &str) -> PlayerId {
        PlayerId::parse(id).unwrap()
    }

    #[test]
    fn a_request_names_its_players_and_their_known_versions() {
        let players = vec![player("alice"), player("bob")];
        let known = vec![(player("bob"), 17)];
        let watch = Request {
            id: 7,
            kind: RequestKind::Watch,
            players: players.clone(),
            known,
        };
        assert_eq!(
            watch.to_json(),
            r#"{"watch":["alice","bob"],"known":{"bob":17},"id":7}"#
        );
        let unwatch = Request {
            id: 8,
            kind: RequestKind::Unwatch,
            players,
            known: vec![],
        };
        assert_eq!(unwatch.to_json(), r#"{"unwatch":["alice","bob"],"id":8}"#);
    }

    #[test]
    fn messages_may_have_members_that_only_a_newer_service_sends() {
        let parse = |text| ServerMessage::parse(text).unwrap();
        assert_eq!(
            parse(r#"{"feed":"polling"}"#),
            ServerMessage::Feed(FeedState::Polling)
        );
        assert_eq!(
            parse(r#"{"id":7,"watching":2}"#),
            ServerMessage::Complete(7)
        );
        assert_eq!(parse(r#"{"weather":"fine"}"#), ServerMessage::Unknown);
        let alice = WatchedPresence {
            player_id: player("alice"),
            state: State::InMatch,
            last_seen: Some(3),
            version: None,
            activity: None,
        };
        let text = r#"{"presences":[{"player_id":"alice","state":"IN_MATCH","last_seen":3,"version":null,"mood":"good"}]}"#;
        assert_eq!(parse(text), ServerMessage::Presences(vec![alice]));
        let ServerMessage::Refused(None, problem) = parse(
            r#"{"error":{"type":"urn:presence:too-many","title":"t","status":409,"detail":"d","field":"watch"}}"#,
        ) else {
            panic!()
        };
        assert_eq!(
            (&*problem.slug, problem.status, problem.field.as_deref()),
            ("too-many", 409, Some("watch"))
        );
    }

    #[test]
    fn other_texts_are_errors() {
        for text in [
            "",
            "[]",
            "hello",
            r#"{"presences":[{"player_id":"a b"}]}"#,
            r#"{"feed":7}"#,
        ] {
            assert!(ServerMessage::parse(text).is_err(), "{text}");
        }
    }
}
