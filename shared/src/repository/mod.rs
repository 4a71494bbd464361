//! Players in Redis: keys, scripts and replies.
//!
//! Whatever changes a player is crate-private: only [`PresenceService`](crate::PresenceService) calls it.

mod cluster;
mod connection;
mod dataset;
pub(crate) mod episodes;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateway_list;
mod gateways;
mod hedged;
mod in_flight;
mod joined;
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
mod renewals;
mod reply;
mod scripts;
mod slot_map;
mod survey;
mod sweep;
mod tokens;
mod topology;
mod turn;

pub(crate) use dataset::Dataset;
pub use error::{RedisFault, StoreError, StoreFailure};
pub(crate) use gateways::{Ending, LostGateways};
pub(crate) use mutate::{AppliedBatch, LeaseOutcome, Mutation, StateOutcome};
pub(crate) use outbox::Waiting;
pub(crate) use partial::Partial;
pub(crate) use per_node::while_node_answers;
pub use read::Snapshot;
pub(crate) use read_each::Sighting;
pub(crate) use reply::OutboxEntry;
use reply::Outcome;

use crate::config::Config;
use connection::Connection;
use keys::Keys;
pub(crate) use keys::Shard;
use renewals::Renewals;
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
    /// The pause between two looks for lost gateways that is an outage.
    gateway_outage: u64,
    /// What script calls say of the configuration: see `lua/lib/call.lua`.
    terms: String,
    /// Whether transitions leave an event in the outbox.
    has_outbox: bool,
    renewals: Renewals,
}

impl Repository {
    /// Prepares the connection; it is made by the first call that needs it. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError`] where the URL cannot be used, such as `rediss://` with a broken certificate store.
    pub fn new(config: &Config) -> Result<Self, StoreError> {
        let millis = |duration: std::time::Duration| duration.as_millis() as u64;
        let retention = millis(config.lifetimes.last_seen_retention);
        let terms = [retention, config.limits.max_connections.into()];
        let keys = Keys::new(config.redis.key_prefix.clone(), config.redis.partitions);
        Ok(Self {
            connection: Connection::new(&config.redis, &keys)?,
            keys,
            ttl: millis(config.lifetimes.ttl),
            retention,
            grace: millis(config.lifetimes.offline_grace),
            move_grace: millis(config.lifetimes.move_grace),
            gateway_ttl: millis(config.lifetimes.gateway_ttl),
            gateway_outage: millis(config.lifetimes.gateway_ttl.max(config.lifetimes.sweep_interval * 3 / 2)),
            terms: terms.map(|term| format!("{term} ")).concat(),
            has_outbox: config.events.is_some(),
            renewals: Renewals::default(),
        })
    }

    /// Checks that a cluster's data is spread over the configured number of partitions.
    ///
    /// # Errors
    /// [`StoreError::Partitions`] if it is not. A Redis that does not answer is no error.
    pub(crate) async fn check_layout(&self) -> Result<(), StoreError> {
        self.connection.check_layout().await
    }
}
