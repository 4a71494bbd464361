//! What a load found out.

use std::time::Duration;

use super::figures::Figures;

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// How long it took until all players were connected; `None` if they were not in time.
    pub(super) connecting: Option<Duration>,
    pub(super) connected: u64,
    pub(super) while_connecting: Figures,
    /// `None` if not all players were connected in time.
    pub(super) measured: Option<Measured>,
}

/// What was found with all players connected.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) figures: Figures,
    pub(super) missed_heartbeats: u64,
    /// Reports and reads that had no answer long after the end.
    pub(super) unanswered: u64,
    /// Players whose state in the service is another one than was reported; `None` if they could not be read.
    pub(super) wrong_states: Option<u64>,
    pub(super) watch: Option<WatchFound>,
    /// How long the players of a gateway stayed connected after its crash; `None` if none crashed.
    pub(super) crash: Option<Duration>,
}

/// What the watching gateways were shown.
#[derive(Debug)]
pub(super) struct WatchFound {
    /// States that were not shown.
    pub(super) missing: u64,
    /// Whether all changes came live.
    pub(super) was_live: bool,
}
