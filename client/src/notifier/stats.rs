//! Counters.

/// What an [`HttpNotifier`](crate::HttpNotifier) did since its start, and what it has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// HTTP calls made.
    pub calls: u64,
    /// Calls without an answer, and calls whose answer was an error.
    pub failures: u64,
    /// Tasks told again: connects, disconnects, states and heartbeats one by one.
    pub retries: u64,
    /// Heartbeats that the service accepted.
    pub beats: u64,
    /// Heartbeats by which the service learned of a connection that it did not know, after a loss of its store, say.
    pub restored: u64,
    /// Open connections that the service said are closed.
    pub closed: u64,
    /// Tasks given up: refused by the service, or too old to matter; and heartbeats that came a whole interval late,
    /// each missed interval counted.
    pub dropped: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// Connects, disconnects and states that are not through yet.
    pub queue_length: u64,
}
