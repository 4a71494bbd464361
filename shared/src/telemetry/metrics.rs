//! Metrics, defined once for Prometheus and CloudWatch. No label takes values that players choose.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Calls that got a response, by `call` and `status`.
pub const CALLS: &str = "presence_calls_total";
/// Calls refused before they reached a handler, by `reason`: `token`, `read_token`, `cross_site`,
/// `host` or `malformed`.
pub const CALLS_REFUSED: &str = "presence_calls_refused_total";
/// How long a call took, by `call`.
pub const CALL_DURATION: &str = "presence_call_duration_seconds";
/// Calls that failed because Redis failed, by `kind`, as [`StoreFailure`](crate::StoreFailure)
/// names it.
pub const STORE_ERRORS: &str = "presence_store_errors_total";
/// Events that JetStream acknowledged.
pub const EVENTS_PUBLISHED: &str = "presence_events_published_total";
/// Attempts to publish an event that failed; the event waits in the outbox.
pub const EVENTS_FAILED: &str = "presence_events_failed_total";
/// Events that are lost: they waited longer than the retention, are malformed, or JetStream refuses
/// them permanently.
pub const EVENTS_DROPPED: &str = "presence_events_dropped_total";
/// Players the sweep moved to OFFLINE.
pub const SWEEP_EXPIRED: &str = "presence_sweep_expired_total";
/// Players the sweep found alive and rescheduled.
pub const SWEEP_RESCHEDULED: &str = "presence_sweep_rescheduled_total";
/// Members of the expiry index that are not players, and were removed.
pub const SWEEP_REMOVED: &str = "presence_sweep_removed_total";
/// The time since the last sweep ended.
pub const SWEEP_LAG: &str = "presence_sweep_lag_seconds";
/// The age of the oldest event in the outbox.
pub const OUTBOX_AGE: &str = "presence_outbox_age_seconds";
/// Whether Redis responds and runs scripts: 1 or 0.
pub const REDIS_UP: &str = "presence_redis_up";
/// Background tasks that panicked and were restarted, by `task`.
pub const TASK_RESTARTS: &str = "presence_task_restarts_total";
/// Players that are not OFFLINE, by `state`.
pub const PLAYERS: &str = "presence_players";
/// Connections of players that are not OFFLINE.
pub const CONNECTIONS: &str = "presence_connections";
/// 1, by the `version` and `revision` of the program.
pub const BUILD_INFO: &str = "presence_build_info";
/// When the process started, in Unix seconds, under the name that Prometheus's own clients use.
pub const PROCESS_START: &str = "process_start_time_seconds";
/// Whether JetStream responds and the stream takes events: 1 or 0.
pub const NATS_UP: &str = "presence_nats_up";

/// Known gateways.
pub const GATEWAYS: &str = "presence_gateways";
/// Gateways whose lease expired, so that the leases of their connections were ended.
pub const GATEWAYS_LOST: &str = "presence_gateways_lost_total";
/// Whether no gateway is declared lost for one gateway TTL, as too many expired at once or the
/// sweeps paused: 1 or 0.
pub const GATEWAYS_HELD: &str = "presence_gateways_held";

/// Streams of callers that watch players.
pub const WATCH_STREAMS: &str = "presence_watch_streams";
/// Players that are watched by at least one stream.
pub const WATCH_PLAYERS: &str = "presence_watch_players";
/// Pairs of a stream and a player that it watches.
pub const WATCH_INTERESTS: &str = "presence_watch_interests";
/// Changes sent to watchers.
pub const WATCH_CHANGES: &str = "presence_watch_changes_total";
/// Changes that were not sent to a watcher because a newer one of the same player replaced them.
pub const WATCH_COALESCED: &str = "presence_watch_coalesced_total";
/// The time from a transition to the message to a watcher.
pub const WATCH_DELAY: &str = "presence_watch_delay_seconds";
/// 1 for the `state` of the feed of watched players: `live`, `polling` or `stale`; 0 for the
/// others.
pub const WATCH_FEED: &str = "presence_watch_feed";
/// Players that were read again, to make sure that no change was missed.
pub const WATCH_READS: &str = "presence_watch_reads_total";

/// Registers units and descriptions of the metrics with the recorder.
pub fn describe() {
    describe_counter!(
        CALLS,
        Unit::Count,
        "Calls that got a response, by call and status"
    );
    describe_counter!(
        CALLS_REFUSED,
        Unit::Count,
        "Calls refused because of their token, origin or host, by reason"
    );
    describe_histogram!(CALL_DURATION, Unit::Seconds, "How long a call took");
    describe_counter!(
        STORE_ERRORS,
        Unit::Count,
        "Calls that failed because Redis failed, by kind"
    );
    describe_counter!(
        EVENTS_PUBLISHED,
        Unit::Count,
        "Events that JetStream acknowledged"
    );
    describe_counter!(
        EVENTS_FAILED,
        Unit::Count,
        "Attempts to publish an event that failed; it waits in the outbox"
    );
    describe_counter!(
        EVENTS_DROPPED,
        Unit::Count,
        "Events lost: too old, malformed, or refused permanently"
    );
    describe_counter!(
        SWEEP_EXPIRED,
        Unit::Count,
        "Players the sweep moved to OFFLINE"
    );
    describe_counter!(
        SWEEP_RESCHEDULED,
        Unit::Count,
        "Players the sweep found alive and rescheduled"
    );
    describe_counter!(
        SWEEP_REMOVED,
        Unit::Count,
        "Members of the expiry index that are not players, and were removed"
    );
    describe_gauge!(
        SWEEP_LAG,
        Unit::Seconds,
        "The time since the last sweep ended"
    );
    describe_gauge!(
        OUTBOX_AGE,
        Unit::Seconds,
        "The age of the oldest event in the outbox"
    );
    describe_gauge!(
        REDIS_UP,
        Unit::Count,
        "Whether Redis responds and runs scripts: 1 or 0"
    );
    describe_counter!(
        TASK_RESTARTS,
        Unit::Count,
        "Background tasks that panicked and were restarted, by task"
    );
    describe_gauge!(
        PLAYERS,
        Unit::Count,
        "Players that are not OFFLINE, by state"
    );
    describe_gauge!(
        CONNECTIONS,
        Unit::Count,
        "Connections of players that are not OFFLINE"
    );
    describe_gauge!(
        BUILD_INFO,
        Unit::Count,
        "1, by the version and revision of the program"
    );
    describe_gauge!(
        PROCESS_START,
        Unit::Seconds,
        "When the process started, in Unix seconds"
    );
    describe_gauge!(
        NATS_UP,
        Unit::Count,
        "Whether JetStream responds and the stream takes events: 1 or 0"
    );
    describe_gauge!(GATEWAYS, Unit::Count, "Known gateways");
    describe_counter!(GATEWAYS_LOST, Unit::Count, "Gateways whose lease expired");
    describe_gauge!(
        GATEWAYS_HELD,
        Unit::Count,
        "Whether no gateway is declared lost for one gateway TTL: 1 or 0"
    );
    describe_gauge!(
        WATCH_STREAMS,
        Unit::Count,
        "Streams of callers that watch players"
    );
    describe_gauge!(
        WATCH_PLAYERS,
        Unit::Count,
        "Players that are watched by at least one stream"
    );
    describe_gauge!(
        WATCH_INTERESTS,
        Unit::Count,
        "Pairs of a stream and a player that it watches"
    );
    describe_counter!(WATCH_CHANGES, Unit::Count, "Changes sent to watchers");
    describe_counter!(
        WATCH_COALESCED,
        Unit::Count,
        "Changes replaced by a newer one of the same player before they were sent"
    );
    describe_histogram!(
        WATCH_DELAY,
        Unit::Seconds,
        "The time from a transition to the message to a watcher"
    );
    describe_gauge!(
        WATCH_FEED,
        Unit::Count,
        "1 for the state of the feed of watched players, 0 for the others"
    );
    describe_counter!(
        WATCH_READS,
        Unit::Count,
        "Watched players that were read again"
    );
}
