//! Diagnostics of a player (`GET /console/players/{player_id}`).

use axum::{
    RequestExt as _,
    extract::{Path, Request, rejection::PathRejection},
    response::Response,
};
use presence::{
    http::{Problem, json},
    model::PlayerId,
    operator::OperatorQueries,
};

use crate::body::respond;

/// Responds with the diagnostics of the player that the path names.
pub(super) async fn explain(operator_queries: &OperatorQueries, mut request: Request) -> Response {
    let path: Result<Path<String>, PathRejection> = request.extract_parts().await;
    respond(match path.map_err(|error| error.body_text()).and_then(|Path(id)| parse(&id)) {
        Ok(player) => operator_queries.explain(&player).await.map(|explanation| json(&explanation)).map_err(Into::into),
        Err(detail) => Err(Problem::invalid_request(detail).with_field("player_id")),
    })
}

fn parse(id: &str) -> Result<PlayerId, String> {
    PlayerId::parse(id).map_err(|error| error.to_string())
}
