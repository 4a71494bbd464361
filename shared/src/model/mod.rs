//! Domain types: ids, states, the presence object. They do no I/O, and are parsed once, at the edge.
//!
//! Those that clients share are defined in the crate `presence-types`.

mod activity;
mod explanation;
mod gateway;
pub(crate) mod json;
mod owned;

pub use activity::{Activity, ActivityChange, StateChange};
pub use explanation::{Explanation, Lease, Transition};
pub use gateway::{Gateway, GatewayState, GatewayStatus};
pub use owned::{OwnedConnection, OwnedConnections};
pub use presence_types::{
    Connection, ConnectionId, GatewayId, InvalidId, LastSeen, PlayerId, Reason, State, UnknownName,
};

/// One player's presence at one moment.
pub type Presence = presence_types::Presence<Activity>;

/// The presences of several players, read at one moment.
pub type Friends = presence_types::Friends<Activity>;
