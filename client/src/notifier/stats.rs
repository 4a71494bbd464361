//! Counters of the notifier.

/// Counters of an [`HttpNotifier`](crate::HttpNotifier) since its start, and the length of its
/// queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// HTTP calls sent.
    pub calls: u64,
    /// Calls without a response, and calls whose response was an error.
    pub failures: u64,
    /// Connects, disconnects, states and heartbeats that were sent again, each counted by itself.
    pub retries: u64,
    /// Heartbeats that the service accepted.
    pub heartbeats: u64,
    /// Connections that the service did not know and that a heartbeat restored, for example after a
    /// loss of its store.
    pub restored: u64,
    /// Open connections that the service reported as closed.
    pub closed: u64,
    /// Reports that were given up: refused by the service, or too old to matter. Also missed
    /// heartbeats: one that is late counts once per whole interval.
    pub dropped: u64,
    /// Connections that are open now.
    pub open_connections: u64,
    /// Connects, disconnects, states and activities that are not delivered yet.
    pub queue_length: u64,
}
