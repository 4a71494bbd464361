//! Metrics of the server: the recorder, the gauges, and the metrics per route.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use metrics::{Counter, Histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use presence::{
    REVISION, VERSION,
    operator::{HealthMonitor, OperatorQueries},
    telemetry::metrics::{self as names, CALL_DURATION, CALLS},
};

/// The buckets of durations, in seconds: around what a round trip to Redis takes, up to its time
/// limit.
const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// The buckets of the delay of watched changes, in seconds: around the interval of messages, up to
/// an outage of NATS.
const WATCH_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

/// How often the gauges are set, even if no caller checks the health, and old samples are folded.
const GAUGE_INTERVAL: Duration = Duration::from_secs(10);

/// Makes Prometheus the recorder of this process.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(CALL_DURATION.to_owned()), &BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(names::WATCH_DELAY.to_owned()), &WATCH_BUCKETS)?;
    let prometheus = builder.install_recorder()?;
    names::describe();
    for counter in [
        names::EVENTS_PUBLISHED,
        names::EVENTS_FAILED,
        names::EVENTS_DROPPED,
        names::GATEWAYS_LOST,
    ] {
        metrics::counter!(counter).increment(0); // exported from the start, so that the first one shows as an increase
    }
    metrics::gauge!(names::BUILD_INFO, "version" => VERSION, "revision" => REVISION).set(1.0);
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    metrics::gauge!(names::PROCESS_START).set(since_epoch.as_secs_f64());
    Ok(prometheus)
}

/// Sets the gauges and bounds the recorder's memory, indefinitely.
pub(crate) async fn refresh_gauges(
    prometheus: &PrometheusHandle,
    health: &HealthMonitor,
    operator_queries: &OperatorQueries,
) {
    let mut ticks = tokio::time::interval(GAUGE_INTERVAL);
    loop {
        ticks.tick().await;
        if health.latest().await.is_available()
            && let Err(error) = operator_queries.statistics().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "players not counted"
            );
        }
        prometheus.run_upkeep();
    }
}

/// The metrics of a route's calls.
pub(crate) struct RouteMetrics {
    path: &'static str,
    /// Looked up once, by the first call: a lookup takes longer than counting.
    duration: OnceLock<Histogram>,
    succeeded: OnceLock<Counter>,
}

impl RouteMetrics {
    pub(crate) fn new(path: &'static str) -> Self {
        Self {
            path,
            duration: OnceLock::new(),
            succeeded: OnceLock::new(),
        }
    }

    /// Counts a call by its route and status, and records its duration.
    pub(crate) fn record(&self, status: StatusCode, duration: Duration) {
        let find_counter = || metrics::counter!(CALLS, "call" => self.path, "status" => status.as_u16().to_string());
        match status {
            StatusCode::OK => self.succeeded.get_or_init(find_counter).increment(1),
            _ => find_counter().increment(1),
        }
        let find_histogram = || metrics::histogram!(CALL_DURATION, "call" => self.path);
        self.duration
            .get_or_init(find_histogram)
            .record(duration.as_secs_f64());
    }
}
