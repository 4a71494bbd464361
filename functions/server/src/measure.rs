//! What is counted of each call.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use presence::telemetry::metrics::{CALL_DURATION, CALLS};

/// Counts a call by its route and status, and takes its time.
pub(crate) async fn measure(path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let response = next.run(request).await;
    let call = path.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let status = response.status().as_u16().to_string();
    metrics::counter!(CALLS, "call" => call.clone(), "status" => status).increment(1);
    metrics::histogram!(CALL_DURATION, "call" => call).record(start.elapsed().as_secs_f64());
    response
}
