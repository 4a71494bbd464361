//! The spans of publishing: one for each trace among the messages, however many messages it has.

use std::collections::HashMap;

use crate::{
    repository::OutboxEntry,
    telemetry::traces::is_on,
    trace::{Span, TraceContext},
};

/// By the `traceparent` of their messages; none where no spans are made.
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
        let span = |(traceparent, (trace, count))| (traceparent, Span::publish(trace, subject, count));
        Self(counts.into_iter().map(span).collect())
    }

    /// What a consumer of the message goes on with.
    pub(super) fn context_of<'b>(&'b self, entry: &'b OutboxEntry) -> &'b TraceContext {
        self.0.get(entry.trace.traceparent()).map_or(&entry.trace, Span::context)
    }

    /// Ends them. Where a message was not acknowledged, those of its window may have come in vain.
    pub(super) fn end(self, are_acknowledged: bool) {
        let error_type = (!are_acknowledged).then_some("not_acknowledged");
        self.0.into_values().for_each(|span| span.end(error_type));
    }
}
