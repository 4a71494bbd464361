//! Gateways and their status.

use serde::{Deserialize, Serialize};

use super::GatewayId;

/// The status of a gateway when it renews its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayStatus {
    /// The gateway was not known. It has to send a heartbeat for each of its connections.
    New,
    /// The gateway was known.
    Alive,
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

/// A known gateway, or one whose connections' leases are being ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

impl GatewayState {
    fn is_live(&self) -> bool {
        *self == Self::Live
    }
}
