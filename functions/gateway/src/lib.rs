//! `POST /presence/gateway`: renews a gateway's lease, or ends it.

use std::sync::Arc;

use presence::{
    PresenceService,
    http::{GatewayLeft, GatewayRenewed, HandlerResult, Request, json, parse_gateway},
    telemetry::TraceContext,
};

/// Renews the lease of a gateway; or ends it, and the leases of its connections, if the gateway
/// leaves.
///
/// # Errors
/// The problems of the request; 503.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> HandlerResult {
    let (gateway_id, leaving) = parse_gateway(&request)?;
    match leaving {
        None => {
            let status = presence.renew_gateway(&gateway_id).await?;
            Ok(json(&GatewayRenewed::new(
                gateway_id,
                status,
                presence.lifetimes(),
            )))
        }
        Some(reason) => {
            let trace = TraceContext::of_request(&request);
            let connections = presence.leave_gateway(&gateway_id, reason, &trace).await?;
            Ok(json(&GatewayLeft::new(gateway_id, connections)))
        }
    }
}
