//! `POST /presence/disconnect`: closes connections.

use std::sync::Arc;

use presence::{
    PresenceService,
    http::{BatchResponse, ConnectionsBody, HandlerResult, Request, Target, json, parse_post},
    telemetry::TraceContext,
};

/// Closes one connection, or a batch.
///
/// # Errors
/// The problems of the request; 503.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> HandlerResult {
    let body = parse_post::<ConnectionsBody>(&request)?;
    let (target, reason) = body.target_and_reason(presence.limits().max_batch)?;
    let trace = TraceContext::of_request(&request);
    match target {
        Target::One(connection) => Ok(json(
            &presence.disconnect(&connection, reason, &trace).await?,
        )),
        Target::Many(connections) => {
            let outcome = presence
                .disconnect_batch(connections, reason, &trace)
                .await?;
            Ok(json(&BatchResponse::from(outcome)))
        }
    }
}
