//! The relay: publishes what waits in the outbox, oldest first.

use std::{ops::Add, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::Publisher;
use crate::{
    repository::{Repository, SHARDS_AT_A_TIME, Shard, StoreError},
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
}

/// What a pass of the relay did.
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
        Self { repository, publisher, retention }
    }

    /// Publishes what waits in the outbox, and strikes what JetStream acknowledged. With NATS away it changes nothing
    /// but what is dropped.
    ///
    /// # Errors
    /// [`StoreError`] where Redis did not answer.
    pub async fn pass(&self) -> Result<Relayed, StoreError> {
        let shards = stream::iter(self.repository.shards()).map(|shard| self.relay(shard));
        shards
            .buffer_unordered(SHARDS_AT_A_TIME)
            .try_fold(Relayed::default(), async |sum, relayed| Ok(sum + relayed))
            .await
    }

    async fn relay(&self, shard: Shard) -> Result<Relayed, StoreError> {
        let dropped = self.repository.drop_older(shard, self.retention).await?;
        if dropped > 0 {
            metrics::counter!(EVENTS_DROPPED).increment(dropped);
            tracing::warn!(dropped, "events were older than the retention, and are lost");
        }
        let mut published = 0;
        loop {
            let page = self.repository.outbox(shard, PAGE).await?;
            let acknowledged = self.publisher.publish(&page, PAGE_LIMIT).await;
            self.repository.strike(&acknowledged).await?;
            published += acknowledged.len() as u64;
            if page.len() < PAGE || acknowledged.len() < page.len() {
                return Ok(Relayed { published, dropped });
            }
        }
    }
}

impl Add for Relayed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { published: self.published + other.published, dropped: self.dropped + other.dropped }
    }
}
