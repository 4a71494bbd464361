//! Metrics of the server: the recorder, and the gauges.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use presence::{
    REVISION, VERSION,
    operator::{HealthMonitor, OperatorQueries},
    telemetry::metrics::{self as names, CALL_DURATION},
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
