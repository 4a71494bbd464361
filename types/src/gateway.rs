//! Gateways and their status.

use serde::{Deserialize, Serialize};

use crate::GatewayId;

/// The response to a gateway's own call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayStatus {
    /// The gateway was not known. It has to send a heartbeat for each of its connections.
    New,
    /// The gateway was known, and its lease was renewed.
    #[default]
    Alive,
    /// The gateway has left: its lease has ended.
    Left,
}

/// The state of a gateway, as operators see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayState {
    /// It renews its lease.
    #[default]
    Live,
    /// Its lease has expired, and nothing is ended yet: too many expired at once, or the sweeps
    /// paused.
    Held,
    /// Its lease has expired: the leases of its connections are being ended.
    Lost,
    /// It ended its lease: those of its connections are being ended.
    Leaving,
}

/// A known gateway, or one whose connections' leases are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// The id of the gateway.
    pub gateway_id: GatewayId,
    /// The number of connections that belong to it.
    pub connections: u64,
    /// The time until the lease expires, in milliseconds; 0 if it has expired.
    pub expires_in_ms: u64,
    /// What is happening to it; left out of the JSON if it is live.
    #[serde(default, skip_serializing_if = "GatewayState::is_live")]
    pub state: GatewayState,
}

/// The known gateways, and those whose connections' leases are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateways {
    /// When the gateways were read, in Unix milliseconds of Redis's clock.
    pub as_of: u64,
    /// The known gateways, by id.
    pub gateways: Vec<Gateway>,
}

impl GatewayState {
    /// The state's name in JSON.
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
