//! Request body and responses of `POST /presence/gateway`.

use serde::{Deserialize, Serialize};

use super::{Problem, Request, parse_post};
use crate::{
    config::Lifetimes,
    model::{GatewayId, GatewayStatus, Reason, json::present},
};

/// `{"gateway_id"}`, and `leaving` when the gateway ends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    gateway_id: GatewayId,
    #[serde(default, deserialize_with = "present")]
    leaving: Option<Reason>,
}

/// The response to a renewed lease: when to renew it again.
#[derive(Debug, Serialize)]
pub struct GatewayRenewed {
    gateway_id: GatewayId,
    status: GatewayStatus,
    ttl_ms: u64,
    heartbeat_interval_ms: u64,
}

/// The response to a gateway that has left.
#[derive(Debug, Serialize)]
pub struct GatewayLeft {
    gateway_id: GatewayId,
    status: GatewayStatus,
    connections: u64,
}

/// Parses a gateway's call: its id, and the reason if it leaves.
///
/// # Errors
/// As for [`parse_post`].
pub fn parse_gateway(request: &Request) -> Result<(GatewayId, Option<Reason>), Problem> {
    let Body {
        gateway_id,
        leaving,
    } = parse_post(request)?;
    Ok((gateway_id, leaving))
}

impl GatewayRenewed {
    /// Returns the status together with the lease's timing.
    pub fn new(gateway_id: GatewayId, status: GatewayStatus, lifetimes: &Lifetimes) -> Self {
        let to_millis = |duration: std::time::Duration| duration.as_millis() as u64;
        Self {
            gateway_id,
            status,
            ttl_ms: to_millis(lifetimes.gateway_ttl),
            heartbeat_interval_ms: to_millis(lifetimes.gateway_ttl / 3),
        }
    }
}

impl GatewayLeft {
    /// Returns the number of leases that were ended.
    pub fn new(gateway_id: GatewayId, connections: u64) -> Self {
        Self {
            gateway_id,
            status: GatewayStatus::Left,
            connections,
        }
    }
}
