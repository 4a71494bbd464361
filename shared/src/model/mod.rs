//! Domain types: ids, states, the presence object. They do no I/O, and are parsed once, at the edge.

mod activity;
mod explanation;
mod gateway;
mod id;
pub(crate) mod json;
mod presence;
mod state;
mod text;

pub use activity::{Activity, ActivityChange, StateChange};
pub use explanation::{Explanation, Lease, Transition};
pub use gateway::{Gateway, GatewayState, GatewayStatus};
pub use id::{Connection, ConnectionId, GatewayId, InvalidId, OwnedConnection, OwnedConnections, PlayerId};
pub use presence::{LastSeen, Presence};
pub use state::{DisconnectReason, PresenceState, UnknownName};
