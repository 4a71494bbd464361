//! Tracing, from a caller's request to the event that it causes.
//!
//! - `context`: W3C trace context, in headers and in the outbox.
//! - `span`: spans for an OTLP receiver. If none is configured, spans are not recorded, and the caller's context is passed on.
//!
//! Spans record no bodies, no ids of players, and therefore no paths.

mod context;
mod span;

pub use context::TraceContext;
pub(crate) use context::traceparent_of_xray;
pub use span::RequestSpan;
pub(crate) use span::{Span, SweepSpan};
