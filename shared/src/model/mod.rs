//! Domain types: ids, states, the presence object. They do no I/O, and are parsed once, at the
//! edge.
//!
//! Those that clients share are defined in the crate `presence-types`.

mod activity;
pub(crate) mod json;
mod owned;

pub use activity::{Activity, ActivityChange, StateChange};
pub use owned::{OwnedConnection, OwnedConnections};
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
