//! Distributed presence of players: whether they are online, on how many devices, and what they are
//! doing.
//!
//! Modules, from the inside out:
//!
//! - [`model`]: ids, states, the presence object. No I/O.
//! - `redis`: a client of Redis that knows nodes and hash slots, and no players.
//! - `store`: players in Redis, by the scripts in `lua/`.
//! - [`PresenceService`]: the use cases; the one place that orders store → publish.
//! - [`operator`]: what operators ask: health, counts, diagnostics.
//! - [`http`]: requests in, responses out; the one mapping of errors to statuses.
//! - [`runtime`]: start of the programs, and the runtime of handlers in AWS Lambda.
//! - [`events`]: from the outbox to JetStream. [`watch`]: streams to callers that watch players.
//! - Beside them: the sweeps of players and gateways, [`aws`], [`config`], [`telemetry`],
//!   [`Cached`] (shared results), [`supervise`] (background tasks), the build ([`VERSION`],
//!   [`REVISION`]), and `fuzz`, for fuzzers alone.

pub mod aws;
mod cached;
pub mod config;
mod error_chain;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway_sweep;
pub mod http;
mod http_client;
pub mod model;
pub mod operator;
mod presence;
mod redis;
pub mod runtime;
mod socket;
mod store;
mod supervise;
mod sweep;
pub mod telemetry;
mod version;
pub mod watch;

pub use cached::Cached;
pub use gateway_sweep::GatewaySweeper;
pub use presence::{BatchOutcome, PresenceError, PresenceService};
pub use redis::{RedisFault, StoreError, StoreFailure};
pub use store::{Snapshot, Store};
pub use supervise::supervise;
pub use sweep::{SweepCounts, Sweeper};
pub use version::{REVISION, VERSION};
