//! Metrics, defined once for Prometheus and CloudWatch. No label takes values that players choose.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Defines metrics: a constant with the name of each, documented by its description, and a function
/// that registers their units and descriptions.
macro_rules! metrics {
    ($($(#[$detail:meta])* $describe:ident!($unit:ident, $name:ident = $metric:literal, $text:literal);)+) => {
        $(
            #[doc = concat!($text, ".\n")]
            $(#[$detail])*
            pub const $name: &str = $metric;
        )+

        /// Registers units and descriptions of the metrics with the recorder.
        pub fn describe() {
            $($describe!($name, Unit::$unit, $text);)+
        }
    };
}

metrics! {
    describe_counter!(Count, CALLS = "presence_calls_total",
        "Calls that got a response, by call and status");
    /// The reason is `token`, `read_token`, `cross_site`, `host` or `malformed`.
    describe_counter!(Count, CALLS_REFUSED = "presence_calls_refused_total",
        "Calls refused because of their token, origin or host, by reason");
    describe_histogram!(Seconds, CALL_DURATION = "presence_call_duration_seconds",
        "How long a call took");
    /// The kind is a name of a [`StoreFailure`](crate::StoreFailure).
    describe_counter!(Count, STORE_ERRORS = "presence_store_errors_total",
        "Calls that failed because Redis failed, by kind");
    describe_counter!(Count, EVENTS_PUBLISHED = "presence_events_published_total",
        "Events that JetStream acknowledged");
    describe_counter!(Count, EVENTS_FAILED = "presence_events_failed_total",
        "Attempts to publish an event that failed; it waits in the outbox");
    /// An event is too old if it has waited for longer than the retention.
    describe_counter!(Count, EVENTS_DROPPED = "presence_events_dropped_total",
        "Events lost: too old, malformed, or refused permanently");
    describe_counter!(Count, SWEEP_EXPIRED = "presence_sweep_expired_total",
        "Players the sweep moved to OFFLINE");
    describe_counter!(Count, SWEEP_RESCHEDULED = "presence_sweep_rescheduled_total",
        "Players the sweep found alive and rescheduled");
    describe_counter!(Count, SWEEP_REMOVED = "presence_sweep_removed_total",
        "Members of the expiry index that are not players, and were removed");
    describe_gauge!(Seconds, SWEEP_LAG = "presence_sweep_lag_seconds",
        "The time since the last sweep ended");
    describe_gauge!(Seconds, OUTBOX_AGE = "presence_outbox_age_seconds",
        "The age of the oldest event in the outbox");
    describe_gauge!(Count, REDIS_UP = "presence_redis_up",
        "Whether Redis responds and runs scripts: 1 or 0");
    describe_counter!(Count, TASK_RESTARTS = "presence_task_restarts_total",
        "Background tasks that panicked and were restarted, by task");
    describe_gauge!(Count, PLAYERS = "presence_players", "Players that are not OFFLINE, by state");
    describe_gauge!(Count, CONNECTIONS = "presence_connections",
        "Connections of players that are not OFFLINE");
    describe_gauge!(Count, BUILD_INFO = "presence_build_info",
        "1, by the version and revision of the program");
    /// The name is that of Prometheus's own clients.
    describe_gauge!(Seconds, PROCESS_START = "process_start_time_seconds",
        "When the process started, in Unix seconds");
    describe_gauge!(Count, NATS_UP = "presence_nats_up",
        "Whether JetStream responds and the stream takes events: 1 or 0");

    describe_gauge!(Count, GATEWAYS = "presence_gateways", "Known gateways");
    describe_counter!(Count, GATEWAYS_LOST = "presence_gateways_lost_total",
        "Gateways whose lease expired");
    /// That is the case after too many gateways expired at once, or after the sweeps paused.
    describe_gauge!(Count, GATEWAYS_HELD = "presence_gateways_held",
        "Whether no gateway is declared lost for one gateway TTL: 1 or 0");

    describe_gauge!(Count, WATCH_STREAMS = "presence_watch_streams",
        "Streams of callers that watch players");
    describe_gauge!(Count, WATCH_PLAYERS = "presence_watch_players",
        "Players that are watched by at least one stream");
    describe_gauge!(Count, WATCH_INTERESTS = "presence_watch_interests",
        "Pairs of a stream and a player that it watches");
    describe_counter!(Count, WATCH_CHANGES = "presence_watch_changes_total",
        "Changes sent to watchers");
    describe_counter!(Count, WATCH_COALESCED = "presence_watch_coalesced_total",
        "Changes replaced by a newer one of the same player before they were sent");
    describe_histogram!(Seconds, WATCH_DELAY = "presence_watch_delay_seconds",
        "The time from a transition to the message to a watcher");
    /// The state is `live`, `polling` or `stale`.
    describe_gauge!(Count, WATCH_FEED = "presence_watch_feed",
        "1 for the state of the feed of watched players, 0 for the others");
    /// They are read to make sure that no change was missed.
    describe_counter!(Count, WATCH_READS = "presence_watch_reads_total",
        "Watched players that were read again");
}
