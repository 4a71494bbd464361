//! `POST /presence/state`: sets a player's state.

use std::sync::Arc;

use presence::{
    PresenceService,
    http::{Answer, Request, json, parse_post},
    model::{PlayerId, PresenceState},
    trace::TraceContext,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    player_id: PlayerId,
    state: PresenceState,
}

/// Sets the state of one player; OFFLINE signs the player out.
///
/// # Errors
/// The problems of the request; 409 where an OFFLINE player is to queue or play; 503.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> Answer {
    let Body { player_id, state } = parse_post(&request)?;
    let trace = TraceContext::from_headers(request.headers());
    Ok(json(&presence.set_state(&player_id, state, &trace).await?))
}
