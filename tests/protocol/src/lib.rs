//! A finite model of the presence protocol, for a checker that visits every state.
//!
//! The model has one player, a few connections, gateways that die, calls that are late, lost,
//! duplicated and out of order, Redis with the scripts' rules (and a flush), sweepers, relays that
//! die between any two steps, a JetStream that drops duplicates, and a caller that watches the
//! player over streams that break. Time passes in ticks and stops after a few of them, so that the
//! model is finite.
//!
//! - [`redis`]: the player's data in Redis, and the scripts. Each rule of `lua/` is one function
//!   here.
//! - [`gateway_leases`]: the gateways' data in Redis, and their scripts.
//! - [`gateways`]: gateways that hold leases, and their sweepers.
//! - [`watcher`]: a caller that watches the player, and the server at the other end of its stream.
//! - [`system`]: the state of the whole system, and the possible actions.
//! - [`protocol`]: the model for the checker, with its bounds.
//! - [`properties`]: what must hold in every state.
//! - [`turns`]: a second model, of the servers that take turns to sweep a cluster.
//! - [`Mutation`]: rules to leave out, one at a time, to check that a property fails.

pub mod gateway_leases;
pub mod gateways;
mod mutation;
pub mod properties;
pub mod protocol;
pub mod redis;
pub mod system;
pub mod turns;
pub mod watcher;

pub use mutation::Mutation;
pub use protocol::{Bounds, GatewayBounds, Protocol};
