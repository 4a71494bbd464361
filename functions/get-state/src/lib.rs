//! `GET /presence/{player_id}`: reads one player's presence.

use std::sync::Arc;

use presence::{
    PresenceService,
    http::{HandlerResult, Problem, Request, expect_get, history, json, last_segment},
    model::PlayerId,
};

/// Reads the presence of the player that the path's last segment names.
///
/// # Errors
/// The problems of the request; 503.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> HandlerResult {
    expect_get(&request)?;
    let player_id = PlayerId::parse(&last_segment(&request)?)
        .map_err(|error| Problem::invalid_request(error.to_string()).with_field("player_id"))?;
    let snapshot = presence.presences(&[player_id], history(&request)?).await?;
    Ok(json(&snapshot.presences[0]))
}
