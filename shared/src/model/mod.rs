//! Domain types: ids, states, the presence object. They do no I/O, and are parsed once, at the
//! edge.
//!
//! Those that clients share are defined in the crate `presence-types`.

mod activity;
pub(crate) mod json;

pub use activity::{Activity, ActivityChange, StateChange};
pub use presence_types::{
    Connection, ConnectionId, EventReason, Gateway, GatewayId, GatewayState, GatewayStatus,
    History, InvalidId, Lease, PlayerId, Reason, State, Transition, UnknownName,
};

/// One player's presence at one moment.
pub type Presence = presence_types::Presence<Activity>;

/// The presences of several players, read at one moment.
pub type Friends = presence_types::Friends<Activity>;

/// Everything that Redis stores about a player.
pub type Explanation = presence_types::Explanation<Activity>;

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
