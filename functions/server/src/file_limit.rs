//! The number of files that this process may have open, and how many connections they are good for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of connections at a time, if enough files may be open.
const MAX_CONNECTIONS: u64 = 10_000;

/// Files that are not for connections of clients: connections to NATS and to Redis (one per worker and node, and a second
/// one while a connection is replaced: 64 workers of a cluster with 30 masters have 3,840), logs and runtimes.
const OTHER_FILES: u64 = 4_096;

/// Raises the limit of open files as far as it may be, and returns the number of connections that there may be.
pub(crate) fn connections() -> usize {
    let limit = raise();
    let count = connections_within(limit);
    match count < MAX_CONNECTIONS {
        true => tracing::warn!(
            open_files = limit,
            connections = count,
            "few connections at a time: raise the limit of open files (ulimit -Hn) for {MAX_CONNECTIONS}"
        ),
        false => tracing::info!(open_files = limit, connections = count, "connections at a time"),
    }
    count as usize
}

/// The limit, once it is as high as it may be; `u64::MAX` if there is none.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    let wanted = maximum.unwrap_or(u64::MAX).min(MAX_CONNECTIONS + OTHER_FILES).max(current);
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}

/// With few files, half of them are for connections.
fn connections_within(limit: u64) -> u64 {
    limit.saturating_sub(OTHER_FILES.min(limit / 2)).clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_leave_room_for_other_files() {
        assert_eq!(connections_within(u64::MAX), MAX_CONNECTIONS);
        assert_eq!(connections_within(MAX_CONNECTIONS + OTHER_FILES), MAX_CONNECTIONS);
        assert_eq!(connections_within(1_024), 512);
        assert_eq!(connections_within(8_192), 4_096);
        assert_eq!(connections_within(200), 100);
        assert_eq!(connections_within(0), 1);
    }
}
