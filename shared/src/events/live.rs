//! Events as they come, for whoever looks on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{Message, consumer::pull};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::{
    sync::{broadcast, watch},
    task::JoinHandle,
    time::{interval, timeout},
};

use super::Publisher;
use crate::supervise;

/// How many events a listener may be behind before it misses the oldest.
const WINDOW: usize = 1_024;

/// How long a listener waits for NATS at its start; the events begin as soon as it is there.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// How often to look whether anybody is still listening, and to try again where NATS is away.
const UPKEEP: Duration = Duration::from_secs(1);

/// The events of all processes, as the stream gets them. However many listen, a process has one consumer of it; and none
/// while nobody does.
#[derive(Clone)]
pub struct LiveEvents(Arc<Inner>);

struct Inner {
    publisher: Publisher,
    events: broadcast::Sender<Bytes>,
    subscriber: Mutex<Option<JoinHandle<()>>>,
    is_ready: watch::Sender<bool>,
}

impl LiveEvents {
    /// Prepares; the consumer is made for the first listener.
    pub fn new(publisher: Publisher) -> Self {
        Self(Arc::new(Inner {
            publisher,
            events: broadcast::Sender::new(WINDOW),
            subscriber: Mutex::default(),
            is_ready: watch::Sender::default(),
        }))
    }

    /// Listens: each event's JSON, from now on.
    pub async fn listen(&self) -> broadcast::Receiver<Bytes> {
        let receiver = self.start();
        let mut is_ready = self.0.is_ready.subscribe();
        let _ = timeout(READY_LIMIT, is_ready.wait_for(|is_ready| *is_ready)).await; // if not, it is later
        receiver
    }

    fn start(&self) -> broadcast::Receiver<Bytes> {
        let mut subscriber = self.0.subscriber.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.0.events.subscribe();
        if subscriber.as_ref().is_none_or(JoinHandle::is_finished) {
            let live = Arc::clone(&self.0);
            *subscriber =
                Some(tokio::spawn(async move { supervise("live-events", || forward(Arc::clone(&live))).await }));
        }
        receiver
    }
}

impl Inner {
    /// Whether nobody listens any more. If so, the next one starts anew.
    fn has_ended(&self) -> bool {
        let mut subscriber = self.subscriber.lock().unwrap_or_else(PoisonError::into_inner);
        let has_ended = self.events.receiver_count() == 0;
        if has_ended {
            *subscriber = None;
            self.is_ready.send_replace(false);
        }
        has_ended
    }
}

/// Hands on what NATS has, for as long as anybody listens.
async fn forward(live: Arc<Inner>) {
    let mut upkeep = interval(UPKEEP);
    let mut stream = None;
    loop {
        if stream.is_none() {
            stream = live.publisher.follow().await;
            live.is_ready.send_replace(stream.is_some());
        }
        tokio::select! {
            message = next(&mut stream) => match message {
                Some(Ok(message)) => _ = live.events.send(message.message.payload), // nobody may be listening
                Some(Err(_)) | None => stream = None,
            },
            _ = upkeep.tick() => if live.has_ended() { return },
        }
    }
}

/// The next message; without a stream there is none, and it is tried again after the next upkeep.
async fn next(stream: &mut Option<pull::Ordered>) -> Option<Result<Message, pull::OrderedError>> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}
