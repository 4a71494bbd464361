//! The leases in a player's past, as `lua/README.md` has them.

/// The connections in a line of the past, and how long each counts from `last_seen` on (ms); `ttl`
/// if no duration is written.
///
/// # Panics
/// If the line is malformed.
pub fn leases(past: &str, ttl: u64) -> Vec<(String, u64)> {
    let parse_lease = |lease: &str| match lease.split_once(' ') {
        Some((id, duration)) => (id.to_owned(), duration.parse().expect("milliseconds")),
        None => (lease.to_owned(), ttl),
    };
    past.split(';').skip(1).map(parse_lease).collect()
}
