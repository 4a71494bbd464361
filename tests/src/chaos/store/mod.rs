//! Redis of a run, the faults of it, and the keys that are left in it.

mod cluster;
mod front;
mod pair;

use std::{sync::atomic::AtomicU64, time::Duration};

use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::{sync::Mutex, time::sleep};

use super::{
    history::{Fault, FaultKind, Loss, Part, now},
    plan::{PlannedFault, Topology},
};
use crate::{RedisCluster, RedisServer};
use pair::Pair;

/// Time limit for a query of a node's state.
const QUERY_TIMEOUT: Duration = Duration::from_millis(400);

/// The interval at which nodes are queried until a condition holds.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The suffixes of keys that outlive the players.
const KEPT_KEYS: [&str; 18] = [
    "}:past",
    "}:closed",
    "}:swept",
    "}:gateways",
    "}:gateways-seen",
    "}:probe",
    "}:dataset",
    "#past",
    "#closed",
    "#probe",
    "#dataset",
    "#partitions",
    "#swept",
    "#gateways",
    "#gateways-seen",
    "#sweeping",
    "#relayed",
    "#relaying",
];

/// The Redis of a run, in one of its topologies.
pub(super) struct Store {
    redis: Mutex<Redis>,
    urls: String,
    mode: &'static str,
    /// The nodes' own ports.
    ports: Vec<u16>,
    /// A failover of the cluster until this time is planned.
    planned_until: AtomicU64,
}

#[allow(clippy::large_enum_variant, reason = "there is one")]
enum Redis {
    Standalone(RedisServer),
    Pair(Pair),
    Cluster(RedisCluster),
}

impl Redis {
    /// A pair, its URLs, and the ports of its nodes.
    fn of_pair(pair: Pair) -> (Self, String, Vec<u16>) {
        let urls = pair.urls();
        let ports = pair.ports();
        (Self::Pair(pair), urls, ports)
    }
}

impl Store {
    pub(super) async fn start(topology: Topology) -> Self {
        let (redis, urls, ports) = match topology {
            Topology::Standalone => {
                let redis = RedisServer::start().await;
                let urls = redis.url();
                let ports = vec![redis.port()];
                (Redis::Standalone(redis), urls, ports)
            }
            Topology::Endpoint => Redis::of_pair(Pair::start_behind_endpoint().await),
            Topology::Sentinel => Redis::of_pair(Pair::start_with_sentinels().await),
            Topology::Cluster => {
                let redis = RedisCluster::start_with_replicas().await;
                let urls = redis.urls();
                let ports = redis.ports();
                (Redis::Cluster(redis), urls, ports)
            }
        };
        let mode = match topology {
            Topology::Standalone | Topology::Endpoint => "standalone",
            Topology::Sentinel => "sentinel",
            Topology::Cluster => "cluster",
        };
        Self {
            redis: Mutex::new(redis),
            urls,
            mode,
            ports,
            planned_until: AtomicU64::new(0),
        }
    }

    /// The variables of the service.
    pub(super) fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("PRESENCE_REDIS_URL", self.urls.clone()),
            ("PRESENCE_REDIS_MODE", self.mode.to_owned()),
        ]
    }

    /// Injects a fault into Redis, and waits until it works again.
    pub(super) async fn inject(&self, fault: PlannedFault) -> Fault {
        let time = Duration::from_millis(fault.lasts);
        match (&mut *self.redis.lock().await, fault.kind) {
            (_, FaultKind::Flush) => self.flush().await,
            (Redis::Standalone(redis), kind) => inject_into_standalone(redis, kind, time).await,
            (Redis::Pair(pair), kind) => pair.inject(kind, fault.which, time).await,
            (Redis::Cluster(cluster), kind) => {
                self.inject_into_cluster(cluster, fault.which, kind, time)
                    .await
            }
        }
    }

    /// Keys that should not be left at the end: players' records, entries of an index, entries of
    /// an outbox.
    pub(super) async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for port in &self.ports {
            let keys: Vec<String> = ask(*port, redis::cmd("KEYS").arg("*"))
                .await
                .unwrap_or_default();
            for key in keys
                .into_iter()
                .filter(|key| !KEPT_KEYS.iter().any(|name| key.ends_with(name)))
            {
                let is_outbox = key.ends_with("outbox");
                let length = if is_outbox {
                    ask(*port, redis::cmd("XLEN").arg(&key)).await
                } else {
                    Some(1)
                };
                if length.is_some_and(|length| length > 0) {
                    left.push(key);
                }
            }
        }
        left
    }

    async fn flush(&self) -> Fault {
        let from = now();
        for port in &self.ports {
            let _: Option<String> = ask(*port, &redis::cmd("FLUSHALL")).await; // a replica refuses
        }
        Fault {
            loss: Loss::Everything,
            ..Fault::over(Part::Redis, FaultKind::Flush, from)
        }
    }
}

async fn inject_into_standalone(redis: &mut RedisServer, kind: FaultKind, time: Duration) -> Fault {
    let from = now();
    if kind != FaultKind::Kill {
        return freeze(redis, time).await;
    }
    redis.kill();
    sleep(time).await;
    redis.restart().await;
    Fault {
        loss: Loss::Everything,
        ..Fault::over(Part::Redis, kind, from)
    }
}

async fn freeze(redis: &RedisServer, time: Duration) -> Fault {
    let from = now();
    redis.pause();
    sleep(time).await;
    redis.resume();
    Fault::over(Part::Redis, FaultKind::Freeze, from)
}

/// Waits until a replica has copied its primary.
async fn until_in_step(replica: u16) {
    while !replication(replica).await.contains("master_link_status:up") {
        sleep(POLL_INTERVAL).await;
    }
}

/// A node's `INFO replication`; empty if it does not respond.
async fn replication(port: u16) -> String {
    ask(port, redis::cmd("INFO").arg("replication"))
        .await
        .unwrap_or_default()
}

async fn ask<T: FromRedisValue>(port: u16, command: &Cmd) -> Option<T> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(QUERY_TIMEOUT))
        .set_response_timeout(Some(QUERY_TIMEOUT));
    let client = redis::Client::open(("127.0.0.1", port)).ok()?;
    let mut connection: MultiplexedConnection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .ok()?;
    command.query_async(&mut connection).await.ok()
}
