//! Growth of costs with the number of players, friends, devices, watchers, partitions and gateways.
//! There are no bars, and one plot for each.

mod gateways;
mod partitions;
mod watchers;

use presence_tests::{RedisServer, Server};
use redis::aio::MultiplexedConnection;

use crate::{
    cpu, http,
    players::{self, thousands},
    plot::Plot,
    redis as bench,
    report::Report,
    rows::friends,
};

const PLAYERS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const DEVICES: [usize; 4] = [1, 2, 4, 8];
const FRIENDS: [usize; 4] = [10, 100, 500, 2_000];

/// The minimum number of heartbeats per measurement.
const HEARTBEATS: usize = 1_000_000;
/// The number of friends read per measurement.
const FRIENDS_READ: usize = 1_000_000;

/// The number of players with several devices.
const OWNERS: usize = 20_000;

/// The service and the Redis whose CPU time is measured.
struct Bench {
    _redis: RedisServer,
    raw: MultiplexedConnection,
    service: Server,
    address: String,
}

pub(crate) async fn measure(report: &mut Report) {
    let bench = Bench::start().await;
    let mut service = Vec::new();
    let mut redis = Vec::new();
    let mut known = 0;
    for players in PLAYERS {
        let connects: Vec<_> = super::batches("/presence/connect", players)
            .skip(known / 1_000)
            .collect();
        http::load(&bench.address, 4, &connects).await;
        known = players;
        let heartbeats: Vec<_> = super::batches("/presence/heartbeat", players).collect();
        let [ours, theirs] = bench
            .spent(4, &heartbeats, HEARTBEATS.div_ceil(players), players)
            .await;
        report.note(
            &format!("heartbeats of {} players", thousands(players)),
            &costs(ours, theirs),
        );
        service.push(ours);
        redis.push(theirs);
    }
    let title = "µs of CPU per heartbeat, in batches of 1,000";
    draw("heartbeats", title, "players", &PLAYERS, redis, service);

    let mut service = Vec::new();
    let mut redis = Vec::new();
    for count in FRIENDS {
        let calls = FRIENDS_READ / count;
        let build_body = |call| friends::body(friends::friends(call, count, known));
        let requests: Vec<_> = (0..calls)
            .map(|call| http::post("/presence/friends", &build_body(call)))
            .collect();
        let [ours, theirs] = bench.spent(4, &requests, 1, calls).await;
        report.note(
            &format!("friends, {} per call", thousands(count)),
            &costs(ours, theirs),
        );
        service.push(ours);
        redis.push(theirs);
    }
    draw(
        "friends",
        "µs of CPU per friends call",
        "friends",
        &FRIENDS,
        redis,
        service,
    );
    drop(bench);

    let mut service = Vec::new();
    let mut redis = Vec::new();
    for devices in DEVICES {
        let [ours, theirs] = measure_devices(report, devices).await;
        service.push(ours);
        redis.push(theirs);
    }
    let title = "µs of CPU per heartbeat, in batches of 1,000";
    draw(
        "devices",
        title,
        "devices of each player",
        &DEVICES,
        redis,
        service,
    );

    watchers::measure(report).await;
    partitions::measure(report).await;
    gateways::measure(report).await;
}

/// Draws the costs of Redis and of the service.
fn draw(name: &str, title: &str, x: &str, sizes: &[usize], redis: Vec<f64>, service: Vec<f64>) {
    let x_ticks: Vec<_> = sizes.iter().copied().map(thousands).collect();
    Plot {
        title,
        x,
        x_ticks: &x_ticks,
        lines: &[("Redis", redis), ("the service", service)],
    }
    .write(name);
}

/// Measures heartbeats of players with several devices.
async fn measure_devices(report: &mut Report, devices: usize) -> [f64; 2] {
    let bench = Bench::start().await;
    // One batch holds one device of each player, as each device has a gateway of its own.
    let build_batches = |path: &'static str| {
        let chunks = (0..devices)
            .flat_map(|device| (0..OWNERS).step_by(1_000).map(move |first| (device, first)));
        let build_entry = |device, n| {
            format!(
                r#"{{"player_id":"{}","connection_id":"conn-{device}-{n:05}"}}"#,
                players::player(n)
            )
        };
        chunks.map(move |(device, first)| {
            let entries: Vec<_> = (first..first + 1_000)
                .map(|n| build_entry(device, n))
                .collect();
            http::post(
                path,
                &format!(r#"{{"connections":[{}]}}"#, entries.join(",")),
            )
        })
    };
    http::load(
        &bench.address,
        1,
        &build_batches("/presence/connect").collect::<Vec<_>>(),
    )
    .await;
    let heartbeats: Vec<_> = build_batches("/presence/heartbeat").collect();
    let rounds = HEARTBEATS.div_ceil(devices * OWNERS);
    let [ours, theirs] = bench.spent(1, &heartbeats, rounds, devices * OWNERS).await;
    report.note(
        &format!("heartbeats of players with {devices} devices"),
        &costs(ours, theirs),
    );
    [ours, theirs]
}

impl Bench {
    async fn start() -> Self {
        let redis = bench::start().await;
        let (service, address) = super::server(&redis, &[]).await;
        Self {
            raw: redis.connection().await,
            _redis: redis,
            service,
            address,
        }
    }

    /// The CPU time of service and Redis in µs per entry, if `requests` contain `count` entries
    /// together.
    async fn spent(
        &self,
        connections: usize,
        requests: &[Vec<u8>],
        rounds: usize,
        count: usize,
    ) -> [f64; 2] {
        let mut raw = self.raw.clone();
        http::load(&self.address, connections, requests).await; // to warm up
        let before = (
            cpu::time_of(self.service.id()),
            bench::cpu_time(&mut raw).await,
        );
        for _ in 0..rounds {
            http::load(&self.address, connections, requests).await;
        }
        let ours = cpu::time_of(self.service.id()) - before.0;
        let theirs = bench::cpu_time(&mut raw).await - before.1;
        [ours, theirs].map(|time| time.as_secs_f64() * 1e6 / (rounds * count) as f64)
    }
}

fn costs(service: f64, redis: f64) -> String {
    format!("{redis:.1} µs Redis, {service:.1} µs service")
}
