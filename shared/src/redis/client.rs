//! Client of Redis, standalone or a cluster: lazy, shared, self-healing, and bounded in time.

use std::{borrow::Cow, time::Duration};

use redis::{Cmd, RedisError, Value};
use tokio::time::Instant;

use super::{
    StoreError,
    cluster::Cluster,
    layout::LayoutGuard,
    link::{Address, Endpoint, Role},
    node::{Clock, Node, Sending, Slots, Timed},
    policy::{PartitionCount, Policy},
    shard::Shard,
};
use crate::config::{RedisConfig, RedisMode};

/// A Redis server or a Redis Cluster.
#[derive(Clone)]
pub(crate) struct RedisClient {
    backend: Backend,
    timeout: Duration,
}

#[derive(Clone)]
enum Backend {
    /// One primary, at a fixed address or at the one that Sentinels name.
    Standalone(Node),
    Cluster(Cluster, LayoutGuard),
}

impl RedisClient {
    /// Prepares the connection. Nothing is sent before the first query. A cluster's number of
    /// partitions is stored under `partition_count_key`. Must be called in a tokio runtime.
    pub(crate) fn new(
        config: &RedisConfig,
        partition_count_key: String,
    ) -> Result<Self, RedisError> {
        let timeout = config.timeout;
        let backend = match config.mode {
            RedisMode::Standalone => {
                let url = config
                    .urls
                    .first()
                    .ok_or((redis::ErrorKind::InvalidClientConfig, "no Redis URL"))?;
                let endpoint = Endpoint::fixed(url.clone(), config.tokens.as_ref())?;
                Backend::Standalone(Node::new(endpoint, Role::Primary, timeout))
            }
            RedisMode::Sentinel => {
                let endpoint =
                    Endpoint::by_sentinel(config.urls.clone(), config.sentinel_name.clone())?;
                Backend::Standalone(Node::new(endpoint, Role::Primary, timeout))
            }
            RedisMode::Cluster => {
                let cluster = Cluster::new(config.urls.clone(), config.tokens.clone(), timeout);
                let guard = LayoutGuard::new(
                    cluster.clone(),
                    partition_count_key,
                    config.partitions.unwrap_or(1),
                );
                Backend::Cluster(cluster, guard)
            }
        };
        Ok(Self { backend, timeout })
    }

    /// Sends one command of the service's own upkeep to the node that holds `shard`, and waits for
    /// its reply.
    pub(crate) async fn query(&self, shard: Shard, command: &Cmd) -> Result<Value, StoreError> {
        self.query_with(Policy::UPKEEP, shard, command).await
    }

    /// Sends one command to the node that holds `shard`, and waits for its reply. Calls made at the
    /// same time share a round trip.
    pub(crate) async fn query_with(
        &self,
        policy: Policy,
        shard: Shard,
        command: &Cmd,
    ) -> Result<Value, StoreError> {
        match &self.backend {
            Backend::Standalone(node) => {
                let commands = std::iter::once(command);
                let permit = node.in_flight.admit(policy.urgency, commands).await?;
                let result = node
                    .query(command, policy.repeat, Instant::now() + self.timeout)
                    .await;
                if let Some(permit) = permit {
                    permit.finish(&result);
                }
                result
            }
            // Boxed, here and below: the future is large, and must not inflate the one of a
            // standalone Redis.
            Backend::Cluster(cluster, guard) => {
                guard.pass(policy.partition_count).await?;
                Box::pin(cluster.query(policy, shard, command)).await
            }
        }
    }

    /// Sends commands of the service's own upkeep, each to the node that holds its shard, in one
    /// round trip to each node involved.
    pub(crate) async fn query_all(
        &self,
        commands: &[(Shard, Cmd)],
    ) -> Vec<Result<Value, StoreError>> {
        without_clock(
            self.send(Clock::Unread, Policy::UPKEEP, commands.into())
                .await,
        )
    }

    /// Sends commands that may be repeated, each to the node that holds its shard, in one round
    /// trip to each node involved.
    pub(crate) async fn query_all_with(
        &self,
        policy: Policy,
        commands: Vec<(Shard, Cmd)>,
    ) -> Vec<Result<Value, StoreError>> {
        without_clock(self.send(Clock::Unread, policy, commands.into()).await)
    }

    /// Sends commands as [`query_all`](Self::query_all) does, and reads each node's clock.
    pub(crate) async fn query_all_timed(
        &self,
        commands: &[(Shard, Cmd)],
    ) -> Vec<Result<Timed, StoreError>> {
        self.send(Clock::Read, Policy::UPKEEP, commands.into())
            .await
    }

    /// Sends the reads of a call, each to the node that holds its shard, in one round trip to each
    /// node involved, and reads each node's clock.
    pub(crate) async fn read_all(
        &self,
        policy: Policy,
        commands: Vec<(Shard, Cmd)>,
    ) -> Vec<Result<Timed, StoreError>> {
        self.send(Clock::Read, policy, commands.into()).await
    }

    /// Checks that the data in a cluster is spread over the configured number of partitions, and
    /// stores that number if the cluster is unused.
    ///
    /// # Errors
    /// [`StoreError::Partitions`]. If a node does not respond, the check passes.
    pub(crate) async fn check_layout(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Standalone(_) => Ok(()),
            Backend::Cluster(_, guard) => guard.pass(PartitionCount::Store).await,
        }
    }

    /// One of `shards` for each node that holds any of them: a server, or the masters of a cluster.
    pub(crate) async fn shard_of_each_node(
        &self,
        shards: impl Iterator<Item = Shard>,
    ) -> Result<Vec<Shard>, StoreError> {
        match &self.backend {
            Backend::Standalone(_) => Ok(vec![Shard::FIRST]),
            Backend::Cluster(cluster, _) => cluster.shard_of_each_master(shards).await,
        }
    }

    /// Groups items by the node that holds their shard, as far as that is known. Items without a
    /// known node form one group.
    pub(crate) async fn group_by_node<T>(
        &self,
        items: Vec<T>,
        shard: impl Fn(&T) -> Shard,
    ) -> Vec<Vec<T>> {
        match &self.backend {
            Backend::Standalone(_) => vec![items],
            Backend::Cluster(cluster, _) => cluster.group_by_master(items, shard).await,
        }
    }

    /// Groups items by the master of a cluster that holds their shard, as far as that is known
    /// without asking.
    pub(crate) fn group_by_known_master<T>(
        &self,
        items: Vec<T>,
        shard: impl Fn(&T) -> Shard,
    ) -> Vec<(Option<Address>, Vec<T>)> {
        match &self.backend {
            Backend::Standalone(_) => vec![(None, items)],
            Backend::Cluster(cluster, _) => cluster.group_by_known_master(items, shard),
        }
    }

    /// The number of entries that may be in flight at present to this master of a cluster, or to the
    /// standalone Redis.
    pub(crate) fn in_flight_limit(&self, master: &Address) -> usize {
        match &self.backend {
            Backend::Standalone(node) => node.in_flight.max_entries(),
            Backend::Cluster(cluster, _) => cluster.in_flight_limit(master),
        }
    }

    /// Sends a command to every node: a server's only one, or a cluster's masters. Nodes may refuse
    /// it.
    pub(crate) async fn query_nodes(&self, command: &Cmd) -> Vec<Result<Value, StoreError>> {
        match &self.backend {
            Backend::Standalone(node) => vec![
                node.query_optional(command, Instant::now() + self.timeout)
                    .await,
            ],
            Backend::Cluster(cluster, _) => cluster.query_masters(command).await,
        }
    }

    /// Sends commands to the nodes that hold their shards. Owned commands are not copied for a
    /// standalone Redis.
    async fn send(
        &self,
        clock: Clock,
        policy: Policy,
        commands: Cow<'_, [(Shard, Cmd)]>,
    ) -> Vec<Result<Timed, StoreError>> {
        if commands.is_empty() {
            return Vec::new();
        }
        let node = match &self.backend {
            Backend::Standalone(node) => node,
            Backend::Cluster(cluster, guard) => {
                return match guard.pass(policy.partition_count).await {
                    Ok(()) => Box::pin(cluster.query_all(clock, policy, &commands)).await,
                    Err(error) => vec![Err(error); commands.len()],
                };
            }
        };
        let count = commands.len();
        let borrowed = commands.iter().map(|(_, command)| command);
        let permit = match node.in_flight.admit(policy.urgency, borrowed).await {
            Ok(permit) => permit,
            Err(error) => return vec![Err(error); count],
        };
        // The time limit starts after the wait for admission.
        let deadline = Instant::now() + self.timeout;
        let sending = Sending {
            clock,
            slots: Slots::Held,
            repeat: policy.repeat,
            deadline,
        };
        let owned = commands.into_owned().into_iter();
        let result = node
            .query_all(&sending, owned.map(|(_, command)| command))
            .await;
        if let Some(permit) = permit {
            permit.finish(&result);
        }
        match result {
            Ok(replies) => node.timed(replies).collect(),
            Err(error) => vec![Err(error); count],
        }
    }
}

/// The values of replies whose clock was not read.
fn without_clock(replies: Vec<Result<Timed, StoreError>>) -> Vec<Result<Value, StoreError>> {
    replies
        .into_iter()
        .map(|reply| reply.map(|(value, _)| value))
        .collect()
}
