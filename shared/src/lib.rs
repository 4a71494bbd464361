//! Distributed presence of players: whether they are online, on how many devices, and what they are doing.
//!
//! Modules, from the inside out:
//!
//! - [`model`]: ids, states, the presence object. No I/O.
//! - `repository`: players in Redis, by the scripts in `lua/`.
//! - [`PresenceService`]: the use cases; the one place that orders store → publish.
//! - [`insight`]: queries of operators.
//! - [`http`]: requests in, responses out; the one mapping of errors to statuses.
//! - [`runtime`]: start of the programs, and the runtime of handlers in AWS Lambda.
//! - Beside them: [`aws`], [`config`], [`trace`], [`telemetry`], [`Cached`] (shared results), [`supervise`] (background
//!   tasks), the build ([`VERSION`], [`REVISION`]), and `fuzz`, for fuzzers alone.

pub mod aws;
mod cached;
pub mod config;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway_sweep;
pub mod health;
pub mod http;
pub mod insight;
pub mod model;
mod presence;
mod repository;
pub mod runtime;
mod socket;
mod supervise;
mod sweep;
pub mod telemetry;
pub mod trace;
mod version;
pub mod watch;

pub use cached::Cached;
pub use gateway_sweep::GatewaySweeper;
pub use presence::{BatchOutcome, PresenceError, PresenceService};
pub use repository::{RedisFault, Repository, Snapshot, StoreError, StoreFailure};
pub use supervise::supervise;
pub use sweep::{Sweeper, Swept};
pub use version::{REVISION, VERSION};
