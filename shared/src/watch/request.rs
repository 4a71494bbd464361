//! Requests that a caller sends on its stream.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, MapAccess, Visitor},
};

use crate::{
    http::{Problem, check_length, parse_message},
    model::{PlayerId, json::present},
};

/// A request of a caller.
#[derive(Debug, PartialEq)]
pub struct WatchRequest {
    /// The caller's number of the request, which the reply repeats.
    pub id: Option<RequestId>,
    /// The requested action.
    pub action: WatchAction,
}

/// The action of a request.
#[derive(Debug, PartialEq)]
pub enum WatchAction {
    /// Watch these players.
    Watch(Wanted),
    /// Stop watching these players.
    Unwatch(Vec<PlayerId>),
}

/// Players to watch.
#[derive(Debug, Default, PartialEq)]
pub struct Wanted {
    pub(super) players: Vec<PlayerId>,
    /// The versions that the caller already holds; 0 for a player without one.
    pub(super) known: HashMap<PlayerId, u64>,
}

/// A caller's number of a request: an integer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RequestId(serde_json::Number);

/// Error of an invalid request.
#[derive(Debug)]
pub struct InvalidRequest {
    /// The number of the request, if it could be read.
    pub id: Option<RequestId>,
    /// The problem to report to the caller.
    pub problem: Box<Problem>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(default, deserialize_with = "present")]
    watch: Option<Vec<PlayerId>>,
    #[serde(default, deserialize_with = "present")]
    unwatch: Option<Vec<PlayerId>>,
    #[serde(default, deserialize_with = "present")]
    known: Option<Known>,
    #[serde(default, deserialize_with = "present")]
    id: Option<RequestId>,
}

/// A request of which only the number is parsed.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default, deserialize_with = "present")]
    id: Option<RequestId>,
}

/// The versions that a caller holds, in the order in which they were sent.
#[derive(Debug)]
struct Known(Vec<(String, u64)>);

impl WatchRequest {
    /// Parses a request about 1 to `max` players.
    ///
    /// # Errors
    /// [`InvalidRequest`] if it is not one JSON object that asks for one thing.
    pub fn parse(text: &str, max: usize) -> Result<Self, InvalidRequest> {
        let to_error = |problem| InvalidRequest {
            id: number(text),
            problem: Box::new(problem),
        };
        let Members {
            watch,
            unwatch,
            known,
            id,
        } = parse_message(text.as_bytes()).map_err(to_error)?;
        let action = match (watch, unwatch) {
            (Some(players), None) => Wanted::new(players, known, max).map(WatchAction::Watch),
            (None, Some(players)) => unwatch_action(players, known, max),
            (Some(_), Some(_)) => Err(ambiguous(
                "a request has either `watch` or `unwatch`",
                "unwatch",
            )),
            (None, None) => Err(ambiguous("missing field `watch` or `unwatch`", "watch")),
        };
        match action {
            Ok(action) => Ok(Self { id, action }),
            Err(problem) => Err(InvalidRequest {
                id,
                problem: Box::new(problem),
            }),
        }
    }
}

impl Wanted {
    /// Players without known versions. Repeated ids are removed.
    pub fn all(mut players: Vec<PlayerId>) -> Self {
        let mut named = HashSet::with_capacity(players.len());
        let are_new: Vec<_> = players.iter().map(|player| named.insert(player)).collect();
        let mut first_occurrences = are_new.into_iter();
        players.retain(|_| first_occurrences.next().unwrap_or(true));
        Self {
            players,
            known: HashMap::new(),
        }
    }

    fn new(players: Vec<PlayerId>, known: Option<Known>, max: usize) -> Result<Self, Problem> {
        check_length(&players, max, "watch")?;
        let wanted = Self::all(players);
        let Some(Known(versions)) = known else {
            return Ok(wanted);
        };
        let named: HashSet<&str> = wanted.players.iter().map(PlayerId::as_str).collect();
        let mut known = HashMap::with_capacity(versions.len());
        for (id, version) in versions {
            match PlayerId::parse(&id).ok().filter(|_| named.contains(&*id)) {
                Some(player) => known.insert(player, version),
                None => {
                    return Err(ambiguous(
                        "`known` names a player that `watch` does not",
                        &format!("known.{id}"),
                    ));
                }
            };
        }
        Ok(Self { known, ..wanted })
    }

    /// Whether the caller holds this version; a player without any has 0.
    pub(super) fn is_known(&self, player: &PlayerId, version: Option<u64>) -> bool {
        self.known
            .get(player)
            .is_some_and(|known| *known == version.unwrap_or_default())
    }
}

fn unwatch_action(
    players: Vec<PlayerId>,
    known: Option<Known>,
    max: usize,
) -> Result<WatchAction, Problem> {
    check_length(&players, max, "unwatch")?;
    let Some(Known(versions)) = known else {
        return Ok(WatchAction::Unwatch(players));
    };
    let field = versions
        .first()
        .map_or("known".to_owned(), |(id, _)| format!("known.{id}"));
    Err(ambiguous("`known` belongs to `watch`", &field))
}

fn ambiguous(detail: &str, field: &str) -> Problem {
    Problem::invalid_request(detail).with_field(field)
}

/// The number of a request that is otherwise invalid.
fn number(text: &str) -> Option<RequestId> {
    parse_message::<Numbered>(text.as_bytes()).ok()?.id
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Integer;

        impl Visitor<'_> for Integer {
            type Value = RequestId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer of 64 bits")
            }

            fn visit_u64<E>(self, number: u64) -> Result<RequestId, E> {
                Ok(RequestId(number.into()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<RequestId, E> {
                Ok(RequestId(number.into()))
            }
        }

        deserializer.deserialize_any(Integer)
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Versions;

        impl<'de> Visitor<'de> for Versions {
            type Value = Known;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of versions by player")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Known, A::Error> {
                let mut versions = Vec::new();
                let mut seen = HashSet::new();
                while let Some(id) = members.next_key::<String>()? {
                    if !seen.insert(id.clone()) {
                        return Err(A::Error::custom(format_args!("duplicate field `{id}`")));
                    }
                    versions.push((id, members.next_value()?));
                }
                Ok(Known(versions))
            }
        }

        deserializer.deserialize_map(Versions)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn player(id: &str) -> PlayerId {
        PlayerId::parse(id).unwrap()
    }

    /// The number and the field of an invalid request.
    fn refused(text: &str) -> (Value, Value) {
        let InvalidRequest { id, problem } = WatchRequest::parse(text, 3).expect_err(text);
        let problem = serde_json::to_value(problem).unwrap();
        assert_eq!(problem["type"], "urn:presence:invalid-request", "{text}");
        (json!(id), problem["field"].clone())
    }

    #[test]
    fn a_request_watches_or_unwatches() {
        let request =
            WatchRequest::parse(r#"{"watch":["alice","bob"],"known":{"bob":17},"id":-7}"#, 2)
                .unwrap();
        let WatchAction::Watch(wanted) = request.action else {
            panic!("{request:?}")
        };
        assert_eq!(
            (json!(request.id), &wanted.players),
            (json!(-7), &vec![player("alice"), player("bob")])
        );
        assert!(
            wanted.is_known(&player("bob"), Some(17)) && !wanted.is_known(&player("bob"), Some(18))
        );
        assert!(
            !wanted.is_known(&player("alice"), Some(17))
                && !wanted.is_known(&player("alice"), None)
        );
        let request = WatchRequest::parse(r#"{"unwatch":["bob"]}"#, 2).unwrap();
        assert_eq!(
            request,
            WatchRequest {
                id: None,
                action: WatchAction::Unwatch(vec![player("bob")])
            }
        );
    }

    #[test]
    fn a_player_that_is_named_twice_is_wanted_once() {
        let wanted = Wanted::all(["bob", "alice", "bob"].map(player).into());
        assert_eq!(wanted.players, ["bob", "alice"].map(player));
    }

    #[test]
    fn a_player_without_a_version_is_known_by_0() {
        let request = WatchRequest::parse(r#"{"watch":["alice"],"known":{"alice":0}}"#, 2).unwrap();
        let WatchAction::Watch(wanted) = request.action else {
            panic!("{request:?}")
        };
        assert!(wanted.is_known(&player("alice"), None));
    }

    #[test]
    fn an_invalid_request_says_which_member_is_wrong_and_repeats_its_number() {
        for (text, field) in [
            (r#"{"id":7}"#, json!("watch")),
            (
                r#"{"id":7,"watch":["a"],"unwatch":["a"]}"#,
                json!("unwatch"),
            ),
            (r#"{"id":7,"watch":[]}"#, json!("watch")),
            (r#"{"id":7,"watch":["a","b","c","d"]}"#, json!("watch")),
            (r#"{"id":7,"unwatch":[]}"#, json!("unwatch")),
            (r#"{"id":7,"watch":["a","b c"]}"#, json!("watch[1]")),
            (r#"{"id":7,"watch":[1]}"#, json!("watch[0]")),
            (r#"{"id":7,"watch":"a"}"#, json!("watch")),
            (r#"{"id":7,"watch":null}"#, json!("watch")),
            (r#"{"id":7,"watch":["a"],"watch":["a"]}"#, json!("watch")),
            (r#"{"id":7,"watch":["a"],"more":1}"#, json!("more")),
            (r#"{"id":7,"watch":["a"],"known":null}"#, json!("known")),
            (r#"{"id":7,"watch":["a"],"known":[]}"#, json!("known")),
            (
                r#"{"id":7,"watch":["a"],"known":{"b":1}}"#,
                json!("known.b"),
            ),
            (
                r#"{"id":7,"watch":["a"],"known":{"a":-1}}"#,
                json!("known.a"),
            ),
            (
                r#"{"id":7,"watch":["a"],"known":{"a":1.5}}"#,
                json!("known.a"),
            ),
            (
                r#"{"id":7,"watch":["a"],"known":{"a":null}}"#,
                json!("known.a"),
            ),
            (
                r#"{"id":7,"watch":["a"],"known":{"a":1,"a":1}}"#,
                json!("known.a"),
            ),
            (
                r#"{"id":7,"unwatch":["a"],"known":{"a":1}}"#,
                json!("known.a"),
            ),
            (r#"{"id":7,"unwatch":["a"],"known":{}}"#, json!("known")),
        ] {
            assert_eq!(refused(text), (json!(7), field), "{text}");
        }
    }

    #[test]
    fn a_number_that_cannot_be_read_is_not_repeated() {
        for (text, field) in [
            (r#"{"watch":["a"],"id":"7"}"#, json!("id")),
            (r#"{"watch":["a"],"id":7.5}"#, json!("id")),
            (r#"{"watch":["a"],"id":null}"#, json!("id")),
            (r#"{"watch":["a"],"id":7,"id":7}"#, json!("id")),
            (r#"{"watch":["a b"]}"#, json!("watch[0]")),
            (r#"{"id":7,"watch":["a"]"#, json!(null)),
            (r#"{"id":7}{"id":7}"#, json!(null)),
            ("[]", json!(null)),
            ("", json!(null)),
        ] {
            assert_eq!(refused(text), (json!(null), field), "{text}");
        }
    }
}
