//! Messages of `GET /watch`: requests out, reports in.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};

use super::{FeedState, WatchedPresence};
use crate::{PlayerId, Problem};

/// A request of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The number that the reply repeats.
    pub(super) id: u64,
    pub(super) kind: RequestKind,
    pub(super) players: Vec<PlayerId>,
    /// With [`RequestKind::Watch`]: the versions that the caller holds; 0 for a player without one.
    pub(super) known: Vec<(PlayerId, u64)>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    Watch,
    Unwatch,
}

/// A message of the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    Feed(FeedState),
    Presences(Vec<WatchedPresence>),
    /// A request is complete.
    Complete(u64),
    /// A request changed nothing. `None` if the service could not read its number.
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
    /// The request as JSON.
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

impl Report {
    /// Parses a message of the service's.
    ///
    /// # Errors
    /// If it is not a message of the presence service.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Members {
            feed: Option<String>,
            presences: Option<Vec<WatchedPresence>>,
            id: Option<u64>,
            watching: Option<u64>,
            error: Option<Details>,
        }

        #[derive(Deserialize)]
        struct Details {
            r#type: String,
            status: u16,
            detail: String,
            field: Option<String>,
        }

        let Members { feed, presences, id, watching, error } = serde_json::from_str(text)?;
        if let Some(feed) = feed {
            return Ok(Self::Feed(FeedState::from_word(&feed)));
        }
        if let Some(presences) = presences {
            return Ok(Self::Presences(presences));
        }
        if let Some(Details { r#type, status, detail, field }) = error {
            let slug = r#type.strip_prefix("urn:presence:").unwrap_or(&r#type).to_owned();
            return Ok(Self::Refused(id, Problem { status, slug, detail, field, retry_after: None }));
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
    fn a_request_names_its_players_and_what_is_known_of_them() {
        let players = vec![player("alice"), player("bob")];
        let known = vec![(player("bob"), 17)];
        let watch = Request { id: 7, kind: RequestKind::Watch, players: players.clone(), known };
        assert_eq!(watch.to_json(), r#"{"watch":["alice","bob"],"known":{"bob":17},"id":7}"#);
        let unwatch = Request { id: 8, kind: RequestKind::Unwatch, players, known: vec![] };
        assert_eq!(unwatch.to_json(), r#"{"unwatch":["alice","bob"],"id":8}"#);
    }

    #[test]
    fn reports_are_told_apart_and_may_have_members_that_only_a_newer_service_sends() {
        let parse = |text| Report::parse(text).unwrap();
        assert_eq!(parse(r#"{"feed":"polling"}"#), Report::Feed(FeedState::Polling));
        assert_eq!(parse(r#"{"id":7,"watching":2}"#), Report::Complete(7));
        assert_eq!(parse(r#"{"weather":"fine"}"#), Report::Unknown);
        let alice = WatchedPresence {
            player_id: player("alice"),
            state: State::InMatch,
            last_seen: Some(3),
            version: None,
            activity: None,
        };
        let text =
            r#"{"presences":[{"player_id":"alice","state":"IN_MATCH","last_seen":3,"version":null,"mood":"good"}]}"#;
        assert_eq!(parse(text), Report::Presences(vec![alice]));
        let Report::Refused(None, problem) = parse(
            r#"{"error":{"type":"urn:presence:too-many","title":"t","status":409,"detail":"d","field":"watch"}}"#,
        ) else {
            panic!()
        };
        assert_eq!((&*problem.slug, problem.status, problem.field.as_deref()), ("too-many", 409, Some("watch")));
    }

    #[test]
    fn what_is_not_a_report_is_an_error() {
        for text in ["", "[]", "hello", r#"{"presences":[{"player_id":"a b"}]}"#, r#"{"feed":7}"#] {
            assert!(Report::parse(text).is_err(), "{text}");
        }
    }
}
