//! What is counted of each call.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use presence::{
    health::HealthProbe,
    telemetry::metrics::{self as names, CALL_DURATION, CALLS},
};

/// The buckets of durations, in seconds: around what a round trip to Redis takes, up to its time limit.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// How often the gauges are set, whether or not anybody asks for health, and old samples are folded.
const FRESH: Duration = Duration::from_secs(10);

/// Makes Prometheus the recorder of this process.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Full(CALL_DURATION.to_owned()), &BUCKETS)?;
    let prometheus = builder.install_recorder()?;
    names::describe();
    for counter in [names::EVENTS_PUBLISHED, names::EVENTS_FAILED, names::EVENTS_DROPPED] {
        metrics::counter!(counter).increment(0); // there from the start, so that a first one is a rise
    }
    Ok(prometheus)
}

/// Keeps the gauges fresh and the memory bounded, for ever.
pub(crate) async fn keep_fresh(prometheus: &PrometheusHandle, probe: &HealthProbe) {
    let mut ticks = tokio::time::interval(FRESH);
    loop {
        ticks.tick().await;
        probe.check().await;
        prometheus.run_upkeep();
    }
}

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
