//! The event stream, followed from its beginning, whatever happens to NATS meanwhile.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::{sync::Notify, time::timeout};

pub(crate) const STREAM: &str = "PRESENCE_EVENTS";

/// How long to wait for more, and for NATS, before asking anew.
const PATIENCE: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(2);

/// An event, as far as the demo looks at it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) player_id: String,
    pub(crate) state: String,
    pub(crate) previous_state: String,
    pub(crate) reason: String,
    pub(crate) version: u64,
    pub(crate) occurred_at: u64,
}

/// The events so far, which grow as they come. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Feed(Arc<Inner>);

#[derive(Default)]
struct Inner {
    events: Mutex<Vec<Event>>,
    grew: Notify,
}

impl Feed {
    /// Follows the stream, for as long as the process lives.
    pub(crate) fn follow(nats: String) -> Self {
        let feed = Self::default();
        let following = feed.clone();
        tokio::spawn(async move {
            let mut last = 0;
            loop {
                if following.read(&nats, &mut last).await.is_none() {
                    tokio::time::sleep(PATIENCE).await; // no stream yet, or no NATS
                }
            }
        });
        feed
    }

    pub(crate) fn events(&self) -> MutexGuard<'_, Vec<Event>> {
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

    /// How many players there are by state, as far as the events tell.
    pub(crate) fn states(&self) -> BTreeMap<String, usize> {
        let events = self.events();
        let mut players = BTreeMap::<&str, (u64, &str)>::new();
        for event in events.iter() {
            let latest = players.entry(&event.player_id).or_default();
            *latest = (*latest).max((event.version, &event.state));
        }
        let mut states = BTreeMap::new();
        for (_, state) in players.values() {
            *states.entry((*state).to_owned()).or_default() += 1;
        }
        states
    }

    /// Reads on after the message `last`, until something fails.
    async fn read(&self, nats: &str, last: &mut u64) -> Option<()> {
        let client = timeout(LIMIT, async_nats::connect(nats)).await.ok()?.ok()?;
        let stream = timeout(LIMIT, jetstream::new(client).get_stream(STREAM)).await.ok()?.ok()?;
        let config = pull::Config {
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *last + 1 },
            ..pull::Config::default()
        };
        let consumer = timeout(LIMIT, stream.create_consumer(config)).await.ok()?.ok()?;
        loop {
            let batch = consumer.batch().max_messages(500).expires(PATIENCE).messages();
            let mut batch = timeout(LIMIT, batch).await.ok()?.ok()?;
            while let Some(message) = timeout(LIMIT, batch.next()).await.ok()? {
                let message = message.ok()?;
                *last = message.info().ok()?.stream_sequence;
                self.events().push(serde_json::from_slice(&message.payload).ok()?);
                self.0.grew.notify_waiters();
            }
        }
    }
}
