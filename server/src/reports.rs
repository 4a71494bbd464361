//! Cached reports for operators.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use presence::{
    Cached, StoreError,
    http::{Problem, json},
    insight::Insight,
};
use serde::Serialize;

use crate::body::respond;

/// How long a failure is cached.
const ERROR_TTL: Duration = Duration::from_millis(500);

/// A cached report. Whatever the number of callers, it is read from Redis at most once per `ttl`.
#[derive(Clone)]
pub(crate) struct CachedReport<T> {
    insight: Insight,
    latest: Arc<Cached<Result<T, StoreError>>>,
}

impl<T: Serialize + Clone + Send + Sync + 'static> CachedReport<T> {
    pub(crate) fn new(insight: Insight, ttl: Duration) -> Self {
        Self { insight, latest: Arc::new(Cached::new(ttl)) }
    }

    /// Responds with the cached report, or with a new one if that has expired.
    pub(crate) async fn respond<F>(&self, read: impl FnOnce(Insight) -> F) -> Response
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let insight = self.insight.clone();
        respond_with(self.latest.get(|| read(insight)).await)
    }

    /// As [`respond`](Self::respond), for reports that are shared for as long as `ttl_of` says of each.
    pub(crate) async fn respond_for<F>(
        &self,
        ttl_of: impl FnOnce(&Insight, &T) -> Duration,
        read: impl FnOnce(Insight) -> F,
    ) -> Response
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let insight = self.insight.clone();
        let ttl_of =
            |report: &Result<T, StoreError>| report.as_ref().map_or(ERROR_TTL, |report| ttl_of(&self.insight, report));
        respond_with(self.latest.get_for(ttl_of, || read(insight)).await)
    }
}

fn respond_with<T: Serialize>(report: Option<Result<T, StoreError>>) -> Response {
    respond(match report {
        Some(Ok(report)) => Ok(json(&report)),
        Some(Err(error)) => Err(error.into()),
        None => Err(Problem::internal()),
    })
}
