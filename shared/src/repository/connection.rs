//! The connection to Redis: lazy, shared, healed by itself, and bounded in time.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, Cmd, RedisError, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
    io::tcp::TcpSettings,
};
use tokio::sync::OnceCell;

use super::keys::Shard;
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

/// A cluster's connection is made by the first call that needs it, and again after a failure to make it.
struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
}

impl Connection {
    /// Prepares the connection. Nothing is sent before the first query. Needs a tokio runtime.
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKED_LIMIT);
        let urls = config.urls.iter().map(|url| url.clone().set_tcp_settings(tcp.clone()));
        let link = match config.mode {
            RedisMode::Standalone => Link::Standalone(standalone(urls, config.timeout)?),
            RedisMode::Cluster => Link::Cluster(Arc::new(cluster(urls, config.timeout, tcp.clone())?)),
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

impl Cluster {
    async fn connection(&self) -> Result<ClusterConnection, RedisError> {
        let connect = || self.client.get_async_connection();
        self.connection.get_or_try_init(connect).await.cloned()
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

fn cluster(
    urls: impl Iterator<Item = redis::ConnectionInfo>,
    timeout: Duration,
    tcp: TcpSettings,
) -> Result<Cluster, RedisError> {
    let client = ClusterClient::builder(urls)
        .connection_timeout(timeout)
        .response_timeout(timeout)
        .overall_response_timeout(Some(timeout))
        .retries(5)
        .min_retry_wait(10)
        .max_retry_wait(100)
        .tcp_settings(tcp)
        .build()?;
    Ok(Cluster { client, connection: OnceCell::new() })
}

fn is_dead_socket(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || (error.is_io_error() && !error.is_timeout())
}
