//! Types that the presence service and its clients send each other. The service, `presence-client`
//! and the CLI share these types, so that each is defined once. They do no I/O.
//!
//! Ids and states are parsed into types that cannot hold invalid values. Members that only a newer
//! service sends are ignored, and reasons that only a newer service knows are kept as text.

mod activity;
mod event;
mod explanation;
mod gateway;
mod health;
mod id;
mod open_names;
mod presence;
mod problem;
mod state;
mod statistics;

pub use activity::{Activity, Party};
pub use event::{EventKind, EventReason, PresenceEvent};
pub use explanation::{Explanation, Lease, Transition};
pub use gateway::{Gateway, GatewayState, GatewayStatus, Gateways};
pub use health::{Check, Checks, Health, HealthStatus};
pub use id::{Connection, ConnectionId, GatewayId, InvalidId, PlayerId};
pub use presence::{Friends, History, Presence};
pub use problem::{ProblemBody, ProblemKind};
pub use state::{Reason, State, UnknownName};
pub use statistics::{States, Statistics};
