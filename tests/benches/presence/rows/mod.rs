//! The measurements.

pub(crate) mod activity;
pub(crate) mod batch;
pub(crate) mod cluster;
pub(crate) mod cold_start;
pub(crate) mod compare;
pub(crate) mod connections;
pub(crate) mod expiry;
pub(crate) mod friends;
pub(crate) mod gateways;
pub(crate) mod growth;
pub(crate) mod memory;
pub(crate) mod million;
pub(crate) mod pauses;
pub(crate) mod peers;
pub(crate) mod script;
pub(crate) mod single;
pub(crate) mod size;
pub(crate) mod storm;
pub(crate) mod sweep;
pub(crate) mod ten_million;
pub(crate) mod watch;

use std::time::Duration;

use presence_tests::{RedisCluster, RedisServer, Server};

use crate::{cpu, http, players};

/// The names of all functions.
const FUNCTIONS: [&str; 9] = [
    "connect",
    "heartbeat",
    "disconnect",
    "set-state",
    "get-state",
    "friends",
    "sweep",
    "health",
    "gateway",
];

/// The interval of players' heartbeats, and the TTL of their leases.
#[derive(Debug, Clone, Copy)]
struct Timing {
    ttl: &'static str,
    interval: Duration,
}

/// The cost of some requests, in seconds.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    duration: f64,
    service: f64,
    redis: f64,
}

impl Cost {
    /// Sends requests to the service at `address`, and measures their time and the CPU time of the
    /// processes of the service and of Redis.
    async fn measure(
        [service, redis]: [u32; 2],
        address: &str,
        connections: usize,
        requests: &[Vec<u8>],
    ) -> Self {
        let before = [service, redis].map(cpu::time_of_threads);
        let duration = http::load(address, connections, requests).await;
        let after = [service, redis].map(cpu::time_of_threads);
        let [service, redis] =
            [0, 1].map(|process| (after[process] - before[process]).as_secs_f64());
        Self {
            duration: duration.as_secs_f64(),
            service,
            redis,
        }
    }
}

/// Variables of all servers.
const COMMON: [(&str, &str); 1] = [("PRESENCE_STORE_TIMEOUT", "10s")];

/// Starts a server on `redis`. Returns it with its address.
async fn server(redis: &RedisServer, variables: &[(&str, &str)]) -> (Server, String) {
    start_server(&[("PRESENCE_REDIS_URL", &redis.url())], variables)
}

/// Starts a server on a cluster. Returns it with its address.
async fn cluster_server(cluster: &RedisCluster, variables: &[(&str, &str)]) -> (Server, String) {
    start_server(
        &[
            ("PRESENCE_REDIS_URL", &cluster.urls()),
            ("PRESENCE_REDIS_MODE", "cluster"),
        ],
        variables,
    )
}

/// Starts a server. It and this program are pinned to the second CPU, as Redis has the first one.
fn start_server(redis: &[(&str, &str)], variables: &[(&str, &str)]) -> (Server, String) {
    cpu::pin(std::process::id(), "1");
    let server = Server::start(&[redis, &COMMON, variables].concat());
    let address = server.url("").trim_start_matches("http://").to_owned();
    (server, address)
}

/// The body of a heartbeat of a player's only connection.
fn heartbeat(player: usize) -> String {
    format!(
        r#"{{"player_id":"{}","connection_id":"{}"}}"#,
        players::player(player),
        players::connection(player)
    )
}

/// Connects players, in batches of 1,000.
async fn connect(address: &str, players: usize) {
    let requests: Vec<_> = batches("/presence/connect", players).collect();
    http::load(address, 4, &requests).await;
}

/// Requests in batches of 1,000 that name each player once.
fn batches(path: &str, players: usize) -> impl Iterator<Item = Vec<u8>> {
    let chunks = (0..players).step_by(1_000);
    chunks.map(move |first| http::post(path, &players::batch(first..players.min(first + 1_000))))
}

/// The median of some durations or ratios.
fn median<T: PartialOrd + Copy>(values: impl IntoIterator<Item = T>) -> T {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
    values[values.len() / 2]
}
