//! Gateways, as operators and gateways themselves see them.

use serde::{Deserialize, Serialize};

use super::GatewayId;

/// What a gateway's call to renew its lease found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GatewayStatus {
    /// The gateway was not known: it sends a heartbeat for each of its connections.
    New,
    /// The gateway was known.
    Alive,
}

/// A known gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// Which gateway it is.
    pub gateway_id: GatewayId,
    /// The number of connections that belong to it.
    pub connections: u64,
    /// How long its lease lives without another renewal, in milliseconds; 0 if it has expired.
    pub expires_in_ms: u64,
}
