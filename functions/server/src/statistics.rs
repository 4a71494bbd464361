//! `GET /presence`: how many players there are by state, for operators.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use presence::{
    Cached, StoreError,
    http::{Problem, json},
    insight::{Insight, Statistics},
};

use crate::body::respond;

/// How long counts are shared: however many callers there are, Redis is asked once in this time.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// The counts, shared by all callers for a moment.
#[derive(Clone)]
pub(crate) struct CachedCounts {
    insight: Insight,
    latest: Arc<Cached<Result<Statistics, StoreError>>>,
}

impl CachedCounts {
    pub(crate) fn new(insight: Insight) -> Self {
        Self { insight, latest: Arc::new(Cached::new(CACHE_TTL)) }
    }

    /// Answers with counts of a moment ago, or with new ones.
    pub(crate) async fn answer(&self) -> Response {
        let insight = self.insight.clone();
        respond(match self.latest.get(async move || insight.statistics().await).await {
            Some(Ok(statistics)) => Ok(json(&statistics)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Problem::internal()),
        })
    }
}
