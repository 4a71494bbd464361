//! Parameters in the URL of a GET.

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::{Problem, Request};

/// Checks that the request is a GET, or a HEAD.
///
/// # Errors
/// 405 for any other method.
pub fn expect_get(request: &Request) -> Result<(), Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method_not_allowed("GET, HEAD")),
    }
}

/// The last segment of the path, percent-decoded once. A stage or base path before it and a slash
/// after it are ignored.
///
/// # Errors
/// 400 if it is not UTF-8.
pub fn last_segment(request: &Request) -> Result<String, Problem> {
    let path = request.uri().path().trim_end_matches('/');
    let segment = path.rsplit('/').next().unwrap_or_default();
    let decoded = percent_decode_str(segment).decode_utf8();
    Ok(decoded
        .map_err(|_| Problem::invalid_request("the path is not UTF-8").with_field("player_id"))?
        .into_owned())
}

/// Whether the history of OFFLINE players is requested (`?history=true`). Other names are ignored.
///
/// # Errors
/// 400 for any other value than `true` and `false`, and if it is given twice.
pub fn history(request: &Request) -> Result<bool, Problem> {
    match query_value(request.uri(), "history")?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid_request("history is true or false").with_field("history")),
    }
}

/// The decoded value of `name` in a URL's query; `None` if the query does not have it.
///
/// # Errors
/// 400 if it is given twice.
pub fn query_value(uri: &Uri, name: &str) -> Result<Option<String>, Problem> {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut values = pairs
        .filter(|(other, _)| other == name)
        .map(|(_, value)| value.into_owned());
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(Problem::invalid_request(format!("{name} is given twice")).with_field(name)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn get(uri: &str) -> Request {
        http::Request::get(uri).body(Bytes::new()).unwrap()
    }

    #[test]
    fn the_player_is_the_last_segment_decoded_once() {
        for (path, player) in [
            ("/presence/alice", "alice"),
            ("/prod/base/presence/alice/", "alice"),
            ("/presence/steam%3A1%40eu", "steam:1@eu"),
            ("/presence/%2541", "%41"),
            ("/presence/friends", "friends"),
        ] {
            assert_eq!(last_segment(&get(path)).unwrap(), player);
        }
        assert!(last_segment(&get("/presence/%ff")).is_err());
    }

    #[test]
    fn history_is_exactly_true_or_false() {
        assert!(!history(&get("/presence/a")).unwrap());
        assert!(!history(&get("/presence/a?history=false&other=1")).unwrap());
        assert!(history(&get("/presence/a?x&history=true")).unwrap());
        assert!(history(&get("/presence/a?histor%79=tru%65")).unwrap());
        for query in [
            "history",
            "history=",
            "history=TRUE",
            "history=1",
            "history=true&history=true",
        ] {
            assert!(
                history(&get(&format!("/presence/a?{query}"))).is_err(),
                "{query}"
            );
        }
    }
}
