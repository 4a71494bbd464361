//! An event as a NATS message: the outbox's JSON as the body, W3C trace context and CloudEvents 1.0 (binary mode) as
//! headers.

use std::time::{Duration, UNIX_EPOCH};

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use serde::Deserialize;

use crate::{repository::OutboxEntry, trace::TraceContext};

/// Where events come from, as CloudEvents wants it: a URI reference.
const SOURCE: &str = "/presence";

/// What the headers repeat of the body.
#[derive(Deserialize)]
struct Head<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    /// Unix milliseconds.
    occurred_at: u64,
}

/// The headers of an event, whose trace goes on with `trace`.
///
/// # Errors
/// Where the outbox holds something that is no event.
pub(super) fn headers(entry: &OutboxEntry, trace: &TraceContext) -> Result<HeaderMap, serde_json::Error> {
    let head: Head<'_> = serde_json::from_slice(&entry.body)?;
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(head.occurred_at)).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, head.id);
    headers.insert("traceparent", trace.traceparent());
    if !trace.tracestate().is_empty() {
        headers.insert("tracestate", trace.tracestate());
    }
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", head.id);
    headers.insert("ce-type", head.kind);
    headers.insert("ce-source", SOURCE);
    headers.insert("ce-time", time);
    headers.insert("content-type", "application/json");
    Ok(headers)
}
