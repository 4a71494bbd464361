//! Traces: what ties a caller's request to the event that it makes, and the spans on the way there.
//!
//! - `context`: W3C trace context, as it travels in headers and waits in the outbox.
//! - `span`: what takes time, for an OTLP receiver. Where none is configured there are no spans, and the caller's context
//!   is what travels.
//!
//! Spans record neither bodies nor ids of players, and so no paths either.

mod context;
mod span;

pub use context::TraceContext;
pub(crate) use context::traceparent_of_xray;
pub use span::RequestSpan;
pub(crate) use span::{Span, SweepSpan};
