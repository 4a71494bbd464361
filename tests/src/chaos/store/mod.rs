//! The Redis of a run, what happens to it, and what is left in it.

mod cluster;
mod front;
mod pair;

use std::{sync::atomic::AtomicU64, time::Duration};

use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::{sync::Mutex, time::sleep};

use super::{
    history::{Kind, Loss, Part, Trouble, now},
    plan::{Fault, Topology},
};
use crate::{RedisCluster, RedisServer};
use pair::Pair;

/// How long a node may take to answer a question about its state.
const LIMIT: Duration = Duration::from_millis(400);

/// How often nodes are asked whether something has come about.
const PAUSE: Duration = Duration::from_millis(50);

/// The ends of the names of keys that outlive the players.
const MAY_STAY: [&str; 18] = [
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
    /// A failover of the cluster until then is one of ours.
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
                let (urls, ports) = (redis.url(), vec![redis.port()]);
                (Redis::Standalone(redis), urls, ports)
            }
            Topology::Endpoint => Redis::of_pair(Pair::start_behind_endpoint().await),
            Topology::Sentinel => Redis::of_pair(Pair::start_with_sentinels().await),
            Topology::Cluster => {
                let redis = RedisCluster::start_with_replicas().await;
                let (urls, ports) = (redis.urls(), redis.ports());
                (Redis::Cluster(redis), urls, ports)
            }
        };
        let mode = match topology {
            Topology::Standalone | Topology::Endpoint => "standalone",
            Topology::Sentinel => "sentinel",
            Topology::Cluster => "cluster",
        };
        Self { redis: Mutex::new(redis), urls, mode, ports, planned_until: AtomicU64::new(0) }
    }

    /// What the service needs to know of it.
    pub(super) fn variables(&self) -> [(&'static str, String); 2] {
        [("PRESENCE_REDIS_URL", self.urls.clone()), ("PRESENCE_REDIS_MODE", self.mode.to_owned())]
    }

    /// Does something to Redis, and waits until it works again.
    pub(super) async fn suffer(&self, fault: Fault) -> Trouble {
        let time = Duration::from_millis(fault.lasts);
        match (&mut *self.redis.lock().await, fault.kind) {
            (_, Kind::Flush) => self.flush().await,
            (Redis::Standalone(redis), kind) => suffer_standalone(redis, kind, time).await,
            (Redis::Pair(pair), kind) => pair.suffer(kind, fault.which, time).await,
            (Redis::Cluster(cluster), kind) => self.suffer_cluster(cluster, fault.which, kind, time).await,
        }
    }

    /// Players' records, entries of an index and entries of an outbox: what nobody should have left.
    pub(super) async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for port in &self.ports {
            let keys: Vec<String> = ask(*port, redis::cmd("KEYS").arg("*")).await.unwrap_or_default();
            for key in keys.into_iter().filter(|key| !MAY_STAY.iter().any(|name| key.ends_with(name))) {
                let is_outbox = key.ends_with("outbox");
                let length = if is_outbox { ask(*port, redis::cmd("XLEN").arg(&key)).await } else { Some(1) };
                if length.is_some_and(|length| length > 0) {
                    left.push(key);
                }
            }
        }
        left
    }

    async fn flush(&self) -> Trouble {
        let from = now();
        for port in &self.ports {
            let _: Option<String> = ask(*port, &redis::cmd("FLUSHALL")).await; // a replica refuses
        }
        Trouble { loss: Loss::Everything, ..Trouble::over(Part::Redis, Kind::Flush, from) }
    }
}

async fn suffer_standalone(redis: &mut RedisServer, kind: Kind, time: Duration) -> Trouble {
    let from = now();
    if kind != Kind::Kill {
        return freeze(redis, time).await;
    }
    redis.kill();
    sleep(time).await;
    redis.restart().await;
    Trouble { loss: Loss::Everything, ..Trouble::over(Part::Redis, kind, from) }
}

async fn freeze(redis: &RedisServer, time: Duration) -> Trouble {
    let from = now();
    redis.pause();
    sleep(time).await;
    redis.resume();
    Trouble::over(Part::Redis, Kind::Freeze, from)
}

/// Waits until a replica has copied its primary.
async fn until_in_step(replica: u16) {
    while !replication(replica).await.contains("master_link_status:up") {
        sleep(PAUSE).await;
    }
}

/// What a node says of its replication; empty if it does not answer.
async fn replication(port: u16) -> String {
    ask(port, redis::cmd("INFO").arg("replication")).await.unwrap_or_default()
}

async fn ask<T: FromRedisValue>(port: u16, command: &Cmd) -> Option<T> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(LIMIT)).set_response_timeout(Some(LIMIT));
    let client = redis::Client::open(("127.0.0.1", port)).ok()?;
    let mut connection: MultiplexedConnection =
        client.get_multiplexed_async_connection_with_config(&config).await.ok()?;
    command.query_async(&mut connection).await.ok()
}
