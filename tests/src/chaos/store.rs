//! The Redis of a run, what happens to it, and what is left in it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, aio::MultiplexedConnection};
use tokio::{sync::Mutex, time::sleep};

use super::{
    history::{Kind, Millis, Notes, Part, Trouble, now},
    plan::{Fault, Topology},
};
use crate::{RedisCluster, RedisServer};

/// How long a node may take to answer a question about the cluster.
const LIMIT: Duration = Duration::from_millis(400);

/// How often nodes are asked whether something has come about.
const PAUSE: Duration = Duration::from_millis(50);

/// A replica is behind its master by no more than that.
const REPLICATION_LAG: Millis = 1_000;

/// A node that was a master shortly before may not yet know that it is none.
const DEMOTION: Millis = 500;

/// One Redis server, or a cluster.
pub(super) struct Store {
    redis: Mutex<Redis>,
    urls: String,
    ports: Vec<u16>,
    /// A failover until then is one of ours.
    planned_until: AtomicU64,
}

#[allow(clippy::large_enum_variant, reason = "there is one")]
enum Redis {
    Standalone(RedisServer),
    Cluster(RedisCluster),
}

/// A node, as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    port: u16,
    is_master: bool,
    slots: Vec<(u16, u16)>,
}

impl Store {
    pub(super) async fn start(topology: Topology) -> Self {
        let (redis, urls, ports) = match topology {
            Topology::Standalone => {
                let redis = RedisServer::start().await;
                let (urls, ports) = (redis.url(), vec![redis.port()]);
                (Redis::Standalone(redis), urls, ports)
            }
            Topology::Cluster => {
                let redis = RedisCluster::start_with_replicas().await;
                let (urls, ports) = (redis.urls(), redis.ports());
                (Redis::Cluster(redis), urls, ports)
            }
        };
        Self { redis: Mutex::new(redis), urls, ports, planned_until: AtomicU64::new(0) }
    }

    /// What the service needs to know of it.
    pub(super) fn variables(&self) -> [(&'static str, String); 2] {
        let mode = if self.ports.len() > 1 { "cluster" } else { "standalone" };
        [("PRESENCE_REDIS_URL", self.urls.clone()), ("PRESENCE_REDIS_MODE", mode.to_owned())]
    }

    /// Does something to Redis, and waits until it works again.
    pub(super) async fn suffer(&self, fault: Fault) -> Trouble {
        let time = Duration::from_millis(fault.lasts);
        match (&mut *self.redis.lock().await, fault.kind) {
            (_, Kind::Flush) => self.flush().await,
            (Redis::Standalone(redis), kind) => suffer_standalone(redis, kind, time).await,
            (Redis::Cluster(cluster), kind) => self.suffer_cluster(cluster, fault.which, kind, time).await,
        }
    }

    /// Notes each failover that nobody planned: a machine that is busy enough looks to Redis like one that is dead.
    pub(super) async fn watch(&self, notes: Notes) {
        let mut known = (self.epoch().await, now());
        while self.ports.len() > 1 {
            sleep(10 * PAUSE).await;
            let (epoch, at) = (self.epoch().await, now());
            if epoch > known.0 && self.planned_until.load(Ordering::Relaxed) < known.1 {
                let from = known.1.saturating_sub(2 * REPLICATION_LAG);
                let failover = trouble(Kind::Freeze, Vec::new(), from);
                notes.lock().troubles.push(Trouble { is_failover: true, to: at + DEMOTION, ..failover });
            }
            known = (epoch.max(known.0), at);
        }
    }

    /// Players' records, entries of an index and entries of an outbox: what nobody should have left.
    pub(super) async fn leftovers(&self) -> Vec<String> {
        let mut left = Vec::new();
        for port in &self.ports {
            let keys: Vec<String> = ask(*port, redis::cmd("KEYS").arg("*")).await.unwrap_or_default();
            for key in keys.into_iter().filter(|key| !key.starts_with('{') && !key.ends_with(":swept")) {
                let is_outbox = key.ends_with(":outbox");
                let length = if is_outbox { ask(*port, redis::cmd("XLEN").arg(&key)).await } else { Some(1) };
                if length.is_some_and(|length| length > 0) {
                    left.push(key);
                }
            }
        }
        left
    }

    async fn epoch(&self) -> u64 {
        let mut latest = 0;
        for port in &self.ports {
            let info: String = ask(*port, redis::cmd("CLUSTER").arg("INFO")).await.unwrap_or_default();
            let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
            latest = latest.max(epoch.and_then(|epoch| epoch.trim().parse().ok()).unwrap_or_default());
        }
        latest
    }

    async fn flush(&self) -> Trouble {
        let from = now();
        for port in &self.ports {
            let _: Option<String> = ask(*port, &redis::cmd("FLUSHALL")).await; // a replica refuses
        }
        trouble(Kind::Flush, Vec::new(), from)
    }

    /// Of a master that is away for long enough, the replica takes the place; the master comes back as its replica.
    async fn suffer_cluster(&self, cluster: &mut RedisCluster, which: usize, kind: Kind, time: Duration) -> Trouble {
        let masters: Vec<_> =
            self.members(&self.ports).await.into_iter().filter(|node| !node.slots.is_empty()).collect();
        let master = masters[which % masters.len()].clone();
        let number = self.ports.iter().position(|port| *port == master.port).unwrap_or_default();
        let others: Vec<_> = self.ports.iter().copied().filter(|port| *port != master.port).collect();
        let from = now();
        self.planned_until.store(Millis::MAX, Ordering::Relaxed);
        match kind {
            Kind::Kill => cluster.kill(number),
            _ => cluster.pause(number),
        }
        sleep(time).await;
        let is_long = time > Duration::from_secs(1);
        if is_long {
            self.until(&others, |node| node.port != master.port || node.slots.is_empty()).await;
        }
        match kind {
            Kind::Kill => cluster.restart(number),
            _ => cluster.resume(number),
        }
        if !is_long {
            self.planned_until.store(0, Ordering::Relaxed);
            return trouble(kind, master.slots, from);
        }
        self.until(&self.ports, |node| node.port != master.port || !node.is_master).await;
        let has_copied = || async {
            let info: String = ask(master.port, redis::cmd("INFO").arg("replication")).await.unwrap_or_default();
            info.contains("master_link_status:up")
        };
        while !has_copied().await {
            sleep(PAUSE).await;
        }
        self.planned_until.store(now() + 2_000, Ordering::Relaxed);
        let failover = trouble(kind, master.slots, from.saturating_sub(REPLICATION_LAG));
        Trouble { is_failover: true, to: now() + DEMOTION, ..failover }
    }

    /// Waits until all of `ports` say that so it is with every node, and somebody has each slot.
    async fn until(&self, ports: &[u16], is_so: impl Fn(&Member) -> bool) {
        loop {
            let mut is_agreed = true;
            for port in ports {
                let members = self.members(&[*port]).await;
                let slots: u32 = members.iter().flat_map(|node| &node.slots).map(|(a, b)| u32::from(b - a) + 1).sum();
                is_agreed &= slots == 16_384 && members.iter().all(&is_so);
            }
            if is_agreed {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    /// All nodes, as the first of `ports` that answers sees them.
    async fn members(&self, ports: &[u16]) -> Vec<Member> {
        for port in ports {
            if let Some(nodes) = ask::<String>(*port, redis::cmd("CLUSTER").arg("NODES")).await {
                return nodes.lines().filter_map(Member::parse).collect();
            }
        }
        Vec::new()
    }
}

impl Member {
    /// `<id> <ip>:<port>@<bus> <flags> <master> <ping> <pong> <epoch> <link> <slot> …`
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let port = words.get(1)?.split_once(':')?.1.split('@').next()?.parse().ok()?;
        let is_master = words.get(2)?.split(',').any(|flag| flag == "master");
        let range = |word: &&str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        Some(Self { port, is_master, slots: words[8..].iter().filter_map(range).collect() })
    }
}

async fn suffer_standalone(redis: &mut RedisServer, kind: Kind, time: Duration) -> Trouble {
    let from = now();
    match kind {
        Kind::Kill => {
            redis.kill();
            sleep(time).await;
            redis.restart().await;
        }
        _ => {
            redis.pause();
            sleep(time).await;
            redis.resume();
        }
    }
    trouble(kind, Vec::new(), from)
}

fn trouble(kind: Kind, slots: Vec<(u16, u16)>, from: Millis) -> Trouble {
    Trouble { part: Part::Redis, kind, slots, is_failover: false, from, to: now() }
}

async fn ask<T: FromRedisValue>(port: u16, command: &Cmd) -> Option<T> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(LIMIT)).set_response_timeout(Some(LIMIT));
    let client = redis::Client::open(("127.0.0.1", port)).ok()?;
    let mut connection: MultiplexedConnection =
        client.get_multiplexed_async_connection_with_config(&config).await.ok()?;
    command.query_async(&mut connection).await.ok()
}
