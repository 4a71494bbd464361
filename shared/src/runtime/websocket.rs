//! Events of API Gateway's WebSocket API, converted to HTTP requests.
//!
//! The player is the authorizer's `principalId`, the connection is API Gateway's `connectionId`.
//! Neither is ever taken from the message or the query.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use lambda_http::request::RequestContext;
use serde::Serialize;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Value, json, value::RawValue};

use crate::{
    http::{Problem, Request, Response, parse_message},
    model::Reason,
};

/// The longest `requestId`, in bytes of JSON, that a response repeats.
const MAX_REQUEST_ID: usize = 256;

/// Builds the body of the HTTP request from a WebSocket event.
pub type BodyMapper = fn(&WebSocketEvent) -> Result<Bytes, Problem>;

/// An event of API Gateway's WebSocket API.
#[derive(Debug)]
pub struct WebSocketEvent {
    player_id: String,
    connection_id: String,
    message: Bytes,
    end: Option<End>,
}

/// The end of a socket.
#[derive(Debug)]
struct End {
    close_code: Option<i64>,
}

/// The members of a message. A call uses those that it knows; the others, such as API Gateway's
/// `action`, are ignored. A repeated member is refused, even one that would be ignored. Values stay
/// unparsed: the call parses them like a body.
struct Message(BTreeMap<String, Box<RawValue>>);

/// The body of `set-state`.
#[derive(Serialize)]
struct StateBody<'a> {
    player_id: &'a str,
    #[serde(flatten)]
    change: BTreeMap<String, Box<RawValue>>,
}

/// Builds the body of `connect` and `heartbeat`: the player and the connection.
///
/// # Errors
/// It always succeeds.
pub fn connection(event: &WebSocketEvent) -> Result<Bytes, Problem> {
    Ok(to_body(
        &json!({"player_id": event.player_id, "connection_id": event.connection_id}),
    ))
}

/// Builds the body of `disconnect`: the player, the connection, and the reason according to the
/// socket's close code.
///
/// # Errors
/// It always succeeds.
pub fn disconnection(event: &WebSocketEvent) -> Result<Bytes, Problem> {
    let reason = match &event.end {
        Some(End { close_code }) => {
            let close_code = close_code.and_then(|code| u16::try_from(code).ok());
            close_code.map_or(Reason::Lost, Reason::from_close_code)
        }
        None => Reason::Quit, // a message of the client, while the socket is open
    };
    let body = json!({"player_id": event.player_id, "connection_id": event.connection_id, "reason": reason});
    Ok(to_body(&body))
}

/// Builds the body of `set-state`: the player, and the message's `state` and `activity`.
///
/// # Errors
/// 400 if the message is not a JSON object.
pub fn state(event: &WebSocketEvent) -> Result<Bytes, Problem> {
    let message: Message = parse_message(&event.message)?;
    Ok(to_body(&StateBody {
        player_id: &event.player_id,
        change: message.only(["state", "activity"]),
    }))
}

/// Builds the body of `friends`: the message's `player_ids` and `history`.
///
/// # Errors
/// 400 if the message is not a JSON object.
pub fn friends(event: &WebSocketEvent) -> Result<Bytes, Problem> {
    let message: Message = parse_message(&event.message)?;
    Ok(to_body(&message.only(["player_ids", "history"])))
}

/// Converts a WebSocket event to an HTTP request. Any other request is returned as it is.
pub(super) fn into_http(request: Request, to_body: BodyMapper) -> Result<Request, Problem> {
    let Some(RequestContext::WebSocket(context)) = request.extensions().get() else {
        return Ok(request);
    };
    let principal = context
        .authorizer
        .fields
        .get("principalId")
        .and_then(Value::as_str);
    let Some(player_id) = principal.filter(|id| !id.is_empty()).map(str::to_owned) else {
        return Err(Problem::unauthorized(
            "the WebSocket API has no authorizer that names the player: principalId",
        ));
    };
    let is_end = context.event_type.as_deref() == Some("DISCONNECT")
        || context.route_key.as_deref() == Some("$disconnect");
    let event = WebSocketEvent {
        player_id,
        connection_id: context.connection_id.clone().unwrap_or_default(),
        message: request.body().clone(),
        end: is_end.then_some(End {
            close_code: context.disconnect_status_code,
        }),
    };
    let body = to_body(&event)?;
    let (mut parts, _) = request.into_parts();
    parts.method = Method::POST;
    // These headers describe the request that opened the socket, not the body that was just made.
    parts.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    parts.headers.remove(header::CONTENT_ENCODING);
    Ok(Request::from_parts(parts, body))
}

/// Returns the `requestId` of a message as it was sent. On a socket nothing else says which message
/// a response is for. `None` if the message is not a JSON object, or its id is longer than
/// [`MAX_REQUEST_ID`].
pub(super) fn request_id(request: &Request) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Echoed {
        #[serde(rename = "requestId")]
        request_id: Option<Box<RawValue>>,
    }

    let Some(RequestContext::WebSocket(_)) = request.extensions().get() else {
        return None;
    };
    // serde reads an array as the members in their order.
    if !request.body().trim_ascii_start().starts_with(b"{") {
        return None;
    }
    let message: Echoed = serde_json::from_slice(request.body()).ok()?;
    message
        .request_id
        .filter(|id| id.get().len() <= MAX_REQUEST_ID)
}

/// Adds the `requestId` of the message to its response.
pub(super) fn with_request_id(response: Response, id: &RawValue) -> Response {
    response.map(|body| match body.strip_prefix(b"{") {
        Some(members) => {
            let parts: [&[u8]; 4] = [br#"{"requestId":"#, id.get().as_bytes(), b",", members];
            parts.concat().into()
        }
        None => body,
    })
}

fn to_body(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}

impl Message {
    /// The members of these names, as far as the message has them.
    fn only<const N: usize>(mut self, names: [&str; N]) -> BTreeMap<String, Box<RawValue>> {
        names
            .into_iter()
            .filter_map(|name| self.0.remove_entry(name))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Message;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Message, A::Error> {
                let mut message = BTreeMap::new();
                while let Some((name, value)) = members.next_entry::<String, Box<RawValue>>()? {
                    if message.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    message.insert(name, value);
                }
                Ok(Message(message))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
