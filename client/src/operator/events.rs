//! Events as they come.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    PresenceEvent,
    messages::{Message, Messages},
};
use crate::{CallError, transport::Stream};

/// The service says something each 15 s, if only that it is there.
const MAX_SILENCE: Duration = Duration::from_secs(40);

/// The longest message, in bytes: an event with the longest id, and something to spare.
const MAX_MESSAGE: usize = 16 * 1024;

/// Events, from the moment at which it was opened.
#[derive(Debug)]
pub struct EventStream {
    body: Stream,
    messages: Messages,
}

/// What there is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A player's state changed.
    Event(PresenceEvent),
    /// So many events came faster than they were read, and are lost to this stream.
    Missed(u64),
}

impl EventStream {
    /// Waits until the service listens.
    pub(super) async fn open(body: Stream) -> Result<Self, CallError> {
        let mut stream = Self { body, messages: Messages::default() };
        match stream.message().await? {
            Some(message) if message.name == "ready" => Ok(stream),
            Some(_) | None => Err(CallError::Unreachable("the stream of events did not begin".into())),
        }
    }

    /// Waits for the next news; `None` where the service has ended the stream, as it does when it stops.
    ///
    /// # Errors
    /// [`CallError`]; [`CallError::TimedOut`] where nothing was heard for 40 s, not even that there is nothing to tell.
    pub async fn next(&mut self) -> Result<Option<News>, CallError> {
        #[derive(Deserialize)]
        struct Missed {
            count: u64,
        }

        while let Some(Message { name, data }) = self.message().await? {
            let news = match &*name {
                "presence" => serde_json::from_str(&data).map(News::Event),
                "missed" => serde_json::from_str(&data).map(|Missed { count }| News::Missed(count)),
                _ => continue, // of a newer service
            };
            return news.map(Some).map_err(CallError::Garbled);
        }
        Ok(None)
    }

    async fn message(&mut self) -> Result<Option<Message>, CallError> {
        loop {
            if let Some(message) = self.messages.next() {
                return Ok(Some(message));
            }
            if self.messages.waiting() > MAX_MESSAGE {
                return Err(CallError::Unreachable("the stream of events has a message without an end".into()));
            }
            let frame = timeout(MAX_SILENCE, self.body.frame()).await.map_err(|_| CallError::TimedOut)?;
            match frame.transpose().map_err(|error| CallError::Unreachable(error.into()))? {
                Some(frame) => self.messages.feed(frame.data_ref().map_or(&[], |data| data)),
                None => return Ok(None),
            }
        }
    }
}
