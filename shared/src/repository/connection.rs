//! The connection to Redis: lazy, shared, healed by itself, and bounded in time.

use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::time::Instant;

use super::{
    StoreError,
    cluster::Cluster,
    keys::Shard,
    link::{Repeat, Role},
    node::{Clock, Node, Sending, Slots, Timed},
};
use crate::config::{RedisConfig, RedisMode};

/// A Redis server or a Redis Cluster.
#[derive(Clone)]
pub(crate) struct Connection {
    topology: Topology,
    limit: Duration,
}

#[derive(Clone)]
enum Topology {
    Standalone(Node),
    Cluster(Cluster),
}

impl Connection {
    /// Prepares the connection. Nothing is sent before the first query. Needs a tokio runtime.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let limit = config.timeout;
        let topology = match config.mode {
            RedisMode::Standalone => {
                let url = config.urls.first().ok_or((redis::ErrorKind::InvalidClientConfig, "no Redis URL"))?;
                Topology::Standalone(Node::new(url.clone(), config.tokens.as_ref(), Role::Primary, limit)?)
            }
            RedisMode::Cluster => Topology::Cluster(Cluster::new(config.urls.clone(), config.tokens.clone(), limit)),
        };
        Ok(Self { topology, limit })
    }

    /// Sends one command, which may be repeated, to the node that holds `shard` and waits for its answer. Calls made at
    /// the same time share a round trip.
    pub(crate) async fn query(&self, shard: Shard, command: &Cmd) -> Result<Value, StoreError> {
        self.query_with(Repeat::Allowed, shard, command).await
    }

    /// Sends one command to the node that holds `shard` and waits for its answer; sends it again only as `repeat` says.
    pub(crate) async fn query_with(&self, repeat: Repeat, shard: Shard, command: &Cmd) -> Result<Value, StoreError> {
        match &self.topology {
            Topology::Standalone(node) => node.query(command, repeat, Instant::now() + self.limit).await,
            // Boxed, here and below: it is large, and is not to be moved about where it is not in use.
            Topology::Cluster(cluster) => Box::pin(cluster.query(repeat, shard, command)).await,
        }
    }

    /// Sends commands, which may be repeated, each to the node that holds its shard, in one round trip to each node
    /// involved.
    pub(crate) async fn query_all(&self, commands: &[(Shard, Cmd)]) -> Vec<Result<Value, StoreError>> {
        let answers = self.send(Clock::Unread, commands).await;
        answers.into_iter().map(|answer| answer.map(|(value, _)| value)).collect()
    }

    /// Sends commands as [`query_all`](Self::query_all) does, and reads each node's clock.
    pub(crate) async fn query_all_timed(&self, commands: &[(Shard, Cmd)]) -> Vec<Result<Timed, StoreError>> {
        self.send(Clock::Read, commands).await
    }

    /// A shard of each node: of a server's only one, or of a cluster's masters.
    pub(crate) async fn shard_of_each_node(&self) -> Result<Vec<Shard>, StoreError> {
        match &self.topology {
            Topology::Standalone(_) => Ok(vec![Shard::FIRST]),
            Topology::Cluster(cluster) => cluster.shard_of_each_master().await,
        }
    }

    /// Sends a command to every node: a server's only one, or a cluster's masters. Nodes may refuse it.
    pub(crate) async fn query_nodes(&self, command: &Cmd) -> Vec<Result<Value, StoreError>> {
        match &self.topology {
            Topology::Standalone(node) => vec![node.query_optional(command, Instant::now() + self.limit).await],
            Topology::Cluster(cluster) => cluster.query_masters(command).await,
        }
    }

    async fn send(&self, clock: Clock, commands: &[(Shard, Cmd)]) -> Vec<Result<Timed, StoreError>> {
        if commands.is_empty() {
            return Vec::new();
        }
        let node = match &self.topology {
            Topology::Standalone(node) => node,
            Topology::Cluster(cluster) => {
                return Box::pin(cluster.query_all(clock, Repeat::Allowed, commands)).await;
            }
        };
        let deadline = Instant::now() + self.limit;
        let sending = Sending { clock, slots: Slots::Held, repeat: Repeat::Allowed, deadline };
        match node.query_all(&sending, commands.iter().map(|(_, command)| command)).await {
            Ok(answers) => node.timed(answers).collect(),
            Err(error) => vec![Err(error); commands.len()],
        }
    }
}
