//! Why a player is in the state that it is in.

use serde::Serialize;

use super::{Presence, PresenceState};

/// All that Redis knows of a player.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// When it was read, in Unix milliseconds of Redis's clock; all other times are of this clock too.
    pub as_of: u64,
    /// How long a lease lives after a heartbeat, in milliseconds.
    pub ttl_ms: u64,
    /// The presence that callers get, with the history.
    pub presence: Presence,
    /// The live leases, the one that runs out first first.
    pub connections: Vec<Lease>,
    /// The number of connections that are remembered as closed.
    pub closed_connections: u64,
    /// The newest transition that was made, if it is still known.
    pub last_transition: Option<Transition>,
    /// The OFFLINE transition that follows if nobody renews the record. Where its time is over, it is due, and no sweep
    /// has made it yet.
    pub next_transition: Option<Transition>,
}

/// A connection's right to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// Whose it is.
    pub connection_id: String,
    /// When it runs out, in Unix milliseconds.
    pub expires_at: u64,
    /// How long that is from now, in milliseconds.
    pub expires_in_ms: u64,
}

/// A change of a player's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// The state that it leads to.
    pub state: PresenceState,
    /// When it was, or will be, made, in Unix milliseconds.
    pub at: u64,
    /// Its version, once it was made.
    pub version: Option<u64>,
    /// Why, for a transition to OFFLINE; an event's word. Others' reasons are known to their events alone.
    pub reason: Option<String>,
}
