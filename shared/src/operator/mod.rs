//! Queries of operators: health, counts, gateways, and diagnostics of one player.

mod health;
mod queries;

pub use health::{Check, Checks, Health, HealthMonitor, HealthProbe, HealthStatus};
pub use queries::{Gateways, MAX_COUNTS_PER_SECOND, OperatorQueries, States, Statistics};
