//! The relay: publishes what waits in the outbox, oldest first.

use std::{
    collections::BTreeSet,
    ops::Add,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::{Publisher, RelaySignal};
use crate::{
    repository::{Repository, SHARDS_AT_A_TIME, Shard, StoreError, Waiting},
    telemetry::metrics::EVENTS_DROPPED,
};

/// The number of events read from an outbox at a time.
const PAGE: usize = 512;

/// How long the publishing of a page may take.
const PAGE_LIMIT: Duration = Duration::from_secs(3);

/// Publishes the events that nobody else has published. Any number of relays may run: an event that two of them publish
/// stands in the stream once.
#[derive(Clone)]
pub struct Relay {
    repository: Repository,
    publisher: Publisher,
    retention: Duration,
    total: Arc<Mutex<Relayed>>,
}

/// What a relay did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Relayed {
    /// Events that JetStream acknowledged.
    pub published: u64,
    /// Events that were older than the retention: worthless, and dropped.
    pub dropped: u64,
}

impl Relay {
    /// A relay from the outbox of `repository`; events older than `retention` are dropped.
    pub fn new(repository: Repository, publisher: Publisher, retention: Duration) -> Self {
        Self { repository, publisher, retention, total: Arc::default() }
    }

    /// Publishes what waits in the outbox, and strikes what JetStream acknowledged. With NATS away it changes nothing
    /// but what is dropped.
    ///
    /// # Errors
    /// [`StoreError`] where Redis did not answer.
    pub async fn pass(&self) -> Result<Relayed, StoreError> {
        let waiting = self.repository.waiting_shards().await;
        let relays = stream::iter(waiting.found).map(|waiting| self.relay(waiting));
        let sum = async |sum, relayed| Ok(sum + relayed);
        let relayed = relays.buffer_unordered(SHARDS_AT_A_TIME).try_fold(Relayed::default(), sum).await?;
        match waiting.failure {
            None => Ok(relayed),
            Some(error) => Err(error),
        }
    }

    /// Publishes events as soon as `signal` tells of them, and at every `interval` all that waits. Goes on for ever.
    pub async fn run(&self, signal: &RelaySignal, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let result = tokio::select! {
                shards = signal.told() => self.publish_all(shards).await,
                _ = ticks.tick() => self.pass().await.map(drop),
            };
            if let Err(error) = result {
                tracing::error!(error = &error as &dyn std::error::Error, "relay failed; events wait");
                ticks.tick().await;
            }
        }
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

    async fn relay(&self, waiting: Waiting) -> Result<Relayed, StoreError> {
        let dropped = if waiting.age() > self.retention { self.drop_older(waiting).await? } else { 0 };
        Ok(Relayed { published: self.publish(waiting.shard).await?, dropped })
    }

    async fn publish_all(&self, shards: BTreeSet<Shard>) -> Result<(), StoreError> {
        let shards = stream::iter(shards).map(|shard| self.publish(shard));
        shards.buffer_unordered(SHARDS_AT_A_TIME).try_fold(0, async |sum, published| Ok(sum + published)).await?;
        Ok(())
    }

    /// Publishes what waits in one outbox, and returns the number of events.
    async fn publish(&self, shard: Shard) -> Result<u64, StoreError> {
        let mut published = 0;
        while self.publisher.is_ready() {
            let page = self.repository.outbox(shard, PAGE).await?;
            let acknowledged = self.publisher.publish(&page, PAGE_LIMIT).await;
            self.repository.strike(&acknowledged).await?;
            published += acknowledged.len() as u64;
            self.count(Relayed { published: acknowledged.len() as u64, dropped: 0 });
            if page.len() < PAGE {
                break;
            }
        }
        Ok(published)
    }

    async fn drop_older(&self, waiting: Waiting) -> Result<u64, StoreError> {
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
