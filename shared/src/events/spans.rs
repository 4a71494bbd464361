//! Spans of publishing: one per trace among the messages of a window.

use std::collections::HashMap;

use crate::{
    store::OutboxEntry,
    telemetry::{Span, TraceContext, is_on},
};

/// The spans of a window, by the `traceparent` of their messages. Empty if spans are not recorded.
pub(super) struct PublishSpans<'a>(HashMap<&'a str, Span<'a>>);

impl<'a> PublishSpans<'a> {
    pub(super) fn start(entries: &'a [OutboxEntry], subject: &str) -> Self {
        if !is_on() {
            return Self(HashMap::new());
        }
        let mut counts = HashMap::new();
        for OutboxEntry { trace, .. } in entries {
            counts.entry(trace.traceparent()).or_insert((trace, 0)).1 += 1;
        }
        let start =
            |(traceparent, (trace, count))| (traceparent, Span::publish(trace, subject, count));
        Self(counts.into_iter().map(start).collect())
    }

    /// The trace context of an entry's message, which its consumers continue.
    pub(super) fn context_of<'b>(&'b self, entry: &'b OutboxEntry) -> &'b TraceContext {
        self.0
            .get(entry.trace.traceparent())
            .map_or(&entry.trace, Span::context)
    }

    /// Ends all spans. If any message of the window was not acknowledged, all of them are marked
    /// failed.
    pub(super) fn end(self, are_acknowledged: bool) {
        let error_type = (!are_acknowledged).then_some("not_acknowledged");
        self.0.into_values().for_each(|span| span.end(error_type));
    }
}
