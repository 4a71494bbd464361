//! W3C trace context.

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderValue, Request};

/// The longest `tracestate` that is passed on, in bytes, as the W3C recommends.
const MAX_TRACESTATE: usize = 512;

/// A trace to continue: the caller's, or a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: String,
}

impl TraceContext {
    /// The trace that the handler of a request continues: the request's span if spans are recorded,
    /// or else the caller's trace.
    pub fn of_request<B>(request: &Request<B>) -> Self {
        request
            .extensions()
            .get()
            .cloned()
            .unwrap_or_else(|| Self::from_headers(request.headers()))
    }

    /// Reads the caller's trace from headers. Starts a new one if it is missing or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        Self::extract(headers).unwrap_or_else(Self::new_root)
    }

    /// Reads the caller's trace from headers. `None` if it is missing or malformed.
    pub(super) fn extract(headers: &HeaderMap) -> Option<Self> {
        let mut traceparents = headers.get_all("traceparent").iter();
        let only = traceparents
            .next()
            .filter(|_| traceparents.next().is_none());
        let traceparent = parse_traceparent(only?.to_str().ok()?)?;
        Some(Self {
            traceparent,
            tracestate: tracestate(headers),
        })
    }

    /// Reads the trace of an event in the outbox. The content of Redis is not trusted: a malformed
    /// `traceparent` starts a new trace, and a malformed `tracestate` is dropped.
    pub(crate) fn from_stored(traceparent: &str, tracestate: &str) -> Self {
        let is_valid = tracestate.len() <= MAX_TRACESTATE
            && tracestate.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let tracestate = if is_valid { tracestate } else { "" };
        match parse_traceparent(traceparent) {
            Some(traceparent) => Self {
                traceparent,
                tracestate: tracestate.to_owned(),
            },
            None => Self::new_root(),
        }
    }

    /// Builds a context from valid parts.
    pub(crate) fn from_parts(traceparent: String, tracestate: String) -> Self {
        Self {
            traceparent,
            tracestate,
        }
    }

    /// Starts a new trace.
    pub fn new_root() -> Self {
        // Ids of zero are invalid.
        let trace_id = rand::random::<u128>().max(1);
        let span_id = rand::random::<u64>().max(1);
        let mut traceparent =
            String::with_capacity("00-".len() + 32 + "-".len() + 16 + "-01".len());
        traceparent.push_str("00-");
        HEXLOWER.encode_append(&trace_id.to_be_bytes(), &mut traceparent);
        traceparent.push('-');
        HEXLOWER.encode_append(&span_id.to_be_bytes(), &mut traceparent);
        traceparent.push_str("-01");
        Self {
            traceparent,
            tracestate: String::new(),
        }
    }

    /// The value of the `traceparent` header.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The value of the `tracestate` header. Empty if the trace has no state.
    pub fn tracestate(&self) -> &str {
        &self.tracestate
    }
}

/// Parses a `traceparent`, and returns it in the format of version 00. Fields that a later version
/// adds are dropped.
fn parse_traceparent(header: &str) -> Option<String> {
    let is_hex = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let mut fields = header.split('-');
    let version = fields.next()?;
    let trace_id = fields.next()?;
    let parent_id = fields.next()?;
    let flags = fields.next()?;
    let is_complete = version != "00" || fields.next().is_none();
    let has_lengths =
        [version.len(), trace_id.len(), parent_id.len(), flags.len()] == [2, 32, 16, 2];
    let is_valid = has_lengths
        && [version, trace_id, parent_id, flags]
            .into_iter()
            .all(is_hex)
        && version != "ff"
        && !is_zero(trace_id)
        && !is_zero(parent_id)
        && is_complete;
    is_valid.then(|| format!("00-{trace_id}-{parent_id}-{flags}"))
}

fn tracestate(headers: &HeaderMap) -> String {
    let members: Vec<_> = headers
        .get_all("tracestate")
        .iter()
        .filter_map(|header| header.to_str().ok())
        .collect();
    let tracestate = members.join(",");
    if tracestate.len() <= MAX_TRACESTATE {
        tracestate
    } else {
        String::new()
    }
}

/// Converts an X-Ray header (`Root=1-…;Parent=…;Sampled=1`) to a `traceparent`.
pub(crate) fn traceparent_of_xray(header: &str) -> Option<HeaderValue> {
    let find = |name| {
        header
            .split(';')
            .find_map(|field| field.trim().strip_prefix(name))
    };
    let (time, random) = find("Root=1-")?.split_once('-')?;
    let sampled = if find("Sampled=") == Some("0") {
        "00"
    } else {
        "01"
    };
    let parent = find("Parent=")?;
    HeaderValue::from_str(&parse_traceparent(&format!(
        "00-{time}{random}-{parent}-{sampled}"
    ))?)
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_callers_trace_is_continued() {
        let trace = TraceContext::from_headers(&headers(&[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ]));
        assert_eq!(
            (trace.traceparent(), trace.tracestate()),
            (PARENT, "a=1,b=2")
        );
    }

    #[test]
    fn a_malformed_or_repeated_parent_starts_a_new_trace() {
        for parent in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            let trace = TraceContext::from_headers(&headers(&[
                ("traceparent", parent),
                ("tracestate", "a=1"),
            ]));
            assert!(parse_traceparent(trace.traceparent()).is_some());
            assert_ne!(trace.traceparent(), parent);
            assert_eq!(trace.tracestate(), "");
        }
        let trace = TraceContext::from_headers(&headers(&[
            ("traceparent", PARENT),
            ("traceparent", PARENT),
        ]));
        assert_ne!(trace.traceparent(), PARENT);
    }

    #[test]
    fn a_stored_trace_that_no_header_can_carry_is_not_continued() {
        let stored = TraceContext::from_stored;
        assert_eq!(
            stored(PARENT, "a=1"),
            TraceContext::from_parts(PARENT.to_owned(), "a=1".to_owned())
        );
        for tracestate in [
            "a=1\r\nNats-Msg-Id: x",
            "a=\u{e4}",
            &"a".repeat(MAX_TRACESTATE + 1),
        ] {
            let trace = stored(PARENT, tracestate);
            assert_eq!((trace.traceparent(), trace.tracestate()), (PARENT, ""));
        }
        for traceparent in ["", "00-x\r\n", &format!("{PARENT}\n")] {
            let trace = stored(traceparent, "a=1");
            assert!(parse_traceparent(trace.traceparent()).is_some());
            assert_eq!(trace.tracestate(), "");
        }
    }

    #[test]
    fn a_later_version_is_continued_as_version_00() {
        let later =
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings";
        assert_eq!(parse_traceparent(later).as_deref(), Some(PARENT));
    }

    #[test]
    fn an_x_ray_header_is_a_trace_too() {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let parent = traceparent_of_xray(header).unwrap();
        assert_eq!(
            parent,
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"
        );
        assert_eq!(
            traceparent_of_xray("Root=1-5759e988-bd862e3fe1be46a994272793"),
            None
        );
    }
}
