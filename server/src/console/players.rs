//! Diagnostics and recent events of a player (`GET /console/players/{player_id}`, `…/events`).

use std::{error::Error, sync::Arc};

use axum::{
    RequestExt as _,
    extract::{Path, Request, rejection::PathRejection},
    response::Response,
};
use presence::{
    events::LiveEvents,
    http::{HandlerResult, Problem, json},
    model::PlayerId,
    operator::OperatorQueries,
};

use tokio::sync::Semaphore;

use crate::call::respond;

/// The searches for events that may run at a time.
const MAX_SEARCHES: usize = 2;

/// Searches for the recent events of players, at most [`MAX_SEARCHES`] at a time.
#[derive(Clone)]
pub(super) struct Histories {
    live: LiveEvents,
    slots: Arc<Semaphore>,
}

impl Histories {
    pub(super) fn new(live: LiveEvents) -> Self {
        Self {
            live,
            slots: Arc::new(Semaphore::new(MAX_SEARCHES)),
        }
    }

    /// Responds with the recent events of the player that the path names.
    pub(super) async fn respond(&self, request: Request) -> Response {
        respond(self.search(request).await)
    }

    async fn search(&self, request: Request) -> HandlerResult {
        let player = player(request).await?;
        let _slot = self
            .slots
            .try_acquire()
            .map_err(|_| Problem::overloaded())?;
        let history = self.live.history(&player).await.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn Error,
                "events of a player not searched"
            );
            Problem::events_unavailable()
        })?;
        Ok(json(&history))
    }
}

/// Responds with the diagnostics of the player that the path names.
pub(super) async fn explain(operator_queries: &OperatorQueries, request: Request) -> Response {
    let explain = async {
        let explanation = operator_queries.explain(&player(request).await?).await?;
        Ok(json(&explanation))
    };
    respond(explain.await)
}

/// The player that the path names.
async fn player(mut request: Request) -> Result<PlayerId, Problem> {
    let path: Result<Path<String>, PathRejection> = request.extract_parts().await;
    let parse = |Path(id): Path<String>| PlayerId::parse(&id).map_err(|error| error.to_string());
    let player = path.map_err(|error| error.body_text()).and_then(parse);
    player.map_err(|detail| Problem::invalid_request(detail).with_field("player_id"))
}
