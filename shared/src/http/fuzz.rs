//! Fuzz targets: request bodies from arbitrary bytes.

use bytes::Bytes;

use super::{ConnectionsBody, Problem, Request, Target, parse_post, parse_state_change};
use crate::model::{Activity, ActivityChange, ConnectionId, PlayerId};

/// The most entries of a batch.
const MAX: usize = 100;

/// Parses the body of connect, heartbeat and disconnect.
///
/// # Panics
/// If an invalid connection is accepted, or a body is refused with a problem that the API does not
/// document.
pub fn body(bytes: &[u8]) {
    let mut request = Request::new(Bytes::copy_from_slice(bytes));
    *request.method_mut() = http::Method::POST;
    let target =
        parse_post::<ConnectionsBody>(&request).and_then(|body| body.target_and_reason(MAX));
    let connections = match target {
        Ok((Target::One(connection), _)) => vec![connection],
        Ok((Target::Many(connections), _)) => connections,
        Err(problem) => return check(&problem),
    };
    assert!((1..=MAX).contains(&connections.len()));
    for connection in connections {
        assert!(PlayerId::parse(connection.player_id.as_str()).is_ok());
        assert!(ConnectionId::parse(connection.connection_id.as_str()).is_ok());
    }
}

/// Parses the body of set-state. An accepted activity must come back unchanged from Redis and from
/// a response.
///
/// # Panics
/// If it does not, or if a body is refused with a problem that the API does not document.
pub fn state_change(bytes: &[u8]) {
    let mut request = Request::new(Bytes::copy_from_slice(bytes));
    *request.method_mut() = http::Method::POST;
    let change = match parse_state_change(&request) {
        Ok((_, change)) => change,
        Err(problem) => return check(&problem),
    };
    let ActivityChange::Set(activity) = change.activity else {
        return;
    };
    assert!(activity.as_json().len() <= 1024, "{}", activity.as_json());
    assert!(
        !activity.stored().contains([';', '\n', '\0']),
        "{}",
        activity.stored()
    );
    assert_eq!(
        Activity::from_stored(&activity.stored()).as_ref(),
        Some(&activity)
    );
    assert_eq!(
        serde_json::from_str::<Activity>(activity.as_json()).ok(),
        Some(activity)
    );
}

/// Asserts that a refusal is one of the documented problems.
pub(crate) fn check(problem: &Problem) {
    let json = serde_json::to_value(problem).unwrap_or_default();
    assert!(
        json["type"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("urn:presence:")),
        "{json}"
    );
    assert!(
        matches!(json["status"].as_u64(), Some(400 | 401 | 405 | 413 | 415)),
        "{json}"
    );
}
