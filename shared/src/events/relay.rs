//! The relay: publishes what waits in the outbox, oldest first.

use std::{
    collections::BTreeSet,
    ops::Add,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{Backlog, Oldest, Patience, Publisher, RelaySignal};
use crate::{
    repository::{Repository, Shard, StoreError, Task, Turn, Waiting, episodes, while_node_answers},
    telemetry::metrics::EVENTS_DROPPED,
};

/// The number of events read from an outbox at a time.
const PAGE: usize = 512;

/// Publishes the events that nobody else has published. Any number of relays may run: an event that two of them publish
/// stands in the stream once.
#[derive(Clone)]
pub struct Relay {
    repository: Repository,
    publisher: Publisher,
    retention: Duration,
    backlog: Backlog,
    total: Arc<Mutex<Relayed>>,
    /// Shards with events that could not be published.
    left: Arc<Mutex<BTreeSet<Shard>>>,
}

/// What a relay did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Relayed {
    /// Events that JetStream acknowledged.
    pub published: u64,
    /// Events that were dropped: older than the retention and so worthless, malformed, or refused for good.
    pub dropped: u64,
}

/// What was done in a shard, and what went wrong there.
type Part = (Relayed, Option<StoreError>);

impl Relay {
    /// A relay from the outbox of `repository`; events older than `retention` are dropped. Each pass records in `backlog` how
    /// long events wait.
    pub fn new(repository: Repository, publisher: Publisher, retention: Duration, backlog: Backlog) -> Self {
        Self { repository, publisher, retention, backlog, total: Arc::default(), left: Arc::default() }
    }

    /// Publishes what waits in the outbox, and removes what JetStream acknowledged. With NATS down it changes nothing but
    /// what is dropped.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not answer. The events of the others are published all the same, and counted in
    /// [`total`](Self::total).
    pub async fn pass(&self) -> Result<Relayed, StoreError> {
        let waiting = self.repository.waiting_shards().await;
        self.backlog.record(Oldest::of(&waiting));
        let nodes = self.repository.by_node(waiting.found, |waiting| waiting.shard).await;
        let parts =
            join_all(nodes.into_iter().map(|node| while_node_answers(node, |waiting| self.relay(waiting)))).await;
        let relayed = sum(parts);
        if let Some(error) = waiting.failure {
            return Err(error);
        }
        let relayed = relayed?;
        if self.repository.takes_turns() && self.left().is_empty() {
            self.repository.note_relay().await?;
        }
        Ok(relayed)
    }

    /// Publishes events as soon as `signal` reports them, and at every `interval` all that waits, indefinitely.
    pub async fn run(&self, signal: &RelaySignal, interval: Duration) {
        let mut next_look = Instant::now() + self.pace(interval);
        let mut result = self.pass().await.map(drop);
        loop {
            if let Err(error) = result {
                episodes::pass_failed(&error, "relay failed; events wait");
                sleep_until(next_look).await;
            }
            result = tokio::select! {
                shards = signal.told() => self.publish_all(shards).await,
                () = sleep_until(next_look) => self.look(interval, &mut next_look).await,
            };
        }
    }

    /// Publishes what could not be published before, and all that waits if it is this relay's turn. Sets the time of the
    /// next look.
    async fn look(&self, interval: Duration, next_look: &mut Instant) -> Result<(), StoreError> {
        let began = Instant::now();
        let pace = self.pace(interval);
        *next_look = began + pace;
        let mut published = Ok(());
        if self.repository.takes_turns() {
            let left = self.left().clone();
            published = self.publish_all(left).await;
            // One that is cut off from NATS lets others go first.
            let is_ready = self.publisher.is_ready(Patience::RELAY);
            let turn_interval = if is_ready { pace } else { 2 * pace };
            let turn = self.repository.take_turn(Task::Relay, turn_interval, interval / 4).await;
            if let Ok(Turn::Later(wait)) = turn {
                *next_look = Instant::now() + wait.min(pace);
                return published;
            }
            *next_look = Instant::now() + pace;
        }
        self.pass().await.and(published)
    }

    /// The time between two looks at all outboxes. Where relays take turns, one that dies delays the next look by a quarter
    /// of `interval`; both together are within it.
    fn pace(&self, interval: Duration) -> Duration {
        if self.repository.takes_turns() { interval * 3 / 4 } else { interval }
    }

    /// What this relay, and its clones, have done so far.
    pub fn total(&self) -> Relayed {
        self.total.lock().map(|total| *total).unwrap_or_default()
    }

    fn count(&self, relayed: Relayed) {
        if let Ok(mut total) = self.total.lock() {
            *total = *total + relayed;
        }
    }

    async fn relay(&self, waiting: Waiting) -> Part {
        let dropped = match self.drop_older(waiting).await {
            Ok(dropped) => Relayed { published: 0, dropped },
            Err(error) => return (Relayed::default(), Some(error)),
        };
        let (published, failure) = self.publish(waiting.shard).await;
        (published + dropped, failure)
    }

    async fn publish_all(&self, shards: BTreeSet<Shard>) -> Result<(), StoreError> {
        // Those that are left out because their node failed are not forgotten.
        self.left().extend(&shards);
        let nodes = self.repository.by_node(shards, |shard| *shard).await;
        let parts = join_all(nodes.into_iter().map(|node| while_node_answers(node, |shard| self.publish(shard)))).await;
        sum(parts).map(drop)
    }

    /// Publishes what waits in one outbox, and remembers it if something is left.
    async fn publish(&self, shard: Shard) -> Part {
        let mut total = Relayed::default();
        let is_empty = self.drain(shard, &mut total).await;
        let mut left = self.left();
        match is_empty {
            Ok(true) => _ = left.remove(&shard),
            Ok(false) | Err(_) => _ = left.insert(shard),
        }
        (total, is_empty.err())
    }

    /// Publishes what waits in one outbox. Returns whether that was everything.
    async fn drain(&self, shard: Shard, total: &mut Relayed) -> Result<bool, StoreError> {
        while self.publisher.is_ready(Patience::RELAY) {
            let page = self.repository.outbox(shard, PAGE).await?;
            let published = self.publisher.publish(&page, Patience::RELAY).await;
            let done = published.all();
            self.repository.strike(&done).await?;
            let relayed =
                Relayed { published: published.acknowledged.len() as u64, dropped: published.dropped.len() as u64 };
            self.count(relayed);
            *total = *total + relayed;
            if page.len() < PAGE {
                return Ok(done.len() == page.len());
            }
        }
        Ok(false)
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<Shard>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drop_older(&self, waiting: Waiting) -> Result<u64, StoreError> {
        if waiting.age() <= self.retention {
            return Ok(0);
        }
        let dropped = self.repository.drop_older(waiting, self.retention).await?;
        if dropped > 0 {
            metrics::counter!(EVENTS_DROPPED).increment(dropped);
            self.count(Relayed { published: 0, dropped });
            tracing::warn!(dropped, "events were older than the retention, and are lost");
        }
        Ok(dropped)
    }
}

impl Add for Relayed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { published: self.published + other.published, dropped: self.dropped + other.dropped }
    }
}

/// What was done for the shards of all nodes together, or one of the failures.
fn sum(nodes: Vec<Vec<Part>>) -> Result<Relayed, StoreError> {
    nodes.into_iter().flatten().try_fold(Relayed::default(), |sum, (relayed, failure)| match failure {
        None => Ok(sum + relayed),
        Some(error) => Err(error),
    })
}
