//! Headers of an event's NATS message: W3C trace context and CloudEvents 1.0 in binary mode. The
//! body is the outbox's JSON.

use std::time::{Duration, UNIX_EPOCH};

use async_nats::{
    HeaderMap, HeaderValue,
    header::{NATS_MESSAGE_ID, ParseHeaderValueError},
};
use serde::Deserialize;

use crate::{store::OutboxEntry, telemetry::TraceContext};

/// The origin of the events, a URI reference as CloudEvents requires it.
const SOURCE: &str = "/presence";

/// The last millisecond that RFC 3339 can express: the end of the year 9999.
const MAX_RFC3339_MS: u64 = 253_402_300_799_999;

/// The members of an event that its headers repeat.
#[derive(Deserialize)]
struct Head<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    /// Unix milliseconds.
    occurred_at: u64,
}

/// Error of an outbox entry that cannot be published as an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedEvent {
    #[error("its body is not the JSON of an event")]
    Body(#[from] serde_json::Error),
    #[error("its id is empty")]
    NoId,
    #[error("its id or type is not valid in a header")]
    Header(#[from] ParseHeaderValueError),
    #[error("it occurred after the year 9999")]
    Time,
}

/// Builds the headers of an event's message. Its consumers continue `trace`.
///
/// # Errors
/// [`MalformedEvent`]: the content of Redis is not trusted.
pub(super) fn headers(
    entry: &OutboxEntry,
    trace: &TraceContext,
) -> Result<HeaderMap, MalformedEvent> {
    let head: Head<'_> = serde_json::from_slice(&entry.body)?;
    // JetStream treats an empty id like a missing one, and would not deduplicate the message.
    if head.id.is_empty() {
        return Err(MalformedEvent::NoId);
    }
    if head.occurred_at > MAX_RFC3339_MS {
        return Err(MalformedEvent::Time);
    }
    let time = UNIX_EPOCH + Duration::from_millis(head.occurred_at);
    let id: HeaderValue = head.id.parse()?;
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id.clone());
    headers.insert("traceparent", trace.traceparent().parse::<HeaderValue>()?);
    if !trace.tracestate().is_empty() {
        headers.insert("tracestate", trace.tracestate().parse::<HeaderValue>()?);
    }
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id);
    headers.insert("ce-type", head.kind.parse::<HeaderValue>()?);
    headers.insert("ce-source", SOURCE);
    headers.insert(
        "ce-time",
        humantime::format_rfc3339_millis(time).to_string(),
    );
    headers.insert("content-type", "application/json");
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::redis::Shard;

    fn entry(body: impl Into<Vec<u8>>) -> OutboxEntry {
        OutboxEntry {
            shard: Shard::FIRST,
            entry_id: "1-0".into(),
            body: body.into(),
            trace: TraceContext::new_root(),
        }
    }

    fn head(id: &str, kind: &str, occurred_at: u64) -> OutboxEntry {
        let body = serde_json::json!({"id": id, "type": kind, "occurred_at": occurred_at});
        entry(body.to_string())
    }

    #[test]
    fn the_last_moment_of_the_year_9999_is_the_last_that_is_published() {
        let published = head("alice:1", "PresenceOnline", MAX_RFC3339_MS);
        let headers = headers(&published, &published.trace).unwrap();
        assert_eq!(
            headers.get("ce-time").unwrap().as_str(),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn what_a_header_cannot_hold_is_malformed() {
        let with_escape = r#"{"id":"a\nb","type":"PresenceOnline","occurred_at":1}"#;
        let malformed = [
            head("alice:1", "PresenceOnline", MAX_RFC3339_MS + 1),
            head("alice:1", "PresenceOnline", u64::MAX),
            head("", "PresenceOnline", 1),
            entry(with_escape),
            entry(""),
            entry("null"),
            entry(b"\xff\xfe".to_vec()),
        ];
        for entry in malformed {
            assert!(
                headers(&entry, &entry.trace).is_err(),
                "{:?}",
                String::from_utf8_lossy(&entry.body)
            );
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in vec(any::<u8>(), 0..64), time in any::<u64>(), id in ".{0,8}", kind in ".{0,8}") {
            for entry in [entry(body), head(&id, &kind, time)] {
                let _ = headers(&entry, &entry.trace);
            }
        }
    }
}
