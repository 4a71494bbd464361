//! Request bodies: JSON, parsed into types that are valid by construction.

use http::{HeaderValue, Method, header};
use serde::de::DeserializeOwned;

use super::{Problem, Request};
use crate::model::json::Object;

/// The longest body, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// Parses the JSON object in the body of a POST.
///
/// # Errors
/// The statuses 405, 413, 415 and 400, in this order.
pub fn parse_post<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    if request.method() != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    if request.body().len() > MAX_BODY {
        return Err(Problem::too_large(MAX_BODY));
    }
    if !is_json(request) {
        return Err(Problem::unsupported_media_type());
    }
    parse(request.body())
}

/// Checks the number of entries of a list.
///
/// # Errors
/// 400 if it is empty or longer than `max`.
pub fn check_length<T>(list: &[T], max: usize, field: &str) -> Result<(), Problem> {
    if (1..=max).contains(&list.len()) {
        return Ok(());
    }
    let detail = format!("{field} has {} entries; it takes 1 to {max}", list.len());
    Err(Problem::invalid_request(detail).with_field(field))
}

/// Whether the headers allow the body to be read as JSON. Nothing is decompressed: any encoding is
/// refused.
fn is_json(request: &Request) -> bool {
    let headers = request.headers();
    let mut content_types = headers.get_all(header::CONTENT_TYPE).iter();
    !headers.contains_key(header::CONTENT_ENCODING) && content_types.all(is_json_type)
}

/// Whether a content type is JSON. An empty one, like a missing one, counts as JSON.
fn is_json_type(content_type: &HeaderValue) -> bool {
    // The fast path: nearly all callers send exactly this.
    if content_type == "application/json" {
        return true;
    }
    let essence = content_type
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    // `application/cloudevents+json` is JSON, too.
    let subtype = essence
        .trim()
        .split_once('/')
        .map(|(_, subtype)| subtype.rsplit('+').next().unwrap_or_default());
    content_type.is_empty() || subtype.is_some_and(|subtype| subtype.eq_ignore_ascii_case("json"))
}

/// Parses a JSON object.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Checks for UTF-8 once, so that serde need not check each string.
    match str::from_utf8(body)
        .ok()
        .and_then(|body| serde_json::from_str(body).ok())
    {
        Some(Object(value)) => Ok(value),
        None => explain(body),
    }
}

/// Parses an invalid body again, to find the path of the error. Tracking the path is too slow for
/// bodies that are valid.
fn explain<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        invalid(error.inner(), &path)
    })?;
    json.end().map_err(|error| invalid(&error, "."))?;
    Ok(value)
}

fn invalid(error: &serde_json::Error, path: &str) -> Problem {
    if !error.is_data() {
        return Problem::invalid_request(format!("the body is not JSON: {error}"));
    }
    let message = error.to_string();
    let path = if path == "." { "" } else { path };
    let field = match missing_or_repeated(&message) {
        Some(member) if path.is_empty() => member.to_owned(),
        Some(member) => format!("{path}.{member}"),
        None => path.to_owned(),
    };
    let problem = Problem::invalid_request(message);
    if field.is_empty() {
        problem
    } else {
        problem.with_field(field)
    }
}

/// Extracts the member's name from serde's message. serde reports the path of the object for these
/// two errors.
fn missing_or_repeated(message: &str) -> Option<&str> {
    let rest = message
        .strip_prefix("missing field `")
        .or_else(|| message.strip_prefix("duplicate field `"))?;
    rest.split('`').next()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::ConnectionsBody;

    fn problem(body: &str) -> serde_json::Value {
        let request = http::Request::post("/")
            .body(Bytes::copy_from_slice(body.as_bytes()))
            .unwrap();
        let problem = parse_post::<ConnectionsBody>(&request)
            .err()
            .unwrap_or_else(|| panic!("accepted: {body}"));
        serde_json::to_value(problem).unwrap()
    }

    #[test]
    fn the_field_is_the_path_of_the_member_that_is_wrong() {
        for (body, field) in [
            (
                r#"{"connections":[{"player_id":"a","connection_id":"b","zz":1}]}"#,
                "connections[0].zz",
            ),
            (
                r#"{"connections":[{"player_id":"a","connection_id":"b"},{"player_id":"a"}]}"#,
                "connections[1].connection_id",
            ),
            (
                r#"{"connections":[{"player_id":"a b","connection_id":"b"}]}"#,
                "connections[0].player_id",
            ),
            (r#"{"connections":[["a","b"]]}"#, "connections[0]"),
            (r#"{"connections":null}"#, "connections"),
            (r#"{"player_id":null,"connection_id":"b"}"#, "player_id"),
            (
                r#"{"player_id":"a","player_id":"a","connection_id":"b"}"#,
                "player_id",
            ),
            (r#"{"foo":1}"#, "foo"),
            (
                r#"{"player_id":"a","connection_id":"b","reason":"other"}"#,
                "reason",
            ),
            (
                r#"{"player_id":"a","connection_id":"b","reason":null}"#,
                "reason",
            ),
            (
                r#"{"player_id":"a","connection_id":"b","reason":5}"#,
                "reason",
            ),
        ] {
            assert_eq!(problem(body)["field"], field, "{body}");
        }
    }

    #[test]
    fn what_is_not_a_json_object_is_an_invalid_request() {
        for body in [
            "",
            "{",
            "null",
            "[]",
            r#"["a","b"]"#,
            "{}x",
            r#"{"player_id":"\ud800","connection_id":"b"}"#,
        ] {
            assert_eq!(
                problem(body)["type"],
                "urn:presence:invalid-request",
                "{body}"
            );
        }
    }

    #[test]
    fn a_body_that_says_it_is_something_else_is_refused() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/cloudevents+json", true),
            ("application/x-www-form-urlencoded", false),
            ("text/plain", false),
            ("json", false),
        ] {
            let request = http::Request::post("/").header(header::CONTENT_TYPE, content_type);
            assert_eq!(
                is_json(&request.body(Bytes::new()).unwrap()),
                expected,
                "{content_type}"
            );
        }
    }

    #[test]
    fn an_encoded_body_is_refused_whatever_its_type() {
        for encoding in ["gzip", "br", "identity", ""] {
            let request = http::Request::post("/")
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::CONTENT_ENCODING, encoding)
                .body(Bytes::new())
                .unwrap();
            assert!(!is_json(&request), "{encoding:?}");
        }
    }

    #[test]
    fn two_content_types_have_to_be_json_both() {
        let request = http::Request::post("/")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_TYPE, "text/plain")
            .body(Bytes::new())
            .unwrap();
        assert!(!is_json(&request));
    }
}
