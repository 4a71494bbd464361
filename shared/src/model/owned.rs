//! Connections, and the gateway that a call names for them.

use super::{Connection, GatewayId};

/// A connection, and the gateway that a call names for it.
#[derive(Debug, Clone, Copy)]
pub struct OwnedConnection<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The gateway that it belongs to from now on. `None` leaves its owner as it is.
    pub gateway: Option<&'a GatewayId>,
}

/// Connections, and the gateway that a call names for them.
#[derive(Debug, Clone)]
pub struct OwnedConnections {
    /// The connections.
    pub connections: Vec<Connection>,
    /// The gateway that they belong to from now on. `None` leaves their owner as it is.
    pub gateway: Option<GatewayId>,
}

impl<'a> From<&'a Connection> for OwnedConnection<'a> {
    fn from(connection: &'a Connection) -> Self {
        Self {
            connection,
            gateway: None,
        }
    }
}

impl From<Vec<Connection>> for OwnedConnections {
    fn from(connections: Vec<Connection>) -> Self {
        Self {
            connections,
            gateway: None,
        }
    }
}
