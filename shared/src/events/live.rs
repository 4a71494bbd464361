//! Live events for consoles: one consumer of the stream per process, shared by all listeners.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    datetime::DateTime,
    jetstream::{
        consumer::{AckPolicy, DeliverPolicy, StreamError, pull},
        stream::{ConsumerError, Info},
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::{interval, timeout},
};

use super::{EventHistory, HistoryError, Publisher, history, window::PublishError};
use crate::{model::PlayerId, supervise};

/// The number of events that a listener may lag behind before it misses the oldest.
const MAX_LAG: usize = 1_024;

/// How long a new listener waits for the feed to be live before it is reported as not live.
const FIRST_STATE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the feed checks that it has listeners and a connection, and retries without one.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Time limit of one attempt to follow the stream.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(3);

/// Time limit of a search for a player's events.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);

/// How often JetStream reports that it has nothing to deliver. After two silent intervals the
/// consumer is created again.
const IDLE_HEARTBEAT: Duration = Duration::from_secs(1);

/// How long JetStream keeps the consumer of a process that has ended.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);

/// The events of all processes, in the stream's order. The consumer exists only while there are
/// listeners.
#[derive(Clone)]
pub struct LiveEvents(Arc<Inner>);

/// One listener's subscription to the feed.
pub struct Listener {
    /// Each event's JSON, from now on.
    pub events: broadcast::Receiver<Bytes>,
    /// Whether events arrive: `false` while NATS is down or the stream cannot be read.
    pub is_live: watch::Receiver<bool>,
}

struct Inner {
    publisher: Publisher,
    events: broadcast::Sender<Bytes>,
    subscriber: Mutex<Option<JoinHandle<()>>>,
    is_live: watch::Sender<bool>,
}

/// A consumer that delivers.
struct FollowedStream {
    messages: pull::Stream,
    position: Position,
}

/// The position of the last event that was received.
#[derive(Clone, Copy)]
struct Position {
    /// When the stream was created: its numbers are meaningless in another stream of the same name.
    created: DateTime,
    sequence: u64,
}

/// Error of following the stream.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("NATS cannot be used, or the stream could not be created")]
    Publish(#[from] PublishError),
    #[error("JetStream did not create a consumer")]
    Consumer(#[from] ConsumerError),
    #[error("the consumer does not deliver")]
    Messages(#[from] StreamError),
}

impl LiveEvents {
    /// Prepares the feed; the consumer is created for the first listener.
    pub fn new(publisher: Publisher) -> Self {
        Self(Arc::new(Inner {
            publisher,
            events: broadcast::Sender::new(MAX_LAG),
            subscriber: Mutex::default(),
            is_live: watch::Sender::default(),
        }))
    }

    /// Subscribes to the events from now on. If the feed is not live within a second, the
    /// listener's state says so.
    pub async fn listen(&self) -> Listener {
        let events = self.start();
        let mut is_live = self.0.is_live.subscribe();
        let _ = timeout(FIRST_STATE_TIMEOUT, is_live.wait_for(|is_live| *is_live)).await;
        Listener { events, is_live }
    }

    /// Searches the newest events of the stream, at most 10,000, for those of a player.
    ///
    /// # Errors
    /// [`HistoryError`] if the stream cannot be read within 3 s.
    pub async fn history(&self, player: &PlayerId) -> Result<EventHistory, HistoryError> {
        let search = timeout(SEARCH_TIMEOUT, history::search(&self.0.publisher, player));
        search.await.unwrap_or(Err(HistoryError::TimedOut))
    }

    fn start(&self) -> broadcast::Receiver<Bytes> {
        let mut subscriber = self
            .0
            .subscriber
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let receiver = self.0.events.subscribe();
        // The first listener starts the task; it ends by itself after the last one.
        if subscriber.as_ref().is_none_or(JoinHandle::is_finished) {
            let live = Arc::clone(&self.0);
            let forwarding =
                async move { supervise("live-events", || forward(Arc::clone(&live))).await };
            *subscriber = Some(tokio::spawn(forwarding));
        }
        receiver
    }
}

impl Inner {
    /// Whether no listener is left. If so, the next listener starts the feed again.
    fn has_ended(&self) -> bool {
        // The lock keeps a new listener from joining between the check and the end.
        let mut subscriber = self
            .subscriber
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let has_ended = self.events.receiver_count() == 0;
        if has_ended {
            *subscriber = None;
            self.is_live.send_replace(false);
        }
        has_ended
    }

    fn set_live(&self, is_live: bool) {
        self.is_live
            .send_if_modified(|was_live| std::mem::replace(was_live, is_live) != is_live);
    }
}

/// Forwards the stream's events while there are listeners.
async fn forward(live: Arc<Inner>) {
    let mut upkeep = interval(UPKEEP_INTERVAL);
    let mut feed: Option<FollowedStream> = None;
    let mut position = None;
    live.set_live(false);
    loop {
        tokio::select! {
            body = next(&mut feed) => match body {
                Some(body) => _ = live.events.send(body), // the last listener may just have left
                None => {
                    feed = None;
                    // Retried at the next tick: NATS 2.9 corrupts a stream that is created while
                    // its namesake is deleted.
                    upkeep.reset();
                }
            },
            _ = upkeep.tick() => {
                if live.has_ended() {
                    return;
                }
                if !live.publisher.is_connected().await {
                    feed = None;
                }
                if feed.is_none() {
                    live.set_live(false);
                    feed = follow(&live.publisher, position).await;
                }
            }
        }
        live.set_live(feed.is_some());
        if let Some(feed) = &feed {
            position = Some(feed.position);
        }
    }
}

/// Waits for the next event. `None` if the consumer broke. Without a feed it never returns.
async fn next(feed: &mut Option<FollowedStream>) -> Option<Bytes> {
    let Some(feed) = feed else {
        return std::future::pending().await;
    };
    let message = feed.messages.next().await?.ok()?;
    feed.position.sequence = message.info().ok()?.stream_sequence;
    Some(message.message.payload)
}

async fn follow(publisher: &Publisher, position: Option<Position>) -> Option<FollowedStream> {
    match timeout(FOLLOW_TIMEOUT, create_consumer(publisher, position)).await {
        Ok(Ok(feed)) => Some(feed),
        Ok(Err(error)) => {
            tracing::debug!(error = &error as &dyn Error, "events cannot be followed");
            None
        }
        Err(_) => None,
    }
}

/// Creates a consumer of the stream. A plain subscription would deliver events that are published
/// twice, and miss those that are published while it is disconnected.
async fn create_consumer(
    publisher: &Publisher,
    position: Option<Position>,
) -> Result<FollowedStream, FeedError> {
    let stream = publisher.stream().await?;
    let (deliver_policy, position) = start(stream.cached_info(), position);
    let consumer = stream.create_consumer(pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject: publisher.subject().to_owned(),
        inactive_threshold: INACTIVE_THRESHOLD,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    });
    let messages = consumer
        .await?
        .stream()
        .heartbeat(IDLE_HEARTBEAT)
        .messages()
        .await?;
    Ok(FollowedStream { messages, position })
}

/// The start of a consumer: behind the last event that was received; at the first event if the
/// stream was created again; at the next event if none was received yet.
fn start(info: &Info, position: Option<Position>) -> (DeliverPolicy, Position) {
    let end = Position {
        created: info.created,
        sequence: info.state.last_sequence,
    };
    match position {
        None => (DeliverPolicy::New, end),
        Some(seen) if seen.created == end.created && seen.sequence <= end.sequence => (
            DeliverPolicy::ByStartSequence {
                start_sequence: seen.sequence + 1,
            },
            seen,
        ),
        Some(_) => (DeliverPolicy::All, Position { sequence: 0, ..end }),
    }
}
