//! Fuzz target: Lambda events from arbitrary bytes.

use lambda_http::{Context, request::RequestContext};
use serde_json::{Value, value::RawValue};

use super::{
    request::{from_event, http_method, lambda_response},
    websocket,
};
use crate::{
    http::{ConnectionsBody, fuzz::check, history, last_segment, parse_post},
    model::PlayerId,
};

/// Parses an event of AWS Lambda.
///
/// # Panics
/// If a request is refused with a problem that the API does not document, or the player or
/// connection of a WebSocket event differs from the one that API Gateway names.
pub fn lambda_event(bytes: &[u8]) {
    let Some(text) = str::from_utf8(bytes).ok().map(str::to_owned) else {
        return;
    };
    let Ok(event) = RawValue::from_string(text) else {
        return;
    };
    if let Ok(event) = serde_json::from_str(event.get()) {
        let _ = http_method(&event);
    }
    let Ok((request, origin)) = from_event(&event, &Context::default()) else {
        return;
    };
    let _ = last_segment(&request).map(|player| PlayerId::parse(&player));
    let _ = history(&request);
    let context = match request.extensions().get() {
        Some(RequestContext::WebSocket(context)) => Some(context.clone()),
        _ => None,
    };
    let body = match websocket::into_http(request, websocket::connection) {
        Ok(request) => {
            let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
            parse_post::<ConnectionsBody>(&request).map(|_| body)
        }
        Err(problem) => Err(problem),
    };
    match body {
        Ok(body) => {
            let Some(context) = context else { return };
            let principal = context
                .authorizer
                .fields
                .get("principalId")
                .and_then(Value::as_str);
            assert_eq!(body["player_id"].as_str(), principal);
            assert_eq!(
                body["connection_id"].as_str(),
                context.connection_id.as_deref()
            );
        }
        Err(problem) => {
            check(&problem);
            assert!(lambda_response(Err(problem), &origin)["statusCode"].is_number());
        }
    }
}
