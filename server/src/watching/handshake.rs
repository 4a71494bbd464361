//! Handshake of a stream: WebSocket (RFC 6455) or server-sent events.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header},
    response::Response,
};
use presence::{
    http::{Problem, check_length, query_value},
    model::PlayerId,
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::session::Session;
use crate::connection::Upgrade;

/// The most players of one stream of server-sent events, which are named in the URL.
const MAX_PLAYERS: usize = 500;

/// The length of a key: 16 bytes in Base64.
const KEY_LENGTH: usize = 24;

/// The version of the WebSocket protocol.
const VERSION: HeaderValue = HeaderValue::from_static("13");

/// The kind of stream that a request asks for.
#[derive(Debug, PartialEq)]
pub(super) enum StreamKind {
    /// A WebSocket. `accept` is the response to the request's key.
    WebSocket { accept: String },
    /// Server-sent events about these players.
    ServerSentEvents { players: Vec<PlayerId> },
    /// Neither of the two.
    Neither,
}

/// Determines the kind of stream that a request asks for.
///
/// # Errors
/// 400 for an invalid list of players.
pub(super) fn stream_kind(request: &Request) -> Result<StreamKind, Problem> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Ok(StreamKind::Neither);
    }
    if request.version() == Version::HTTP_11
        && let Some(accept) = accept_key(headers)
    {
        return Ok(StreamKind::WebSocket { accept });
    }
    if !has_token(headers, &header::ACCEPT, "text/event-stream") {
        return Ok(StreamKind::Neither);
    }
    Ok(
        players(request.uri())?.map_or(StreamKind::Neither, |players| {
            StreamKind::ServerSentEvents { players }
        }),
    )
}

/// Switches the connection to WebSocket, and runs the session on it.
pub(super) fn switch(accept: &str, session: Session) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    Upgrade::after(&mut response, |socket| session.run(socket));
    response
}

/// Adds the supported version of the protocol to a response.
pub(super) fn with_version(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_VERSION, VERSION);
    response
}

/// The response to the key of a WebSocket handshake. `None` if the request is not one.
fn accept_key(headers: &HeaderMap) -> Option<String> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
    let is_handshake = has_token(headers, &header::UPGRADE, "websocket")
        && has_token(headers, &header::CONNECTION, "upgrade")
        && headers.get(header::SEC_WEBSOCKET_VERSION) == Some(&VERSION)
        && key.len() == KEY_LENGTH;
    is_handshake.then(|| derive_accept_key(key))
}

/// Whether a list header contains a token, ignoring case and parameters.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let tokens = values
        .flat_map(|value| value.split(','))
        .map(|item| item.split(';').next().unwrap_or_default());
    tokens
        .into_iter()
        .any(|other| other.trim().eq_ignore_ascii_case(token))
}

/// Parses the players in a URL's query. `None` if the query does not have any.
fn players(uri: &Uri) -> Result<Option<Vec<PlayerId>>, Problem> {
    let Some(list) = query_value(uri, "players")? else {
        return Ok(None);
    };
    let ids: Vec<_> = list.split(',').filter(|_| !list.is_empty()).collect();
    check_length(&ids, MAX_PLAYERS, "players")?;
    let parse = |(position, id): (usize, &str)| {
        PlayerId::parse(id).map_err(|error| {
            Problem::invalid_request(error.to_string()).with_field(format!("players[{position}]"))
        })
    };
    ids.into_iter()
        .enumerate()
        .map(parse)
        .collect::<Result<_, _>>()
        .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, headers: &[(&str, &str)]) -> Request {
        let builder = headers
            .iter()
            .fold(Request::get(uri), |builder, (name, value)| {
                builder.header(*name, *value)
            });
        builder.body(Body::empty()).unwrap()
    }

    const HANDSHAKE: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_handshake_is_accepted_with_the_key_of_the_specification() {
        let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
        assert_eq!(
            stream_kind(&request("/watch?players=", &HANDSHAKE)).unwrap(),
            StreamKind::WebSocket { accept }
        );
    }

    #[test]
    fn an_incomplete_handshake_is_not_accepted() {
        for missing in 0..HANDSHAKE.len() {
            let mut headers = HANDSHAKE.to_vec();
            headers.remove(missing);
            assert_eq!(
                stream_kind(&request("/watch", &headers)).unwrap(),
                StreamKind::Neither,
                "{missing}"
            );
        }
        let mut old = HANDSHAKE;
        old[2].1 = "8";
        assert_eq!(
            stream_kind(&request("/watch", &old)).unwrap(),
            StreamKind::Neither
        );
    }

    #[test]
    fn server_sent_events_name_their_players_in_the_url() {
        let parse_kind = |uri: &str| {
            stream_kind(&request(
                uri,
                &[("accept", "text/html, text/event-stream;q=0.9")],
            ))
        };
        let parse_players =
            |ids: &[&str]| ids.iter().map(|id| PlayerId::parse(id).unwrap()).collect();
        let expected = StreamKind::ServerSentEvents {
            players: parse_players(&["alice", "steam:1"]),
        };
        assert_eq!(
            parse_kind("/watch?x=1&players=alice,steam%3A1").unwrap(),
            expected
        );
        assert_eq!(parse_kind("/watch").unwrap(), StreamKind::Neither);
        for uri in [
            "/watch?players=",
            "/watch?players",
            "/watch?players=a,,b",
            "/watch?players=a&players=b",
        ] {
            assert!(parse_kind(uri).is_err(), "{uri}");
        }
        let build_uri = |count: usize| format!("/watch?players={}", vec!["a"; count].join(","));
        assert!(parse_kind(&build_uri(500)).is_ok() && parse_kind(&build_uri(501)).is_err());
        assert_eq!(
            stream_kind(&request("/watch?players=a", &[])).unwrap(),
            StreamKind::Neither
        );
    }
}
