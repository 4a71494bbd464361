//! `POST /presence/connect`: opens connections.

use std::sync::Arc;

use presence::{
    PresenceService,
    http::{
        BatchResponse, Connected, ConnectionsBody, HandlerResult, Request, Target, json, parse_post,
    },
    model::{OwnedConnection, OwnedConnections},
    telemetry::TraceContext,
};

/// Opens one connection, or a batch.
///
/// # Errors
/// The problems of the request; 410 for one connection that was closed before; 503.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> HandlerResult {
    let body = parse_post::<ConnectionsBody>(&request)?;
    let (target, gateway) = body.target_and_gateway(presence.limits().max_batch)?;
    let trace = TraceContext::of_request(&request);
    match target {
        Target::One(connection) => {
            let presence_now = presence
                .connect(
                    OwnedConnection {
                        connection: &connection,
                        gateway: gateway.as_ref(),
                    },
                    &trace,
                )
                .await?;
            Ok(json(&Connected::new(presence_now, presence.lifetimes())))
        }
        Target::Many(connections) => {
            let outcome = presence
                .connect_batch(
                    OwnedConnections {
                        connections,
                        gateway,
                    },
                    &trace,
                )
                .await?;
            Ok(json(&BatchResponse::with_timing(
                outcome,
                presence.lifetimes(),
            )))
        }
    }
}
