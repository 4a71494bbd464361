//! Cached reports for operators.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use presence::{
    Cached, StoreError,
    http::{Problem, json},
    operator::OperatorQueries,
};
use serde::Serialize;

use crate::call::respond;

/// How long a failure is cached.
const ERROR_TTL: Duration = Duration::from_millis(500);

/// A cached report. Whatever the number of callers, it is read from Redis at most once per `ttl`.
#[derive(Clone)]
pub(crate) struct CachedReport<T> {
    operator_queries: OperatorQueries,
    latest: Arc<Cached<Result<T, StoreError>>>,
}

impl<T: Serialize + Clone + Send + Sync + 'static> CachedReport<T> {
    pub(crate) fn new(operator_queries: OperatorQueries, ttl: Duration) -> Self {
        Self {
            operator_queries,
            latest: Arc::new(Cached::new(ttl)),
        }
    }

    /// Responds with the cached report, or with a new one if that has expired.
    pub(crate) async fn respond<F>(&self, read: impl FnOnce(OperatorQueries) -> F) -> Response
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let operator_queries = self.operator_queries.clone();
        respond_with(self.latest.get(|| read(operator_queries)).await)
    }

    /// Like [`respond`](Self::respond), but a report is shared for the time that `ttl_of` returns
    /// for it.
    pub(crate) async fn respond_for<F>(
        &self,
        ttl_of: impl FnOnce(&OperatorQueries, &T) -> Duration,
        read: impl FnOnce(OperatorQueries) -> F,
    ) -> Response
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let operator_queries = self.operator_queries.clone();
        let get_ttl = |report: &Result<T, StoreError>| {
            report
                .as_ref()
                .map_or(ERROR_TTL, |report| ttl_of(&self.operator_queries, report))
        };
        respond_with(
            self.latest
                .get_for(get_ttl, || read(operator_queries))
                .await,
        )
    }
}

fn respond_with<T: Serialize>(report: Option<Result<T, StoreError>>) -> Response {
    respond(match report {
        Some(Ok(report)) => Ok(json(&report)),
        Some(Err(error)) => Err(error.into()),
        None => Err(Problem::internal()),
    })
}
