//! Logs, metrics and traces for operators.

mod collector;
pub mod logs;
pub mod metrics;
pub mod traces;
