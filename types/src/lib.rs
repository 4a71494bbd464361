//! What the presence service and its clients send each other. The service, `presence-client` and the CLI share these
//! types, so that each is defined once. They do no I/O.
//!
//! Ids and states are parsed into types that cannot hold invalid values. Members that only a newer service sends are
//! ignored.

mod activity;
mod id;
mod presence;
mod state;
mod text;

pub use activity::{Activity, Party};
pub use id::{Connection, ConnectionId, GatewayId, InvalidId, PlayerId};
pub use presence::{Friends, LastSeen, Presence};
pub use state::{Reason, State, UnknownName};
