//! `POST /presence/friends`: reads many players' presences.

use std::sync::Arc;

use presence::{
    PresenceService, Snapshot,
    http::{HandlerResult, Request, check_length, json, parse_post},
    model::{Friends, PlayerId},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    player_ids: Vec<PlayerId>,
    #[serde(default)]
    history: bool,
}

/// Reads the presences of a list of players, in the order of the request.
///
/// # Errors
/// The problems of the request; 503 if one of the Redis nodes did not respond.
pub async fn handle(presence: Arc<PresenceService>, request: Request) -> HandlerResult {
    let Body {
        player_ids,
        history,
    } = parse_post(&request)?;
    check_length(&player_ids, presence.limits().max_batch, "player_ids")?;
    let Snapshot { as_of, presences } = presence.presences(&player_ids, history).await?;
    Ok(json(&Friends { as_of, presences }))
}
