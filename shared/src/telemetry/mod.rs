//! Logs, metrics and traces for operators.
//!
//! A trace leads from a caller's request to the event that it causes. Spans record no bodies, no
//! ids of players, and therefore no paths.
//!
//! - `context`: W3C trace context, in headers and in the outbox.
//! - `span`: spans for an OTLP receiver. If none is configured, spans are not recorded, and the
//!   caller's context is passed on.
//! - [`traces`]: export of the spans.

mod collector;
mod context;
pub mod logs;
pub mod metrics;
mod span;
pub mod traces;

pub use context::TraceContext;
pub(crate) use context::traceparent_of_xray;
pub use span::RequestSpan;
pub(crate) use span::{Span, SweepSpan, is_on};
