//! The live events of all players.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    PresenceEvent,
    messages::{Message, Messages},
};
use crate::{CallError, transport::Stream};

/// The longest silence of a working service, which sends a keep-alive every 15 s.
const MAX_SILENCE: Duration = Duration::from_secs(40);

/// The longest message, in bytes: an event with the longest id, and something to spare.
const MAX_MESSAGE: usize = 16 * 1024;

/// Events, from the moment at which it was opened.
#[derive(Debug)]
pub struct EventStream {
    body: Stream,
    messages: Messages,
    /// The first message of the service, if it is an item.
    first: Option<StreamItem>,
}

/// An item of an [`EventStream`].
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
            messages: Messages::default(),
            first: None,
        };
        match stream.message().await? {
            Some(message) if message.name == "ready" => {}
            Some(message) if message.name == "feed" => stream.first = StreamItem::parse(&message)?,
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

    async fn message(&mut self) -> Result<Option<Message>, CallError> {
        loop {
            if let Some(message) = self.messages.next() {
                return Ok(Some(message));
            }
            if self.messages.waiting() > MAX_MESSAGE {
                return Err(CallError::Unreachable(
                    "the stream of events has a message without an end".into(),
                ));
            }
            let frame = timeout(MAX_SILENCE, self.body.frame())
                .await
                .map_err(|_| CallError::TimedOut)?;
            match frame
                .transpose()
                .map_err(|error| CallError::Unreachable(error.into()))?
            {
                Some(frame) => self
                    .messages
                    .feed(frame.data_ref().map_or(&[], |data| data)),
                None => return Ok(None),
            }
        }
    }
}

impl StreamItem {
    /// `None` for a message that only a newer service has.
    fn parse(Message { name, data }: &Message) -> Result<Option<Self>, CallError> {
        #[derive(Deserialize)]
        struct Missed {
            count: u64,
        }

        #[derive(Deserialize)]
        struct FeedState {
            feed: String,
        }

        let item = match &**name {
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
