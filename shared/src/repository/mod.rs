//! Players in Redis: keys, scripts and replies.
//!
//! Methods that change players are crate-private: only the use cases and the sweeps call them.

mod batch;
mod cluster;
mod concat_arg;
mod connection;
mod dataset;
pub(crate) mod episodes;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateway_list;
mod gateways;
mod heartbeat_batcher;
mod hedged;
mod in_flight;
mod keys;
mod layout;
mod link;
mod mutate;
mod node;
mod outbox;
mod owners;
mod partial;
mod past;
mod per_node;
mod policy;
mod probe;
mod read;
mod read_each;
mod record;
mod reply;
mod scripts;
mod slot_map;
mod survey;
mod sweep;
mod tokens;
mod topology;
mod turn;

pub(crate) use batch::AppliedBatch;
pub(crate) use dataset::Dataset;
pub use error::{RedisFault, StoreError, StoreFailure};
pub(crate) use gateways::{Ending, LostGateways};
pub(crate) use mutate::{LeaseOutcome, Mutation, StateOutcome};
pub(crate) use outbox::Waiting;
pub(crate) use partial::Partial;
pub(crate) use per_node::while_node_answers;
pub use read::Snapshot;
pub(crate) use read_each::Sighting;
pub(crate) use reply::OutboxEntry;
use reply::Outcome;

use crate::config::Config;
use connection::Connection;
use heartbeat_batcher::HeartbeatBatcher;
use keys::Keys;
pub(crate) use keys::Shard;
pub(crate) use sweep::Expired;
pub(crate) use turn::{Task, Turn};

/// The players in one Redis: standalone, watched by Sentinels, or a cluster.
#[derive(Clone)]
pub struct Repository {
    connection: Connection,
    keys: Keys,
    ttl: u64,
    retention: u64,
    grace: u64,
    move_grace: u64,
    gateway_ttl: u64,
    /// The pause between two looks for lost gateways from which on it counts as an outage.
    gateway_outage: u64,
    /// The part of each script call that the configuration determines: see `lua/lib/call.lua`.
    call_context: String,
    /// Whether transitions leave an event in the outbox.
    has_outbox: bool,
    heartbeats: HeartbeatBatcher,
}

impl Repository {
    /// Prepares the connection, which the first call opens. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] if the URL cannot be used, such as `rediss://` with a broken certificate store.
    pub fn new(config: &Config) -> Result<Self, StoreError> {
        let to_millis = |duration: std::time::Duration| duration.as_millis() as u64;
        let retention = to_millis(config.lifetimes.last_seen_retention);
        let call_context = [retention, config.limits.max_connections.into()];
        let keys = Keys::new(config.redis.key_prefix.clone(), config.redis.partitions);
        Ok(Self {
            connection: Connection::new(&config.redis, &keys)?,
            keys,
            ttl: to_millis(config.lifetimes.ttl),
            retention,
            grace: to_millis(config.lifetimes.offline_grace),
            move_grace: to_millis(config.lifetimes.move_grace),
            gateway_ttl: to_millis(config.lifetimes.gateway_ttl),
            gateway_outage: to_millis(config.lifetimes.gateway_ttl.max(config.lifetimes.sweep_interval * 3 / 2)),
            call_context: call_context.map(|value| format!("{value} ")).concat(),
            has_outbox: config.events.is_some(),
            heartbeats: HeartbeatBatcher::default(),
        })
    }

    /// Checks that a cluster's data is spread over the configured number of partitions.
    ///
    /// # Errors
    /// [`StoreError::Partitions`] if it is not. If Redis does not answer, the check passes.
    pub(crate) async fn check_layout(&self) -> Result<(), StoreError> {
        self.connection.check_layout().await
    }
}
