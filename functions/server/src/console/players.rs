//! How many players there are by state; and all that is known of one.

use std::time::{Duration, Instant};

use axum::{
    extract::{Path, rejection::PathRejection},
    response::Response,
};
use presence::{
    http::{Problem, json},
    insight::{Insight, Statistics},
    model::PlayerId,
};
use tokio::sync::Mutex;

use crate::body::respond;

/// How long counts are good for: however many people look on, Redis is asked once in this time.
const FRESH: Duration = Duration::from_secs(1);

/// The counts, and when they were taken.
#[derive(Clone)]
pub(super) struct Counts {
    insight: Insight,
    latest: std::sync::Arc<Mutex<Option<(Instant, Statistics)>>>,
}

impl Counts {
    pub(super) fn new(insight: Insight) -> Self {
        Self { insight, latest: std::sync::Arc::default() }
    }

    pub(super) async fn answer(&self) -> Response {
        // Locked while Redis is asked: whoever comes meanwhile gets the same answer.
        let mut latest = self.latest.lock().await;
        if let Some((taken, statistics)) = &*latest
            && taken.elapsed() < FRESH
        {
            return respond(Ok(json(statistics)));
        }
        respond(match self.insight.statistics().await {
            Ok(statistics) => {
                let answer = json(&statistics);
                *latest = Some((Instant::now(), statistics));
                Ok(answer)
            }
            Err(error) => Err(error.into()),
        })
    }
}

/// Tells all that is known of a player.
pub(super) async fn explain(insight: &Insight, path: Result<Path<String>, PathRejection>) -> Response {
    respond(match path.map_err(|error| error.body_text()).and_then(|Path(id)| parse(&id)) {
        Ok(player) => insight.explain(&player).await.map(|explanation| json(&explanation)).map_err(Into::into),
        Err(detail) => Err(Problem::invalid_request(detail).with_field("player_id")),
    })
}

fn parse(id: &str) -> Result<PlayerId, String> {
    PlayerId::parse(id).map_err(|error| error.to_string())
}
