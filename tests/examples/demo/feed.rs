//! A reader of the event stream from its first message, which survives restarts of NATS.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures_util::StreamExt as _;
use presence_client::{State, operator::PresenceEvent};
use tokio::{sync::Notify, time::timeout};

pub(crate) const STREAM: &str = "PRESENCE_EVENTS";

/// How long one request waits for messages, and the pause before the next attempt.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The time limit of one call to NATS.
const NATS_TIMEOUT: Duration = Duration::from_secs(2);

/// All events received so far. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<Inner>);

#[derive(Default)]
struct Inner {
    events: Mutex<Vec<PresenceEvent>>,
    grew: Notify,
}

impl Feed {
    /// Follows the stream until the process ends.
    pub(crate) fn follow(nats: String) -> Self {
        let feed = Self::default();
        let following = feed.clone();
        tokio::spawn(async move {
            let mut last = 0;
            loop {
                if following.read(&nats, &mut last).await.is_none() {
                    tokio::time::sleep(POLL_INTERVAL).await; // no stream yet, or NATS is down
                }
            }
        });
        feed
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<PresenceEvent>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are `count` events.
    pub(crate) async fn reached(&self, count: usize) {
        loop {
            let grew = self.0.grew.notified();
            if self.events().len() >= count {
                return;
            }
            grew.await;
        }
    }

    /// The number of players per state, according to the events.
    pub(crate) fn states(&self) -> HashMap<State, usize> {
        let events = self.events();
        let mut players = HashMap::<_, &PresenceEvent>::new();
        for event in events.iter() {
            let latest = players.entry(&event.player_id).or_insert(event);
            if event.version > latest.version {
                *latest = event;
            }
        }
        let mut states = HashMap::new();
        for event in players.values() {
            *states.entry(event.state).or_default() += 1;
        }
        states
    }

    /// Reads the messages after `last` until a call fails.
    async fn read(&self, nats: &str, last: &mut u64) -> Option<()> {
        let client = timeout(NATS_TIMEOUT, async_nats::connect(nats))
            .await
            .ok()?
            .ok()?;
        let stream = timeout(NATS_TIMEOUT, jetstream::new(client).get_stream(STREAM))
            .await
            .ok()?
            .ok()?;
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: *last + 1,
            },
            ..pull::Config::default()
        };
        let consumer = timeout(NATS_TIMEOUT, stream.create_consumer(config))
            .await
            .ok()?
            .ok()?;
        loop {
            let request = consumer
                .batch()
                .max_messages(500)
                .expires(POLL_INTERVAL)
                .messages();
            let mut batch = timeout(NATS_TIMEOUT, request).await.ok()?.ok()?;
            while let Some(message) = timeout(NATS_TIMEOUT, batch.next()).await.ok()? {
                let message = message.ok()?;
                *last = message.info().ok()?.stream_sequence;
                self.events()
                    .push(serde_json::from_slice(&message.payload).ok()?);
                self.0.grew.notify_waiters();
            }
        }
    }
}
