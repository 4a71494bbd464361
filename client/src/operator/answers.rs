//! What the service answers to operators. All times are Unix milliseconds by the service's clock.

use serde::{Deserialize, Serialize};

use crate::{GatewayId, Presence, State};

/// How many players there are that are not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// When they were counted.
    pub as_of: u64,
    /// All of them.
    pub players: u64,
    /// The same by state.
    pub states: States,
    /// Their connections.
    pub connections: u64,
    /// The number of players whose records were read.
    pub sampled: u64,
    /// Whether they were all. Else the figures are reckoned from these.
    pub is_exact: bool,
}

/// Players by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct States {
    /// Connected.
    pub online: u64,
    /// Waiting for a match.
    pub in_queue: u64,
    /// Playing.
    pub in_match: u64,
    /// Connected, but not there.
    pub away: u64,
}

/// All that the service knows of a player.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// When it was read.
    pub as_of: u64,
    /// What a caller is told, with the history.
    pub presence: Presence,
    /// The live leases, the one that runs out first first.
    pub connections: Vec<Lease>,
    /// The number of connections that are remembered as closed.
    pub closed_connections: u64,
    /// The newest transition that was made, if it is still known.
    pub last_transition: Option<Transition>,
    /// The OFFLINE transition that follows if nobody renews the record. Where its time is over, it is due.
    pub next_transition: Option<Transition>,
}

/// A connection's right to count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose it is.
    pub connection_id: String,
    /// When it runs out.
    pub expires_at: u64,
    /// How long that is from `as_of`, in milliseconds.
    pub expires_in_ms: u64,
}

/// A change of a player's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The state that it leads to.
    pub state: State,
    /// When it was, or will be, made.
    pub at: u64,
    /// Its version, once it was made.
    pub version: Option<u64>,
    /// Why, for a transition to OFFLINE; an event's word.
    pub reason: Option<String>,
}

/// The gateways that hold a lease, and those whose connections' leases are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateways {
    /// When they were read.
    pub as_of: u64,
    /// All of them, by id.
    pub gateways: Vec<Gateway>,
}

/// One run of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Which gateway it is.
    pub gateway_id: GatewayId,
    /// The number of connections that belong to it.
    pub connections: u64,
    /// How long its lease lives without another renewal, in milliseconds; 0 if it has ended.
    pub expires_in_ms: u64,
    /// What is happening to it.
    #[serde(default, skip_serializing_if = "GatewayState::is_live")]
    pub state: GatewayState,
}

/// What is happening to a gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayState {
    /// It renews its lease.
    #[default]
    Live,
    /// Its lease has expired, and nothing is ended yet: too many expired at once, or the sweeps paused.
    Held,
    /// Its lease has expired: the leases of its connections are being ended.
    Lost,
    /// It ended its lease: those of its connections are being ended.
    Leaving,
}

impl GatewayState {
    /// The state's name, as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Held => "held",
            Self::Lost => "lost",
            Self::Leaving => "leaving",
        }
    }

    fn is_live(&self) -> bool {
        *self == Self::Live
    }
}

/// Whether the service can do its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The whole: unavailable where its store is, degraded where anything else is.
    pub status: HealthStatus,
    /// Its parts.
    pub checks: Checks,
}

/// The parts of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// The store.
    pub redis: Check,
    /// Where events go.
    pub nats: Check,
    /// Whether somebody looks for players who ran out; its age is that of the last pass.
    pub sweep: Check,
    /// Whether events wait; its age is that of the oldest.
    pub outbox: Check,
}

/// One part of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// How it is.
    pub status: HealthStatus,
    /// In milliseconds, where the part has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// How a part is, or the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// As it should be.
    Ok,
    /// Calls are answered, but something is late or away.
    Degraded,
    /// Calls fail.
    Unavailable,
    /// Nothing can be said.
    Unknown,
    /// Not in use.
    Disabled,
}

impl HealthStatus {
    /// The word for it, as it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
        }
    }
}
