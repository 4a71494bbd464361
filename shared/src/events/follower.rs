//! The follower, which reads the stream in its order and resumes behind the last event after an
//! interruption.

use std::{error::Error, time::Duration};

use async_nats::{
    Message, StatusCode, Subscriber,
    connection::State,
    datetime::DateTime,
    header::NATS_LAST_CONSUMER,
    jetstream::{
        self, Context,
        consumer::{AckPolicy, DeliverPolicy, push},
        stream::{ConsumerError, Stream},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::timeout;

use super::Publisher;

/// How often the server sends a sign of life to a consumer while no events arrive.
const IDLE_HEARTBEAT: Duration = Duration::from_millis(500);

/// The longest silence of a consumer. After that it is lost: the server hangs, or the stream was
/// deleted.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How often to check that the connection is still up.
const CONNECTION_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Time limit for looking up the stream and creating a consumer.
const START_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the server keeps a consumer after its follower has ended.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(5);

/// The most events to catch up on. Beyond that, reading all players from Redis is quicker.
const MAX_CATCH_UP: u64 = 10_000;

/// The most events that are returned at a time.
const MAX_BATCH: usize = 256;

/// Follows the stream. It remembers its position, so that the next consumer resumes there.
pub(crate) struct Follower {
    publisher: Publisher,
    position: Option<Position>,
    consumer: Option<Consumer>,
}

/// A position in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    /// When the stream was created: another stream of the same name begins again at 1.
    created: DateTime,
    last_sequence: u64,
}

/// Whether events were missed before a consumer's first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// The consumer resumes right behind the last event that was read.
    Unbroken,
    /// Events may be missing: this is the first consumer, or the stream no longer has them.
    Broken,
}

struct Consumer {
    context: Context,
    stream: Stream,
    name: String,
    messages: Subscriber,
    /// The number of messages that were received.
    delivered: u64,
}

/// Error of following the stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("NATS is not connected")]
    Disconnected,
    #[error("NATS cannot be used, or the stream could not be created")]
    Publish(#[source] Box<dyn Error + Send + Sync>),
    #[error("JetStream did not create a consumer")]
    Consumer(#[from] ConsumerError),
    #[error("NATS refused the subscription")]
    Subscribe(#[from] async_nats::client::SubscribeError),
    #[error("JetStream did not respond in time")]
    Timeout,
    #[error("the consumer is silent")]
    Silent,
    #[error("a message was lost on its way")]
    Lost,
    #[error("a message of the consumer is malformed")]
    Malformed,
}

impl Follower {
    /// Creates a follower that has not read anything yet. It sends nothing before
    /// [`start`](Self::start).
    pub(crate) fn new(publisher: Publisher) -> Self {
        Self {
            publisher,
            position: None,
            consumer: None,
        }
    }

    /// Creates a consumer that begins behind the last event that was read, or now. The stream is
    /// created if it is missing.
    pub(crate) async fn start(&mut self) -> Result<Continuity, FollowError> {
        self.end().await;
        timeout(START_TIMEOUT, self.create())
            .await
            .unwrap_or(Err(FollowError::Timeout))
    }

    /// Waits for events, and returns those that have arrived, in the stream's order. After an error
    /// the consumer is unusable.
    ///
    /// Cancel safe: no event is lost.
    pub(crate) async fn next(&mut self) -> Result<Vec<Bytes>, FollowError> {
        let (Some(consumer), Some(position)) = (&mut self.consumer, &mut self.position) else {
            return Err(FollowError::Disconnected);
        };
        consumer.next(&mut position.last_sequence).await
    }

    /// Ends the consumer.
    pub(crate) async fn end(&mut self) {
        let Some(consumer) = self.consumer.take() else {
            return;
        };
        if is_connected(&consumer.context) {
            // If it fails, the server removes the consumer by itself.
            let _ = timeout(
                START_TIMEOUT,
                consumer.stream.delete_consumer(&consumer.name),
            )
            .await;
        }
    }

    async fn create(&mut self) -> Result<Continuity, FollowError> {
        let started = self.publisher.jetstream().await;
        let (context, stream) = started.map_err(|error| FollowError::Publish(Box::new(error)))?;
        if !is_connected(&context) {
            return Err(FollowError::Disconnected);
        }
        let info = stream.cached_info();
        let end = Position {
            created: info.created,
            last_sequence: info.state.last_sequence,
        };
        let (position, continuity) = resume(self.position, end, info.state.first_sequence);
        // Subscribed first, so that the consumer's first message finds a receiver.
        let inbox = context.client().new_inbox();
        let messages = context.client().subscribe(inbox.clone()).await?;
        let created = stream
            .create_consumer(config(inbox, position.last_sequence + 1, &self.publisher))
            .await?;
        let name = created.cached_info().name.clone();
        self.position = Some(position);
        self.consumer = Some(Consumer {
            context,
            stream,
            name,
            messages,
            delivered: 0,
        });
        Ok(continuity)
    }
}

/// The configuration of an ephemeral consumer in the server's memory. Nothing is acknowledged: a
/// lost message is noticed by the gap in the sequence.
fn config(deliver_subject: String, start_sequence: u64, publisher: &Publisher) -> push::Config {
    push::Config {
        deliver_subject,
        description: Some("presence-server: events for callers that watch players".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        ack_policy: AckPolicy::None,
        filter_subject: publisher.subject().to_owned(),
        idle_heartbeat: IDLE_HEARTBEAT,
        inactive_threshold: INACTIVE_THRESHOLD,
        memory_storage: true,
        num_replicas: 1,
        ..push::Config::default()
    }
}

/// The position at which to resume a stream that was read up to `position`, begins at
/// `first_sequence` and ends at `end`.
fn resume(
    position: Option<Position>,
    end: Position,
    first_sequence: u64,
) -> (Position, Continuity) {
    if let Some(position) = position {
        let is_same =
            position.created == end.created && position.last_sequence <= end.last_sequence;
        let has_next = first_sequence <= position.last_sequence + 1;
        if is_same && has_next && end.last_sequence - position.last_sequence <= MAX_CATCH_UP {
            return (position, Continuity::Unbroken);
        }
    }
    (end, Continuity::Broken)
}

fn is_connected(context: &Context) -> bool {
    context.client().connection_state() == State::Connected
}

impl Consumer {
    async fn next(&mut self, last_sequence: &mut u64) -> Result<Vec<Bytes>, FollowError> {
        let mut events = Vec::new();
        // Waits for the first event, then takes those that have already arrived.
        while events.is_empty() {
            let message = self.message().await?;
            events.extend(self.take(message, last_sequence)?);
        }
        while events.len() < MAX_BATCH
            && let Some(Some(message)) = self.messages.next().now_or_never()
        {
            // The next call reports the loss, and the next consumer reads on from the last good
            // event.
            match self.take(message, last_sequence) {
                Ok(event) => events.extend(event),
                Err(_) => break,
            }
        }
        Ok(events)
    }

    async fn message(&mut self) -> Result<Message, FollowError> {
        let checks = SILENCE_TIMEOUT.as_millis() / CONNECTION_CHECK_INTERVAL.as_millis();
        for _ in 0..=checks {
            match timeout(CONNECTION_CHECK_INTERVAL, self.messages.next()).await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => return Err(FollowError::Disconnected),
                Err(_) if !is_connected(&self.context) => return Err(FollowError::Disconnected),
                Err(_) => {}
            }
        }
        Err(FollowError::Silent)
    }

    /// Extracts the event from a message. `None` for an idle heartbeat.
    fn take(
        &mut self,
        message: Message,
        last_sequence: &mut u64,
    ) -> Result<Option<Bytes>, FollowError> {
        match message.status {
            Some(StatusCode::IDLE_HEARTBEAT) => {
                let last = message
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get(NATS_LAST_CONSUMER));
                // The heartbeat says how many messages the server has sent.
                let sent = last.and_then(|last| last.as_str().parse::<u64>().ok());
                if sent.is_some_and(|sent| sent > self.delivered) {
                    Err(FollowError::Lost)
                } else {
                    Ok(None)
                }
            }
            Some(_) => Err(FollowError::Silent),
            None => {
                let message = jetstream::Message {
                    message,
                    context: self.context.clone(),
                };
                let info = message.info().map_err(|_| FollowError::Malformed)?;
                if info.consumer_sequence != self.delivered + 1 {
                    return Err(FollowError::Lost);
                }
                self.delivered += 1;
                *last_sequence = info.stream_sequence;
                Ok(Some(message.message.payload))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(created: i64, last_sequence: u64) -> Position {
        Position {
            created: DateTime::from_unix_timestamp(created).unwrap(),
            last_sequence,
        }
    }

    #[test]
    fn a_stream_that_has_all_that_follows_is_read_on() {
        for (first, last) in [(1, 10), (11, 10), (1, 20), (11, 20), (1, 10 + MAX_CATCH_UP)] {
            let (begin, continuity) = resume(Some(position(1, 10)), position(1, last), first);
            assert_eq!(
                (begin, continuity),
                (position(1, 10), Continuity::Unbroken),
                "{first} to {last}"
            );
        }
    }

    #[test]
    fn otherwise_reading_begins_at_the_end() {
        for (before, created, first, last) in [
            (None, 1, 1, 20),
            (Some(position(1, 10)), 2, 1, 20),  // created again
            (Some(position(1, 10)), 1, 1, 9),   // restored from an old copy
            (Some(position(1, 10)), 1, 12, 20), // what followed is too old
            (Some(position(1, 10)), 1, 1, 11 + MAX_CATCH_UP), // Redis is quicker
        ] {
            let (begin, continuity) = resume(before, position(created, last), first);
            assert_eq!(
                (begin, continuity),
                (position(created, last), Continuity::Broken),
                "{before:?} {first} {last}"
            );
        }
    }
}
