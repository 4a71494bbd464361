//! Problem details (RFC 9457) and the mapping of errors to HTTP statuses.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use presence_types::{ProblemBody, ProblemKind};
use serde::{Serialize, Serializer};

use super::{Response, response::with_body};
use crate::{
    PresenceError,
    redis::{StoreError, StoreFailure, episodes},
    telemetry::metrics::STORE_ERRORS,
};

/// An error response: what was wrong, and what to do about it.
#[derive(Debug, Clone)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    field: Option<Box<str>>,
    header: Option<(&'static str, Cow<'static, str>)>,
}

impl Problem {
    /// 400: the request cannot be understood. Nothing was applied.
    pub fn invalid_request(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::InvalidRequest, detail)
    }

    /// 401: a token is missing or wrong.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Unauthorized, detail).with_header("www-authenticate", "Bearer")
    }

    /// 403: the caller may not make this call.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Forbidden, detail)
    }

    /// 400: the request cannot be read as HTTP/1.1.
    pub fn malformed() -> Self {
        Self::invalid_request("the request is not valid HTTP/1.1")
    }

    /// 431: the head of the request is longer than the server reads.
    pub fn headers_too_large() -> Self {
        Self::new(
            ProblemKind::HeadersTooLarge,
            "the request line and the headers are too long, or too many",
        )
    }

    /// 408: the head of the request did not arrive in time.
    pub fn head_timed_out() -> Self {
        let detail = "the head of the request did not arrive in time";
        Self::new(ProblemKind::TimedOut, detail)
    }

    /// 404: the path has no route.
    pub fn not_found() -> Self {
        let detail = "this path does not exist";
        Self::new(ProblemKind::NotFound, detail)
    }

    /// 405, with `Allow`.
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        Self::wrong_method().with_header("allow", allowed)
    }

    /// 405, for a router that adds `Allow` itself.
    pub fn wrong_method() -> Self {
        let detail =
            "this call does not take this method; the Allow header names those that it takes";
        Self::new(ProblemKind::MethodNotAllowed, detail)
    }

    /// 413: the body is longer than `limit` bytes.
    pub fn too_large(limit: usize) -> Self {
        let detail = format!("a body has at most {limit} bytes; send fewer entries at a time");
        Self::new(ProblemKind::TooLarge, detail)
    }

    /// 415: the body is labeled as something other than plain JSON.
    pub fn unsupported_media_type() -> Self {
        let detail =
            "send JSON with content-type: application/json, and without a content-encoding";
        Self::new(ProblemKind::UnsupportedMediaType, detail)
    }

    /// 408: the request did not arrive, or had no response, within `request_timeout`.
    pub fn timed_out(request_timeout: Duration) -> Self {
        let detail = format!(
            "the request took longer than {} s",
            request_timeout.as_secs()
        );
        Self::new(ProblemKind::TimedOut, detail)
    }

    /// 500: a fault of the service itself.
    pub fn internal() -> Self {
        let detail = "internal error; the service's log has the cause";
        Self::new(ProblemKind::Internal, detail)
    }

    /// 503: too many calls at a time.
    pub fn overloaded() -> Self {
        Self::overloaded_for(Duration::from_secs(1))
    }

    /// 503: more work waits than can be done in time; `retry_after` is when it is likely to be
    /// done.
    pub fn overloaded_for(retry_after: Duration) -> Self {
        let detail = "too many calls at a time; nothing was changed; repeat this one after the time in Retry-After";
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0); // rounded up
        let mut problem = Self::new(ProblemKind::Overloaded, detail);
        problem.header = Some(("retry-after", seconds.to_string().into()));
        problem
    }

    /// 503: the stream of events cannot be read.
    pub fn events_unavailable() -> Self {
        let detail = "the stream of events cannot be read now; the call may be repeated";
        Self::new(ProblemKind::StoreUnavailable, detail).with_header("retry-after", "1")
    }

    /// 409: a stream would watch more than `limit` players.
    pub fn too_many(limit: usize) -> Self {
        let detail =
            format!("a stream watches at most {limit} players; open another stream for the others");
        Self::new(ProblemKind::TooMany, detail)
    }

    /// 426: the path speaks WebSocket, or server-sent events.
    pub fn upgrade_required() -> Self {
        let detail = "open a WebSocket (RFC 6455, version 13), or ask for server-sent events with \
                      `accept: text/event-stream` and `?players=alice,bob`";
        Self::new(ProblemKind::UpgradeRequired, detail).with_header("upgrade", "websocket")
    }

    /// Names the member of the body, or the part of the URL, that was wrong.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(shorten(field.into()).into());
        self
    }

    fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: shorten(detail.into()),
            field: None,
            header: None,
        }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn transition_rejected(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::TransitionRejected, detail)
    }

    fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value.into()));
        self
    }
}

impl From<PresenceError> for Problem {
    fn from(error: PresenceError) -> Self {
        match error {
            PresenceError::ConnectionClosed => Self::new(
                ProblemKind::ConnectionClosed,
                "this connection was closed and stays closed; open a new one under a new connection_id",
            ),
            PresenceError::TransitionRejected(state) => Self::transition_rejected(format!(
                "an OFFLINE player cannot go to {state}; connect the player first"
            )),
            PresenceError::ActivityRejected => Self::transition_rejected(
                "an OFFLINE player cannot have an activity; connect the player first",
            ),
            PresenceError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    /// Gives the caller a plain sentence, and the log the causes: once per episode, not per call.
    fn from(error: StoreError) -> Self {
        let failure = error.failure();
        metrics::counter!(STORE_ERRORS, "kind" => failure.as_str()).increment(1);
        episodes::call_failed(&error);
        if let StoreError::Overloaded { retry_after } = error {
            return Self::overloaded_for(retry_after);
        }
        Self::new(
            ProblemKind::StoreUnavailable,
            match &error {
                StoreError::Partitions { .. } => {
                    Cow::from(format!("this program is misconfigured: {error}"))
                }
                _ => store_detail(failure).into(),
            },
        )
        .with_header("retry-after", "1")
    }
}

/// The effect of a failure, and what the caller can do about it.
fn store_detail(failure: StoreFailure) -> &'static str {
    match failure {
        StoreFailure::TimedOut => {
            "the store did not respond in time; whether the call took effect is unknown; repeat it, unless a newer call has replaced it"
        }
        StoreFailure::Unreachable => {
            "the store cannot be reached; whether the call took effect is unknown; repeat it, unless a newer call has replaced it"
        }
        StoreFailure::NotPrimary => {
            "the store is read-only, as after a failover; nothing was changed, and the call may be repeated"
        }
        StoreFailure::Loading => {
            "the store is loading its data; nothing was changed, and the call may be repeated"
        }
        StoreFailure::OutOfMemory => {
            "the store's memory is full; nothing was changed, and the call may be repeated"
        }
        StoreFailure::Overloaded => {
            "too much work waits for the store; nothing was changed, and the call may be repeated"
        }
        StoreFailure::Misconfigured => "the service is misconfigured; its log has the details",
        StoreFailure::Refused => "the store refused the call; the service's log has the cause",
        StoreFailure::Unexpected => {
            "the store holds or returned unexpected data, which this service did not write; its log has the details"
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let body = ProblemBody {
            kind: self.kind.uri().into(),
            title: self.kind.title().into(),
            status: self.kind.status(),
            detail: self.detail.as_str().into(),
            field: self.field.as_deref().map(Cow::from),
        };
        body.serialize(serializer)
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let body = Bytes::from(serde_json::to_vec(&problem).unwrap_or_default());
        let mut response = with_body(
            problem.status(),
            HeaderValue::from_static("application/problem+json"),
            body,
        );
        if let Some((name, value)) = problem.header
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// Shortens a text that may repeat an overlong name of the request.
fn shorten(mut text: String) -> String {
    const LONGEST: usize = 300;
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}
