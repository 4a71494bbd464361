//! `POST /presence/state`: sets a player's state and activity.

use std::sync::Arc;

use presence::{
    PresenceService,
    http::{HandlerResult, Request, json, parse_state_change},
    telemetry::TraceContext,
};

/// Sets the state of one player, the activity, or both; OFFLINE signs the player out.
///
/// # Errors
/// The problems of the request; 409 if an OFFLINE player is to queue, play or have an activity;
/// 503.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> HandlerResult {
    let (player_id, change) = parse_state_change(&request)?;
    let trace = TraceContext::of_request(&request);
    Ok(json(&presence.set_state(&player_id, change, &trace).await?))
}
