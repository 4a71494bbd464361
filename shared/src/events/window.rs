//! Publishing of a window of messages: all are sent in order, then all acknowledgments are awaited
//! together.
//!
//! The acknowledgments have an inbox of their own. The client's own publish takes the first reply
//! to a message for JetStream's, which may be the reply of any other subscriber to the subject.

use std::time::Duration;

use async_nats::{
    Client, Message, StatusCode, SubscribeError, Subscriber,
    client::{PublishError as SendError, PublishErrorKind as SendErrorKind},
    jetstream::{self, ErrorCode, publish::PublishAck, response::Response},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::{
    message::{self, MalformedEvent},
    spans::PublishSpans,
    stream::StreamError,
};
use crate::{config::EventsConfig, store::OutboxEntry};

/// The number of messages that may wait for their acknowledgment at a time: enough to hide the
/// round trip, few enough to bound memory.
pub(super) const WINDOW: usize = 512;

/// Time limit for JetStream to acknowledge a window, after it was sent.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// Error of publishing an event.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("the outbox entry is not a valid event")]
    Malformed(#[from] MalformedEvent),
    #[error("the event is larger than NATS accepts")]
    TooLarge(#[source] SendError),
    #[error("JetStream refused the event permanently")]
    Refused(#[source] jetstream::Error),
    #[error("JetStream refused the event temporarily")]
    NotNow(#[source] jetstream::Error),
    #[error("the stream {0} acknowledged the event instead of the configured one")]
    OtherStream(String),
    #[error("no stream takes the event")]
    NoStream,
    #[error("JetStream did not acknowledge the event")]
    NoAck,
    #[error("the event could not be sent")]
    Send(#[source] SendError),
    #[error("the inbox for acknowledgments could not be opened")]
    Inbox(#[from] SubscribeError),
    #[error("the stream does not take events")]
    Stream(#[from] StreamError),
    #[error("NATS cannot be used as configured")]
    Connect(#[from] async_nats::ConnectError),
    #[error("NATS is not connected")]
    NotConnected,
    #[error("JetStream did not respond to the lookup of the stream in time")]
    LookupTimedOut,
}

/// The result of each message of a window, in its order.
pub(super) type Results = Vec<Result<(), PublishError>>;

impl PublishError {
    /// Whether no further attempt can succeed: the event itself is invalid, not the connection or
    /// the stream.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Malformed(_) | Self::TooLarge(_) | Self::Refused(_)
        )
    }

    /// Whether JetStream did not respond at all. Another server of the cluster may.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::NoAck | Self::LookupTimedOut => true,
            Self::Stream(error) => error.is_silence(),
            _ => false,
        }
    }
}

/// Sends a window, and waits for its acknowledgments until `deadline` at the latest.
pub(super) async fn send(
    client: &Client,
    config: &EventsConfig,
    entries: &[OutboxEntry],
    spans: &PublishSpans<'_>,
    deadline: Instant,
) -> Result<Results, PublishError> {
    let inbox = client.new_inbox();
    let subscribed = timeout_at(deadline, client.subscribe(format!("{inbox}.*"))).await;
    let replies = subscribed.map_err(|_| PublishError::NoAck)??;
    let mut results = Vec::with_capacity(entries.len());
    for (position, entry) in entries.iter().enumerate() {
        let send = async {
            let headers = message::headers(entry, spans.context_of(entry))?;
            let subject = config.subject.clone();
            // The last token of the reply subject is the message's position in the window.
            let reply = format!("{inbox}.{position}");
            let body = Bytes::from(entry.body.clone());
            client
                .publish_with_reply_and_headers(subject, reply, headers, body)
                .await
                .map_err(not_sent)
        };
        let sent = timeout_at(deadline, send)
            .await
            .unwrap_or(Err(PublishError::NoAck));
        results.push(sent.and(Err(PublishError::NoAck))); // until its acknowledgment arrives
    }
    let deadline = deadline.min(Instant::now() + ACK_TIMEOUT);
    receive(replies, &config.stream, &mut results, deadline).await;
    Ok(results)
}

/// Stores each acknowledgment in its message's position, until none is missing.
async fn receive(mut replies: Subscriber, stream: &str, results: &mut Results, deadline: Instant) {
    let mut missing = results.iter().filter(|result| is_open(result)).count();
    while missing > 0 {
        let Ok(Some(reply)) = timeout_at(deadline, replies.next()).await else {
            return;
        };
        let position = reply
            .subject
            .rsplit('.')
            .next()
            .and_then(|position| position.parse::<usize>().ok());
        let Some(result) = position.and_then(|position| results.get_mut(position)) else {
            continue;
        };
        // Replies of other subscribers are ignored, as are repeated ones.
        let Some(outcome) = parse_ack(&reply, stream).filter(|_| is_open(result)) else {
            continue;
        };
        *result = outcome;
        missing -= usize::from(!is_open(result));
    }
}

/// Whether the configured stream may still acknowledge the message.
fn is_open(result: &Result<(), PublishError>) -> bool {
    matches!(
        result,
        Err(PublishError::NoAck | PublishError::OtherStream(_))
    )
}

/// Parses an acknowledgment. `None` if the reply is not JetStream's.
fn parse_ack(reply: &Message, stream: &str) -> Option<Result<(), PublishError>> {
    if reply.status == Some(StatusCode::NO_RESPONDERS) {
        return Some(Err(PublishError::NoStream));
    }
    Some(match serde_json::from_slice(&reply.payload).ok()? {
        Response::Ok(PublishAck { stream: other, .. }) if other != stream => {
            Err(PublishError::OtherStream(other))
        }
        Response::Ok(_) => Ok(()),
        Response::Err { error } if is_about_the_message(&error) => {
            Err(PublishError::Refused(error))
        }
        Response::Err { error } => Err(PublishError::NotNow(error)),
    })
}

/// Whether JetStream will always refuse this message. All other errors are about the stream, the
/// account or the moment: the event waits.
fn is_about_the_message(error: &jetstream::Error) -> bool {
    matches!(
        error.error_code(),
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
            | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
            | ErrorCode::MESSAGE_TTL_INVALID
            | ErrorCode::ATOMIC_PUBLISH_UNSUPPORTED_HEADER
    )
}

fn not_sent(error: SendError) -> PublishError {
    match error.kind() {
        SendErrorKind::MaxPayloadExceeded => PublishError::TooLarge(error),
        SendErrorKind::InvalidSubject | SendErrorKind::Send => PublishError::Send(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_final(code: usize, err_code: usize) -> bool {
        let error = serde_json::json!({"code": code, "err_code": err_code, "description": "…"});
        is_about_the_message(&serde_json::from_value(error).unwrap())
    }

    #[test]
    fn only_errors_about_the_message_are_final() {
        // The message or its header is too large.
        assert!(is_final(400, 10_054) && is_final(400, 10_097));
        // The limits of the account, a sealed stream, another sequence, a code that a later version
        // adds.
        for err_code in [10_002, 10_109, 10_071, 19_999] {
            assert!(!is_final(400, err_code), "{err_code}");
        }
        // No space, no leader.
        assert!(!is_final(503, 10_077) && !is_final(503, 10_008));
    }
}
