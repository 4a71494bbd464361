//! Players in Redis: keys, scripts and replies.
//!
//! Methods that change players are crate-private: only the use cases and the sweeps call them.

mod batch;
mod batch_combiner;
mod dataset;
mod diagnostics;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateway_list;
mod gateways;
mod heartbeat;
mod keys;
mod mutate;
mod outbox;
mod owners;
mod partial_result;
mod past;
mod per_node;
mod probe;
mod read;
mod read_each;
mod record;
mod reply;
mod scripts;
mod sweep;
mod turn;

pub(crate) use batch::AppliedBatch;
pub(crate) use dataset::Dataset;
pub(crate) use gateways::{Ending, LostGateways};
pub(crate) use mutate::{Applied, LeaseOutcome, Mutation, StateOutcome};
pub(crate) use outbox::OutboxBacklog;
pub(crate) use partial_result::PartialResult;
pub(crate) use per_node::while_node_replies;
pub use read::Snapshot;
pub(crate) use read_each::Sighting;
pub(crate) use reply::OutboxEntry;
pub(crate) use sweep::Expired;
pub(crate) use turn::{Task, Turn};

use crate::{
    config::Config,
    redis::{RedisClient, StoreError},
};
use batch_combiner::BatchCombiner;
use heartbeat::HeartbeatBatcher;
use keys::Keys;

/// The players in one Redis: standalone, watched by Sentinels, or a cluster.
#[derive(Clone)]
pub struct Store {
    redis: RedisClient,
    keys: Keys,
    ttl: u64,
    retention: u64,
    grace: u64,
    move_grace: u64,
    gateway_ttl: u64,
    /// Checks for lost gateways that are further apart than this (ms) count as an outage: no
    /// gateway is declared lost after it.
    gateway_outage: u64,
    /// The part of each script call that the configuration determines: see `lua/lib/call.lua`.
    context_head: String,
    /// Whether transitions leave an event in the outbox.
    has_outbox: bool,
    heartbeats: HeartbeatBatcher,
    combiner: BatchCombiner,
}

impl Store {
    /// Prepares the connection, which the first call opens. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] if the URL cannot be used, such as `rediss://` with a broken certificate
    /// store.
    pub fn new(config: &Config) -> Result<Self, StoreError> {
        let to_millis = |duration: std::time::Duration| duration.as_millis() as u64;
        let retention = to_millis(config.lifetimes.last_seen_retention);
        let context_head = [retention, config.limits.max_connections.into()];
        let keys = Keys::new(config.redis.key_prefix.clone(), config.redis.partitions);
        Ok(Self {
            redis: RedisClient::new(&config.redis, keys.partition_count().to_string())?,
            keys,
            ttl: to_millis(config.lifetimes.ttl),
            retention,
            grace: to_millis(config.lifetimes.offline_grace),
            move_grace: to_millis(config.lifetimes.move_grace),
            gateway_ttl: to_millis(config.lifetimes.gateway_ttl),
            gateway_outage: to_millis(
                config
                    .lifetimes
                    .gateway_ttl
                    .max(config.lifetimes.sweep_interval * 3 / 2),
            ),
            context_head: context_head.map(|value| format!("{value} ")).concat(),
            has_outbox: config.events.is_some(),
            heartbeats: HeartbeatBatcher::default(),
            combiner: BatchCombiner::default(),
        })
    }

    /// Checks that a cluster's data is spread over the configured number of partitions.
    ///
    /// # Errors
    /// [`StoreError::Partitions`] if it is not. If Redis does not respond, the check passes.
    pub(crate) async fn check_layout(&self) -> Result<(), StoreError> {
        self.redis.check_layout().await
    }
}
