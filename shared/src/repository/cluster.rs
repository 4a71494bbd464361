//! Redis Cluster: one connection to all nodes, and who holds which slots.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use futures_util::future::join_all;
use redis::{
    Cmd, Pipeline, RedisError, Value, aio::ConnectionLike as _, cluster::ClusterClient,
    cluster_async::ClusterConnection, cluster_routing::SingleNodeRoutingInfo, io::tcp::TcpSettings,
};
use tokio::{sync::OnceCell, time::timeout};

use super::{StoreError, keys::Shard};

/// The number of commands of one pipeline: few enough not to hold up other clients for long.
const COMMANDS_PER_PIPELINE: usize = 1_024;

/// A cluster's connection is made by the first call that needs it, and again after a failure to make it.
pub(super) struct Cluster {
    client: ClusterClient,
    connection: OnceCell<ClusterConnection>,
}

/// A master, by the address that the cluster gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Master {
    host: String,
    port: u16,
}

impl Cluster {
    pub(super) fn new(
        urls: impl Iterator<Item = redis::ConnectionInfo>,
        limit: Duration,
        tcp: TcpSettings,
    ) -> Result<Self, RedisError> {
        let client = ClusterClient::builder(urls)
            .connection_timeout(limit)
            .response_timeout(limit)
            .overall_response_timeout(Some(limit))
            .retries(5)
            .min_retry_wait(10)
            .max_retry_wait(100)
            .tcp_settings(tcp)
            .build()?;
        Ok(Self { client, connection: OnceCell::new() })
    }

    pub(super) async fn connection(&self) -> Result<ClusterConnection, RedisError> {
        let connect = || self.client.get_async_connection();
        self.connection.get_or_try_init(connect).await.cloned()
    }

    /// Sends a command for each shard, by pipelines to the masters that hold them.
    pub(super) async fn query_each(
        &self,
        shards: Vec<Shard>,
        command: impl Fn(Shard) -> Cmd,
        limit: Duration,
    ) -> Vec<(Shard, Result<Value, StoreError>)> {
        let masters = match timeout(limit, self.masters()).await {
            Ok(Ok(masters)) => masters,
            failure => return all_failed(&shards, failure.ok().and_then(Result::err), limit),
        };
        let mut groups = HashMap::<&Master, Vec<Shard>>::new();
        let mut answers = Vec::with_capacity(shards.len());
        for shard in shards {
            match masters.iter().find(|(slots, _)| slots.contains(&shard.slot())) {
                Some((_, master)) => groups.entry(master).or_default().push(shard),
                None => answers.push((shard, Err(StoreError::Unexpected("a slot that nobody holds")))),
            }
        }
        let chunks = groups
            .iter()
            .flat_map(|(master, shards)| shards.chunks(COMMANDS_PER_PIPELINE).map(move |chunk| (*master, chunk)));
        let pipelines = chunks.map(async |(master, shards)| {
            let mut pipeline = Pipeline::with_capacity(shards.len());
            for shard in shards {
                pipeline.add_command(command(*shard));
            }
            let values = timeout(limit, self.pipeline(pipeline, shards.len(), master)).await;
            match values {
                Ok(Ok(values)) => {
                    let values = values.into_iter().map(|value| Ok(value.extract_error()?));
                    shards.iter().copied().zip(values).collect::<Vec<_>>()
                }
                failure => all_failed(shards, failure.ok().and_then(Result::err), limit),
            }
        });
        answers.extend(join_all(pipelines).await.into_iter().flatten());
        answers
    }

    async fn pipeline(&self, pipeline: Pipeline, count: usize, master: &Master) -> Result<Vec<Value>, RedisError> {
        let node = SingleNodeRoutingInfo::ByAddress { host: master.host.clone(), port: master.port };
        self.connection().await?.route_pipeline(pipeline, 0, count, node).await
    }

    /// The slots and the master of each range, as `CLUSTER SLOTS` tells them.
    async fn masters(&self) -> Result<Vec<(RangeInclusive<u16>, Master)>, RedisError> {
        let slots = self.connection().await?.req_packed_command(redis::cmd("CLUSTER").arg("SLOTS")).await?;
        let Value::Array(ranges) = slots.extract_error()? else { return Ok(Vec::new()) };
        Ok(ranges.iter().filter_map(slot_range).collect())
    }
}

/// Shards whose node failed, or did not answer within `limit` where there is no failure to tell of.
fn all_failed(
    shards: &[Shard],
    failure: Option<RedisError>,
    limit: Duration,
) -> Vec<(Shard, Result<Value, StoreError>)> {
    let error = || failure.clone().map_or(StoreError::Timeout(limit), StoreError::Redis);
    shards.iter().map(|shard| (*shard, Err(error()))).collect()
}

fn slot_range(range: &Value) -> Option<(RangeInclusive<u16>, Master)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else { return None };
    let [Value::BulkString(host), Value::Int(port), ..] = &master[..] else { return None };
    let master = Master { host: String::from_utf8(host.clone()).ok()?, port: u16::try_from(*port).ok()? };
    Some((u16::try_from(*first).ok()?..=u16::try_from(*last).ok()?, master))
}
