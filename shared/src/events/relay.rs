//! The relay, which publishes the events of the outbox, oldest first.

use std::{
    collections::BTreeSet,
    ops::Add,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{AttemptPolicy, Backlog, Oldest, Publisher, RelaySignal};
use crate::{
    redis::{Shard, StoreError, episodes},
    store::{OutboxBacklog, Store, Task, Turn, while_node_replies},
    telemetry::metrics::EVENTS_DROPPED,
};

/// The number of events that are read from an outbox at a time.
const PAGE: usize = 512;

/// Publishes the events that wait in the outbox. Any number of relays may run: an event that two of
/// them publish is in the stream once.
#[derive(Clone)]
pub struct Relay {
    store: Store,
    publisher: Publisher,
    retention: Duration,
    backlog: Backlog,
    total: Arc<Mutex<Relayed>>,
    /// Shards with events that could not be published.
    left: Arc<Mutex<BTreeSet<Shard>>>,
}

/// Counts of a relay's work.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Relayed {
    /// Events that JetStream acknowledged.
    pub published: u64,
    /// Events that were dropped: older than the retention and therefore worthless, malformed, or
    /// refused permanently.
    pub dropped: u64,
}

/// The work done in one shard, and the error that ended it, if any.
type Part = (Relayed, Option<StoreError>);

impl Relay {
    /// Creates a relay from the outbox of `store` to `publisher`. It drops events that are older
    /// than `retention`, and each pass records in `backlog` how long events wait.
    pub fn new(store: Store, publisher: Publisher, retention: Duration, backlog: Backlog) -> Self {
        Self {
            store,
            publisher,
            retention,
            backlog,
            total: Arc::default(),
            left: Arc::default(),
        }
    }

    /// Publishes the events of the outbox, and removes those that JetStream acknowledged. While
    /// NATS is down, it only drops old events.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not respond. The events of the other nodes are still
    /// published, and counted in [`total`](Self::total).
    pub async fn pass(&self) -> Result<Relayed, StoreError> {
        let waiting = self.store.waiting_shards().await;
        self.backlog.record(Oldest::of(&waiting));
        let nodes = self
            .store
            .by_node(waiting.values, |waiting| waiting.shard)
            .await;
        let parts = join_all(
            nodes
                .into_iter()
                .map(|node| while_node_replies(node, |waiting| self.relay(waiting))),
        )
        .await;
        let published = sum(parts);
        if let Some(error) = waiting.error {
            return Err(error);
        }
        let relayed = published?;
        // The health check of every server reads this record.
        if self.store.takes_turns() && self.left().is_empty() {
            self.store.note_relay().await?;
        }
        Ok(relayed)
    }

    /// Publishes events as soon as `signal` reports them, and the whole outbox at every `interval`,
    /// indefinitely.
    pub async fn run(&self, signal: &RelaySignal, interval: Duration) {
        let mut next_check = Instant::now() + self.check_interval(interval);
        let mut result = self.pass().await.map(drop);
        loop {
            if let Err(error) = result {
                episodes::pass_failed(&error, "relay failed; events wait in the outbox");
                sleep_until(next_check).await;
            }
            result = tokio::select! {
                shards = signal.notified() => self.publish_shards(shards).await,
                () = sleep_until(next_check) => self.check(interval, &mut next_check).await,
            };
        }
    }

    /// Publishes the events of shards in which an earlier attempt failed, and the whole outbox if
    /// it is this relay's turn. Sets the time of the next check.
    async fn check(&self, interval: Duration, next_check: &mut Instant) -> Result<(), StoreError> {
        let began = Instant::now();
        let check_interval = self.check_interval(interval);
        *next_check = began + check_interval;
        let mut published = Ok(());
        if self.store.takes_turns() {
            let left = self.left().clone();
            published = self.publish_shards(left).await;
            // A relay that is cut off from NATS lets others go first.
            let may_publish = self.publisher.may_publish(AttemptPolicy::RELAY);
            let turn_interval = if may_publish {
                check_interval
            } else {
                2 * check_interval
            };
            let turn = self
                .store
                .take_turn(Task::Relay, turn_interval, interval / 4)
                .await;
            if let Ok(Turn::Later(wait)) = turn {
                *next_check = Instant::now() + wait.min(check_interval);
                return published;
            }
            *next_check = Instant::now() + check_interval;
        }
        self.pass().await.and(published)
    }

    /// The time between two checks of all outboxes. If relays take turns, one that dies delays the
    /// next check by a quarter of `interval`, so that both together stay within it.
    fn check_interval(&self, interval: Duration) -> Duration {
        if self.store.takes_turns() {
            interval * 3 / 4
        } else {
            interval
        }
    }

    /// The counts of this relay and its clones since they were created.
    pub fn total(&self) -> Relayed {
        self.total.lock().map(|total| *total).unwrap_or_default()
    }

    fn count(&self, relayed: Relayed) {
        if let Ok(mut total) = self.total.lock() {
            *total = *total + relayed;
        }
    }

    async fn relay(&self, waiting: OutboxBacklog) -> Part {
        let dropped = match self.drop_older(waiting).await {
            Ok(dropped) => Relayed {
                published: 0,
                dropped,
            },
            Err(error) => return (Relayed::default(), Some(error)),
        };
        let (published, failure) = self.publish(waiting.shard).await;
        (published + dropped, failure)
    }

    async fn publish_shards(&self, shards: BTreeSet<Shard>) -> Result<(), StoreError> {
        // Every shard counts as left until its outbox is empty, so that those of a failed node are
        // not forgotten.
        self.left().extend(&shards);
        let nodes = self.store.by_node(shards, |shard| *shard).await;
        let parts = join_all(
            nodes
                .into_iter()
                .map(|node| while_node_replies(node, |shard| self.publish(shard))),
        )
        .await;
        sum(parts).map(drop)
    }

    /// Publishes the events of one outbox, and remembers the shard if events are left.
    async fn publish(&self, shard: Shard) -> Part {
        let mut total = Relayed::default();
        let is_empty = self.publish_until_empty(shard, &mut total).await;
        let mut left = self.left();
        match is_empty {
            Ok(true) => _ = left.remove(&shard),
            Ok(false) | Err(_) => _ = left.insert(shard),
        }
        (total, is_empty.err())
    }

    /// Publishes the events of one outbox. Returns whether none is left.
    async fn publish_until_empty(
        &self,
        shard: Shard,
        total: &mut Relayed,
    ) -> Result<bool, StoreError> {
        while self.publisher.may_publish(AttemptPolicy::RELAY) {
            let page = self.store.outbox(shard, PAGE).await?;
            let published = self.publisher.publish(&page, AttemptPolicy::RELAY).await;
            let done = published.done();
            self.store.remove_done(&done).await?;
            let relayed = Relayed {
                published: published.acknowledged.len() as u64,
                dropped: published.dropped.len() as u64,
            };
            self.count(relayed);
            *total = *total + relayed;
            // A short page is the last one.
            if page.len() < PAGE {
                return Ok(done.len() == page.len());
            }
        }
        Ok(false)
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<Shard>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drop_older(&self, waiting: OutboxBacklog) -> Result<u64, StoreError> {
        if waiting.age() <= self.retention {
            return Ok(0);
        }
        let dropped = self.store.drop_older(waiting, self.retention).await?;
        if dropped > 0 {
            metrics::counter!(EVENTS_DROPPED).increment(dropped);
            self.count(Relayed {
                published: 0,
                dropped,
            });
            tracing::warn!(
                dropped,
                "events were older than the retention, and are lost"
            );
        }
        Ok(dropped)
    }
}

impl Add for Relayed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            published: self.published + other.published,
            dropped: self.dropped + other.dropped,
        }
    }
}

/// Adds up the work in all shards of all nodes. If there were errors, returns the first.
fn sum(nodes: Vec<Vec<Part>>) -> Result<Relayed, StoreError> {
    nodes.into_iter().flatten().try_fold(
        Relayed::default(),
        |sum, (relayed, failure)| match failure {
            None => Ok(sum + relayed),
            Some(error) => Err(error),
        },
    )
}
