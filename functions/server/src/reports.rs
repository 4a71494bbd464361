//! Reports for operators, shared by all callers for a moment.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use presence::{
    Cached, StoreError,
    http::{Problem, json},
    insight::Insight,
};
use serde::Serialize;

use crate::body::respond;

/// A report from Redis. However many callers there are, Redis is asked once per `ttl`.
#[derive(Clone)]
pub(crate) struct CachedReport<T> {
    insight: Insight,
    latest: Arc<Cached<Result<T, StoreError>>>,
}

impl<T: Serialize + Clone + Send + Sync + 'static> CachedReport<T> {
    pub(crate) fn new(insight: Insight, ttl: Duration) -> Self {
        Self { insight, latest: Arc::new(Cached::new(ttl)) }
    }

    /// Responds with the report as of a moment ago, or with a new one.
    pub(crate) async fn respond<F>(&self, read: impl FnOnce(Insight) -> F) -> Response
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let insight = self.insight.clone();
        respond(match self.latest.get(|| read(insight)).await {
            Some(Ok(report)) => Ok(json(&report)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Problem::internal()),
        })
    }
}
