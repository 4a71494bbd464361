//! A model of presence's protocol, small enough for a machine to look at every state that it can be in.
//!
//! One player, a few connections, gateways that die, calls that are late, lost, doubled and out of order, Redis with the
//! scripts' rules (and a flush), sweepers, relays that die between any two steps, a JetStream that drops what it has, and a
//! caller that watches the player over streams that break.
//! Time passes in ticks, and stops after a few of them: then the model is finite.
//!
//! - [`redis`]: what Redis holds of the player, and the scripts. Each rule of `lua/` is one function here.
//! - [`gateway_leases`]: what Redis holds of gateways, and their scripts.
//! - [`gateways`]: gateways that hold leases, and their sweepers.
//! - [`watcher`]: a caller that watches the player, and the server that its stream leads to.
//! - [`world`]: everything else, and what can happen next.
//! - [`protocol`]: the model for the checker, with its bounds.
//! - [`properties`]: what must hold in every state.
//! - [`turns`]: a second model, of the servers that take turns to sweep a cluster.
//! - [`Flaw`]: rules to leave out, one at a time, to see that the properties notice.

mod flaw;
pub mod gateway_leases;
pub mod gateways;
pub mod properties;
pub mod protocol;
pub mod redis;
pub mod turns;
pub mod watcher;
pub mod world;

pub use flaw::Flaw;
pub use protocol::{Bounds, GatewayBounds, Protocol};
