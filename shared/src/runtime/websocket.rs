//! API Gateway's WebSocket API as the gateway: its events, rewritten into the HTTP requests that they stand for.
//!
//! The player is whom the authorizer let in, the connection is API Gateway's own; neither is ever taken from the
//! message or the query.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use lambda_http::request::RequestContext;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Problem, Request, parse_message, present};

/// RFC 6455's close codes for an end on purpose: normal, and going away.
const ON_PURPOSE: [i64; 2] = [1000, 1001];

/// Makes the body of the HTTP request that an event stands for.
pub type ToBody = fn(&WebSocketEvent) -> Result<Value, Problem>;

/// An event of API Gateway's WebSocket API.
#[derive(Debug)]
pub struct WebSocketEvent {
    player_id: String,
    connection_id: String,
    message: Bytes,
    end: Option<End>,
}

/// What is known of the end of a socket.
#[derive(Debug)]
struct End {
    close_code: Option<i64>,
}

/// What a message may say. Other members are ignored: API Gateway's own, such as `action`, are among them.
#[derive(Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "present")]
    state: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    player_ids: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    history: Option<Value>,
}

/// For `connect` and `heartbeat`: the player and the connection.
///
/// # Errors
/// None.
pub fn connection(event: &WebSocketEvent) -> Result<Value, Problem> {
    Ok(json!({"player_id": event.player_id, "connection_id": event.connection_id}))
}

/// For `disconnect`: the same, with the reason by the socket's close code.
///
/// # Errors
/// None.
pub fn disconnection(event: &WebSocketEvent) -> Result<Value, Problem> {
    let is_quit = match &event.end {
        Some(End { close_code }) => close_code.is_some_and(|code| ON_PURPOSE.contains(&code)),
        None => true, // a message that says goodbye
    };
    let reason = if is_quit { "quit" } else { "lost" };
    Ok(json!({"player_id": event.player_id, "connection_id": event.connection_id, "reason": reason}))
}

/// For `set-state`: the player, and the message's `state`.
///
/// # Errors
/// 400 where the message is no JSON object.
pub fn state(event: &WebSocketEvent) -> Result<Value, Problem> {
    let message: Message = parse_message(&event.message)?;
    Ok(body([("player_id", Some(json!(event.player_id))), ("state", message.state)]))
}

/// For `friends`: the message's `player_ids` and `history`.
///
/// # Errors
/// 400 where the message is no JSON object.
pub fn friends(event: &WebSocketEvent) -> Result<Value, Problem> {
    let message: Message = parse_message(&event.message)?;
    Ok(body([("player_ids", message.player_ids), ("history", message.history)]))
}

/// The HTTP request that an event stands for; any other request as it is.
pub(super) fn into_http(request: Request, to_body: ToBody) -> Result<Request, Problem> {
    let Some(RequestContext::WebSocket(context)) = request.extensions().get() else { return Ok(request) };
    let principal = context.authorizer.fields.get("principalId").and_then(Value::as_str);
    let Some(player_id) = principal.map(str::to_owned) else {
        return Err(Problem::unauthorized("the WebSocket API has no authorizer that names the player: principalId"));
    };
    let is_end = context.event_type.as_deref() == Some("DISCONNECT");
    let event = WebSocketEvent {
        player_id,
        connection_id: context.connection_id.clone().unwrap_or_default(),
        message: request.body().clone(),
        end: is_end.then_some(End { close_code: context.disconnect_status_code }),
    };
    let body = to_body(&event)?;
    let (mut parts, _) = request.into_parts();
    parts.method = Method::POST;
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Request::from_parts(parts, body.to_string().into()))
}

fn body<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
