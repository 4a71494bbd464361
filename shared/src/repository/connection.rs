//! The connection to Redis: lazy, shared, healed by itself, and bounded in time.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use redis::{
    Client, Cmd, RedisError, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    io::tcp::TcpSettings,
};

use super::{cluster::Cluster, keys::Shard};
use crate::config::{RedisConfig, RedisMode};

/// How many commands may wait to be written to a connection before their callers do.
const WRITE_QUEUE: usize = 1_024;

/// After this time without the peer's ack the kernel gives a connection up; without it a black hole would hold it for
/// a quarter of an hour.
const UNACKED_LIMIT: Duration = Duration::from_secs(1);

/// A Redis that could not be used. Nothing is known of what it holds, and a mutation may or may not have been made.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer within the configured time.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// The connection failed, or Redis refused the command.
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    /// Redis holds, or answered, something that this service did not write.
    #[error("Redis answered something unexpected: {0}")]
    Unexpected(&'static str),
    /// Redis answered something of another type.
    #[error("Redis answered something unexpected")]
    Type(#[from] redis::ParsingError),
}

/// A Redis server or a Redis Cluster.
#[derive(Clone)]
pub(crate) struct Connection {
    link: Link,
    timeout: Duration,
}

#[derive(Clone)]
enum Link {
    Standalone(ConnectionManager),
    Cluster(Arc<Cluster>),
}

impl Connection {
    /// Prepares the connection. Nothing is sent before the first query. Needs a tokio runtime.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKED_LIMIT);
        let urls = config.urls.iter().map(|url| url.clone().set_tcp_settings(tcp.clone()));
        let link = match config.mode {
            RedisMode::Standalone => Link::Standalone(standalone(urls, config.timeout)?),
            RedisMode::Cluster => Link::Cluster(Arc::new(Cluster::new(urls, config.timeout, tcp.clone())?)),
        };
        Ok(Self { link, timeout: config.timeout })
    }

    /// Sends one command and waits for its answer. Calls made at the same time share one round trip to each node.
    ///
    /// A command that met a dead socket is sent once more: all of ours are idempotent.
    pub(crate) async fn query(&self, command: &Cmd) -> Result<Value, StoreError> {
        self.attempt(|| self.link.query(command)).await
    }

    /// The same for a command that names no key, at the node that holds `shard`.
    pub(crate) async fn query_shard(&self, shard: Shard, command: &Cmd) -> Result<Value, StoreError> {
        self.attempt(|| self.link.query_shard(shard, command)).await
    }

    /// Sends a command for each shard, in as few round trips to each node as their number allows.
    pub(crate) async fn query_each(
        &self,
        shards: impl Iterator<Item = Shard>,
        command: impl Fn(Shard) -> Cmd,
    ) -> Vec<(Shard, Result<Value, StoreError>)> {
        match &self.link {
            Link::Standalone(_) => join_all(shards.map(async |shard| (shard, self.query(&command(shard)).await))).await,
            Link::Cluster(cluster) => cluster.query_each(shards.collect(), command, self.timeout).await,
        }
    }

    async fn attempt<F>(&self, query: impl Fn() -> F) -> Result<Value, StoreError>
    where
        F: Future<Output = Result<Value, RedisError>>,
    {
        let attempts = async {
            match query().await {
                Err(error) if is_dead_socket(&error) => query().await,
                result => result,
            }
        };
        let result = tokio::time::timeout(self.timeout, attempts).await;
        Ok(result.map_err(|_| StoreError::Timeout(self.timeout))??)
    }
}

impl Link {
    async fn query(&self, command: &Cmd) -> Result<Value, RedisError> {
        let answer = match self {
            Self::Standalone(manager) => manager.clone().req_packed_command(command).await,
            Self::Cluster(cluster) => cluster.connection().await?.req_packed_command(command).await,
        };
        answer.and_then(Value::extract_error)
    }

    async fn query_shard(&self, shard: Shard, command: &Cmd) -> Result<Value, RedisError> {
        let Self::Cluster(cluster) = self else { return self.query(command).await };
        let node = SingleNodeRoutingInfo::SpecificNode(Route::new(shard.slot(), SlotAddr::Master));
        let mut connection = cluster.connection().await?;
        connection.route_command(command.clone(), RoutingInfo::SingleNode(node)).await.and_then(Value::extract_error)
    }
}

fn standalone(
    mut urls: impl Iterator<Item = redis::ConnectionInfo>,
    timeout: Duration,
) -> Result<ConnectionManager, RedisError> {
    let url = urls.next().ok_or((redis::ErrorKind::InvalidClientConfig, "no Redis URL"))?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(None) // `query` has its own, which also covers connecting
        .set_number_of_retries(0) // each call may start an attempt of its own, so none waits out another's back-off
        .set_pipeline_buffer_size(WRITE_QUEUE);
    ConnectionManager::new_lazy_with_config(Client::open(url)?, config)
}

/// The time limit is `attempt`'s own: a time-out from below is an attempt to connect that a caller who gave up, or a
/// freeze of the process, left behind.
fn is_dead_socket(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}
