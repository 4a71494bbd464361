//! Diagnostics of a player: leases, transitions and the reasons for the state.

use serde::{Deserialize, Serialize};

use crate::{Activity, EventReason, Presence, State};

/// Everything that Redis stores about a player.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation<A = Activity> {
    /// When the player was read, in Unix milliseconds. This and all other times are of Redis's
    /// clock.
    pub as_of: u64,
    /// How long a lease lives after a heartbeat, in milliseconds.
    #[serde(default)]
    pub ttl_ms: u64,
    /// The presence object as callers get it, with the history.
    pub presence: Presence<A>,
    /// Live leases, soonest expiry first.
    pub connections: Vec<Lease>,
    /// The number of connections that are remembered as closed.
    pub closed_connections: u64,
    /// The newest transition, if it is still known.
    pub last_transition: Option<Transition>,
    /// The OFFLINE transition that follows if the record is not renewed. If its time has passed, it
    /// is due, and no sweep has made it yet.
    pub next_transition: Option<Transition>,
}

/// The lease of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The id of the connection.
    pub connection_id: String,
    /// When the lease expires, in Unix milliseconds.
    pub expires_at: u64,
    /// The time until the lease expires, in milliseconds.
    pub expires_in_ms: u64,
}

/// A change of a player's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The new state.
    pub state: State,
    /// When the transition was made, or will be due, in Unix milliseconds.
    pub at: u64,
    /// The version of the transition. `None` if it was not made yet.
    pub version: Option<u64>,
    /// The reason of a transition to OFFLINE, as in its event. Redis does not store the reasons of
    /// other transitions.
    pub reason: Option<EventReason>,
}
