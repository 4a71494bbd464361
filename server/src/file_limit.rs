//! The limit of open files, and the number of connections that it allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of connections at a time, if enough files may be open.
const MAX_CONNECTIONS: u64 = 10_000;

/// Files that are not for connections of clients: connections to NATS and to Redis (one per worker
/// and node, and a second one while a connection is replaced: 64 workers of a cluster with 30
/// masters have 3,840), logs and runtimes.
const OTHER_FILES: u64 = 4_096;

/// Raises the limit of open files as far as allowed, and returns the number of connections that
/// fit.
pub(crate) fn connections() -> usize {
    let limit = raise();
    let count = connections_within(limit);
    match count < MAX_CONNECTIONS {
        true => tracing::warn!(
            open_files = limit,
            connections = count,
            "few connections at a time: raise the limit of open files (ulimit -Hn) for {MAX_CONNECTIONS}"
        ),
        false => tracing::info!(
            open_files = limit,
            connections = count,
            "connections at a time"
        ),
    }
    count as usize
}

/// Raises the soft limit, and returns it. `u64::MAX` stands for no limit.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    let wanted = maximum
        .unwrap_or(u64::MAX)
        .min(MAX_CONNECTIONS + OTHER_FILES)
        .max(current);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum,
        },
    ) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}

/// The number of connections within a limit of open files. If that is low, half of it is for
/// connections.
fn connections_within(limit: u64) -> u64 {
    limit
        .saturating_sub(OTHER_FILES.min(limit / 2))
        .clamp(1, MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_leave_room_for_other_files() {
        assert_eq!(connections_within(u64::MAX), MAX_CONNECTIONS);
        assert_eq!(
            connections_within(MAX_CONNECTIONS + OTHER_FILES),
            MAX_CONNECTIONS
        );
        assert_eq!(connections_within(1_024), 512);
        assert_eq!(connections_within(8_192), 4_096);
        assert_eq!(connections_within(200), 100);
        assert_eq!(connections_within(0), 1);
    }
}
