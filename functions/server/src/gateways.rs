//! `GET /gateways`: the known gateways, for operators.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use presence::{
    Cached, StoreError,
    http::{Problem, json},
    insight::{Gateways, Insight},
};

use crate::body::respond;

/// How long the list is shared: however many callers there are, Redis is asked once in this time.
const CACHE_TTL: Duration = Duration::from_millis(500);

/// The gateways, shared by all callers for a moment.
#[derive(Clone)]
pub(crate) struct CachedGateways {
    insight: Insight,
    latest: Arc<Cached<Result<Gateways, StoreError>>>,
}

impl CachedGateways {
    pub(crate) fn new(insight: Insight) -> Self {
        Self { insight, latest: Arc::new(Cached::new(CACHE_TTL)) }
    }

    /// Responds with the gateways as of a moment ago, or reads them again.
    pub(crate) async fn respond(&self) -> Response {
        let insight = self.insight.clone();
        respond(match self.latest.get(async move || insight.gateways().await).await {
            Some(Ok(gateways)) => Ok(json(&gateways)),
            Some(Err(error)) => Err(error.into()),
            None => Err(Problem::internal()),
        })
    }
}
