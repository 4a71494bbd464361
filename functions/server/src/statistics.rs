//! `GET /presence`: how many players there are by state, for operators.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use presence::{
    http::json,
    insight::{Insight, Statistics},
};
use tokio::sync::Mutex;

use crate::body::respond;

/// How long counts are good for: however many look on, Redis is asked once in this time.
const FRESH: Duration = Duration::from_secs(1);

/// The counts, and when they were taken.
#[derive(Clone)]
pub(crate) struct Counts {
    insight: Insight,
    latest: Arc<Mutex<Option<(Instant, Statistics)>>>,
}

impl Counts {
    pub(crate) fn new(insight: Insight) -> Self {
        Self { insight, latest: Arc::default() }
    }

    /// Answers with counts of a moment ago, or with new ones.
    pub(crate) async fn answer(&self) -> Response {
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
