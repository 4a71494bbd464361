//! The live events of all players.

use std::{num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use sse_core::{MessageEvent, SseDecoder, SseEvent};
use tokio::time::timeout;

use super::PresenceEvent;
use crate::{CallError, transport::Stream};

/// The longest silence of a working service, which sends a keep-alive every 15 s.
const MAX_SILENCE: Duration = Duration::from_secs(40);

/// The longest message, in bytes: an event with the longest id, and something to spare.
const MAX_MESSAGE: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// Events, from the moment at which it was opened.
#[derive(Debug)]
pub struct EventStream {
    body: Stream,
    decoder: SseDecoder,
    /// What was read and is not decoded yet.
    received: Bytes,
    /// The first message of the service, if it is an item.
    first: Option<StreamItem>,
}

/// An item of an [`EventStream`].
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all items are events, so a box would only cost an allocation"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamItem {
    /// A player's state changed.
    Event(PresenceEvent),
    /// This number of events was lost, because they came faster than they were read.
    Missed(u64),
    /// Whether events arrive: at the beginning and after each change.
    Feed(EventFeed),
}

/// Whether the service receives events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFeed {
    /// Events arrive as they are emitted.
    Live,
    /// The service cannot read its events, because NATS is down. They arrive when it is back.
    Down,
}

impl EventStream {
    /// Waits until the service follows its events, or reports that it cannot.
    pub(super) async fn open(body: Stream) -> Result<Self, CallError> {
        let mut stream = Self {
            body,
            decoder: SseDecoder::with_limit(MAX_MESSAGE),
            received: Bytes::new(),
            first: None,
        };
        match stream.message().await? {
            Some(message) if message.event == "ready" => {}
            Some(message) if message.event == "feed" => stream.first = StreamItem::parse(&message)?,
            Some(_) | None => {
                return Err(CallError::Unreachable(
                    "the stream of events did not begin".into(),
                ));
            }
        }
        Ok(stream)
    }

    /// Waits for the next item; `None` if the service has ended the stream, as it does when it
    /// stops.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::TimedOut`] if nothing was received for 40 s, not even a sign of
    /// life.
    pub async fn next(&mut self) -> Result<Option<StreamItem>, CallError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        while let Some(message) = self.message().await? {
            if let Some(item) = StreamItem::parse(&message)? {
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    /// Waits for the next message. Comments, which only show that the service is up, are skipped.
    async fn message(&mut self) -> Result<Option<MessageEvent>, CallError> {
        loop {
            while let Some(decoded) = self.decoder.next(&mut self.received) {
                match decoded {
                    Ok(SseEvent::Message(message)) => return Ok(Some(message)),
                    Ok(SseEvent::Retry(_)) => {} // for clients that reconnect by themselves
                    Err(too_large) => return Err(CallError::Unreachable(too_large.into())),
                }
            }
            let frame = timeout(MAX_SILENCE, self.body.frame())
                .await
                .map_err(|_| CallError::TimedOut)?;
            match frame
                .transpose()
                .map_err(|error| CallError::Unreachable(error.into()))?
            {
                Some(frame) => self.received = frame.into_data().unwrap_or_default(),
                None => return Ok(None),
            }
        }
    }
}

impl StreamItem {
    /// `None` for a message that only a newer service has.
    fn parse(message: &MessageEvent) -> Result<Option<Self>, CallError> {
        #[derive(Deserialize)]
        struct Missed {
            count: u64,
        }

        #[derive(Deserialize)]
        struct FeedState {
            feed: String,
        }

        let data = &message.data;
        let item = match &*message.event {
            "presence" => serde_json::from_str(data).map(Self::Event),
            "missed" => serde_json::from_str(data).map(|Missed { count }| Self::Missed(count)),
            "feed" => serde_json::from_str(data).map(|FeedState { feed }| {
                Self::Feed(if feed == "live" {
                    EventFeed::Live
                } else {
                    EventFeed::Down
                })
            }),
            _ => return Ok(None),
        };
        item.map(Some).map_err(CallError::Garbled)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    /// Reads all items of a stream whose body arrives in these chunks.
    async fn read(chunks: &[&[u8]]) -> Result<Vec<StreamItem>, CallError> {
        let frames = chunks
            .iter()
            .map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk))));
        let body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>())).boxed_unsync();
        let mut events = EventStream::open(body).await?;
        let mut items = Vec::new();
        while let Some(item) = events.next().await? {
            items.push(item);
        }
        Ok(items)
    }

    #[tokio::test]
    async fn items_are_the_same_wherever_the_reads_end() {
        let body =
            "event: ready\ndata: {}\n\n:\n\nevent: missed\ndata: {\"count\":3,\"a\":\"é: c\"}\n\n\
                    retry: 5\n\nevent: feed\ndata: {\"feed\":\"down\"}\n\n"
                .as_bytes();
        let expected = [StreamItem::Missed(3), StreamItem::Feed(EventFeed::Down)];
        for end in 1..body.len() {
            let items = read(&[&body[..end], &body[end..]]).await.unwrap();
            assert_eq!(items, expected, "{end}");
        }
    }

    #[tokio::test]
    async fn a_comment_is_not_an_item_and_neither_is_half_a_message() {
        let half = b"event: missed\ndata: {\"count\":3}\n";
        let items = read(&[b"event: ready\ndata: {}\n\n", b":\n\n", half]).await;
        assert_eq!(items.unwrap(), []);
    }

    #[tokio::test]
    async fn a_message_that_does_not_end_is_an_error() {
        let long = vec![b'x'; MAX_MESSAGE.get()];
        let result = read(&[b"event: ready\ndata: {}\n\n", b"data: ", &long, &long]).await;
        assert!(matches!(result, Err(CallError::Unreachable(_))));
    }
}
