//! What operators see: logs, metrics and traces.

mod collector;
pub mod logs;
pub mod metrics;
pub mod traces;
