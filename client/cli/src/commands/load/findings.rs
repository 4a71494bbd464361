//! Raw results of a load.

use std::time::Duration;

use super::figures::Figures;

/// Raw results of a load.
#[derive(Debug)]
pub(super) struct Found {
    /// The time until all players were connected; `None` if the time limit was exceeded.
    pub(super) connecting: Option<Duration>,
    pub(super) connected: u64,
    pub(super) while_connecting: Figures,
    /// `None` if not all players connected in time.
    pub(super) measured: Option<Measured>,
}

/// Results with all players connected.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) figures: Figures,
    pub(super) missed_heartbeats: u64,
    /// Reports and reads without a response long after the end.
    pub(super) unanswered: u64,
    /// Players whose state in the service differs from the one that was reported; `None` if they
    /// could not be read.
    pub(super) wrong_states: Option<u64>,
    pub(super) watch: Option<WatchFound>,
    /// The time until the players of a crashed gateway were OFFLINE; `None` if no gateway crashed.
    pub(super) crash: Option<Duration>,
}

/// Results of watching.
#[derive(Debug)]
pub(super) struct WatchFound {
    /// States that a gateway did not receive.
    pub(super) missing: u64,
    /// Whether the feed was live all the time.
    pub(super) was_live: bool,
}
