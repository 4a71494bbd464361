//! The connection to Redis: lazy, shared, healed by itself, and bounded in time.

use std::time::Duration;

use redis::{Cmd, RedisError, Value};
use tokio::time::timeout;

use super::{
    StoreError,
    cluster::Cluster,
    keys::Shard,
    node::{Clock, Node, Slots, Timed, is_dead_socket},
};
use crate::config::{RedisConfig, RedisMode};

/// A Redis server or a Redis Cluster.
#[derive(Clone)]
pub(crate) struct Connection {
    link: Link,
    limit: Duration,
}

#[derive(Clone)]
enum Link {
    Standalone(Node),
    Cluster(Cluster),
}

impl Connection {
    /// Prepares the connection. Nothing is sent before the first query. Needs a tokio runtime.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let limit = config.timeout;
        let link = match config.mode {
            RedisMode::Standalone => {
                let url = config.urls.first().ok_or((redis::ErrorKind::InvalidClientConfig, "no Redis URL"))?;
                Link::Standalone(Node::new(url.clone(), config.tokens.as_ref(), limit)?)
            }
            RedisMode::Cluster => Link::Cluster(Cluster::new(config.urls.clone(), config.tokens.clone(), limit)),
        };
        Ok(Self { link, limit })
    }

    /// Sends one command to the node that holds `shard` and waits for its answer. Calls made at the same time share a
    /// round trip.
    ///
    /// A command that met a dead socket is sent once more: all of ours are idempotent.
    pub(crate) async fn query(&self, shard: Shard, command: &Cmd) -> Result<Value, StoreError> {
        match &self.link {
            Link::Standalone(node) => {
                let answer = timeout(self.limit, node.query_twice(command)).await;
                Ok(answer.map_err(|_| StoreError::Timeout(self.limit))??)
            }
            // Boxed, here and below: it is large, and is not to be moved about where it is not in use.
            Link::Cluster(cluster) => Box::pin(cluster.query(shard, command)).await,
        }
    }

    /// Sends commands, each to the node that holds its shard, in one round trip to each node involved.
    pub(crate) async fn query_all(&self, commands: &[(Shard, Cmd)]) -> Vec<Result<Value, StoreError>> {
        let answers = self.send(Clock::Unread, commands).await;
        answers.into_iter().map(|answer| answer.map(|(value, _)| value)).collect()
    }

    /// The same, with each node's clock.
    pub(crate) async fn query_all_timed(&self, commands: &[(Shard, Cmd)]) -> Vec<Result<Timed, StoreError>> {
        self.send(Clock::Read, commands).await
    }

    /// Sends a command to every node: a server's only one, or a cluster's masters.
    pub(crate) async fn query_nodes(&self, command: &Cmd) -> Vec<Result<Value, StoreError>> {
        match &self.link {
            Link::Standalone(_) => vec![self.query(Shard::FIRST, command).await],
            Link::Cluster(cluster) => cluster.query_masters(command).await,
        }
    }

    async fn send(&self, clock: Clock, commands: &[(Shard, Cmd)]) -> Vec<Result<Timed, StoreError>> {
        let node = match &self.link {
            Link::Standalone(node) => node,
            Link::Cluster(cluster) => return Box::pin(cluster.query_all(clock, commands)).await,
        };
        let send = || node.query_all(clock, Slots::Held, commands.iter().map(|(_, command)| command));
        let attempts = async {
            match send().await {
                Err(StoreError::Redis(error)) if is_dead_socket(&error) => send().await,
                result => result,
            }
        };
        match timeout(self.limit, attempts).await.unwrap_or(Err(StoreError::Timeout(self.limit))) {
            Ok(answers) => answers.timed().collect(),
            Err(error) => vec![Err(error); commands.len()],
        }
    }
}
