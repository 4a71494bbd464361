//! Bodies of successful responses.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use presence_types::Health;
use serde::Serialize;

use super::Response;
use crate::{
    BatchOutcome,
    config::Lifetimes,
    model::{Connection, Presence},
};

/// Forbids caches to store responses about players or health, which are true for a moment only.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The response to a single connect: the presence, and when to send heartbeats.
#[derive(Debug, Serialize)]
pub struct Connected {
    #[serde(flatten)]
    presence: Presence,
    #[serde(flatten)]
    timing: LeaseTiming,
}

/// The response to a batch.
#[derive(Debug, Serialize)]
pub struct BatchResponse {
    accepted: usize,
    restored: Vec<Connection>,
    closed: Vec<Connection>,
    failed: Vec<Failed>,
    /// `None` for a disconnect, which leaves nothing to renew.
    #[serde(flatten)]
    timing: Option<LeaseTiming>,
}

/// When the caller sends the next heartbeat, and how long a lease lasts without one.
#[derive(Debug, Clone, Copy, Serialize)]
struct LeaseTiming {
    heartbeat_interval_ms: u64,
    ttl_ms: u64,
}

#[derive(Debug, Serialize)]
struct Failed {
    #[serde(flatten)]
    connection: Connection,
    error: &'static str,
}

impl Connected {
    /// Returns the presence together with the lease's timing.
    pub fn new(presence: Presence, lifetimes: &Lifetimes) -> Self {
        Self {
            presence,
            timing: LeaseTiming::new(lifetimes),
        }
    }
}

impl BatchResponse {
    /// Builds the response to a batch of connects or heartbeats: the outcome, and the timing of the
    /// leases.
    pub fn with_timing(outcome: BatchOutcome, lifetimes: &Lifetimes) -> Self {
        Self {
            timing: Some(LeaseTiming::new(lifetimes)),
            ..Self::from(outcome)
        }
    }
}

impl LeaseTiming {
    fn new(lifetimes: &Lifetimes) -> Self {
        Self {
            heartbeat_interval_ms: lifetimes.heartbeat_interval.as_millis() as u64,
            ttl_ms: lifetimes.ttl.as_millis() as u64,
        }
    }
}

/// Builds the response to a batch of disconnects: the outcome alone.
impl From<BatchOutcome> for BatchResponse {
    fn from(outcome: BatchOutcome) -> Self {
        let failed = outcome.failed.into_iter();
        Self {
            accepted: outcome.accepted,
            restored: outcome.restored,
            closed: outcome.closed,
            failed: failed
                .map(|connection| Failed {
                    connection,
                    error: "store-unavailable",
                })
                .collect(),
            timing: None,
        }
    }
}

/// The response to a health check: 200 if calls can be served, else 503.
pub fn ready(health: &Health) -> Response {
    let mut response = json(health);
    if !health.is_available() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Builds a 200 response with a JSON body that no cache may store.
pub fn json(body: &impl Serialize) -> Response {
    let body = Bytes::from(serde_json::to_vec(body).unwrap_or_default());
    with_body(
        StatusCode::OK,
        HeaderValue::from_static("application/json"),
        body,
    )
}

/// Builds a response that no cache may store.
pub(super) fn with_body(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, NO_STORE);
    response
}
