//! Successful answers.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::Response;
use crate::{
    BatchOutcome,
    config::Lifetimes,
    health::Health,
    model::{Connection, Presence},
};

/// The answer to one connect: the presence, and when to beat.
#[derive(Debug, Serialize)]
pub struct Connected {
    #[serde(flatten)]
    presence: Presence,
    heartbeat_interval_ms: u64,
    ttl_ms: u64,
}

/// The answer to a batch.
#[derive(Debug, Serialize)]
pub struct BatchAnswer {
    accepted: usize,
    restored: Vec<Connection>,
    closed: Vec<Connection>,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    #[serde(flatten)]
    connection: Connection,
    error: &'static str,
}

impl Connected {
    /// Tells a gateway how often to beat.
    pub fn new(presence: Presence, lifetimes: &Lifetimes) -> Self {
        Self {
            presence,
            heartbeat_interval_ms: lifetimes.heartbeat_interval.as_millis() as u64,
            ttl_ms: lifetimes.ttl.as_millis() as u64,
        }
    }
}

impl From<BatchOutcome> for BatchAnswer {
    fn from(outcome: BatchOutcome) -> Self {
        let failed = outcome.failed.into_iter();
        Self {
            accepted: outcome.accepted,
            restored: outcome.restored,
            closed: outcome.closed,
            failed: failed.map(|connection| Failed { connection, error: "store-unavailable" }).collect(),
        }
    }
}

/// The answer of a health check: 200 where calls are answered, 503 where they are not.
pub fn ready(health: &Health) -> Response {
    let mut response = json(health);
    if !health.is_available() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// 200 with a JSON body.
pub fn json(body: &impl Serialize) -> Response {
    let mut response = Response::new(Bytes::from(serde_json::to_vec(body).unwrap_or_default()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
