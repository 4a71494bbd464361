//! Cost of activities: heartbeats, friends and memory with one of 256 bytes, and without.

use presence_tests::Server;
use redis::aio::MultiplexedConnection;

use super::friends;
use crate::{
    cpu, http, players, redis as bench,
    report::{Bar, Report},
};

/// The number of players without an activity. As many with one follow them.
const PLAYERS: usize = 20_000;
const FRIENDS: usize = 500;
const CALLS: usize = 500;

/// Rounds of both; the best of them counts, for both alike.
const ROUNDS: usize = 5;

/// The cost of a call, in µs of CPU.
#[derive(Debug, Clone, Copy)]
struct Cost {
    redis: f64,
    service: f64,
}

struct Bench {
    raw: MultiplexedConnection,
    service: Server,
    address: String,
}

pub(crate) async fn measure(report: &mut Report) {
    let server = bench::start().await;
    let (service, address) = super::server(&server, &[]).await;
    let bench = Bench {
        raw: server.connection().await,
        service,
        address,
    };
    let memory = bench.fill().await;
    let figure = format!("{:.0} bytes, {:.0} without", memory[1], memory[0]);
    report.note(
        "Redis memory per player with an activity of 256 bytes",
        &figure,
    );

    let hash = bench::load(&mut bench.raw.clone(), &bench::heartbeat_script()).await;
    let heartbeats = [0, PLAYERS].map(|first| bench_heartbeats(&hash, first));
    let [mut without, mut with] = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        without = without.min(bench.script_time(&heartbeats[0]).await);
        with = with.min(bench.script_time(&heartbeats[1]).await);
    }
    let reference = format!("{without:.2} µs without");
    let what = "heartbeat script, players with activities";
    report.add(
        what,
        format!("{with:.2} µs"),
        reference,
        with / without,
        Bar::AtMost(1.3),
    );

    let build_heartbeats = |first: usize| {
        (first..first + PLAYERS)
            .map(move |n| http::post("/presence/heartbeat", &super::heartbeat(n)))
    };
    let [without, with] = bench
        .compare([0, PLAYERS].map(|first| build_heartbeats(first).collect()))
        .await;
    Bench::add(
        report,
        "heartbeats, one per call, with activities",
        without,
        with,
        Bar::AtMost(1.3),
    );

    let pick_friends =
        |call, first| friends::friends(call, FRIENDS, PLAYERS).map(move |n| first + n);
    let build_request = |call, first| {
        http::post(
            "/presence/friends",
            &friends::body(pick_friends(call, first)),
        )
    };
    let build_requests = |first| {
        (0..CALLS)
            .map(move |call| build_request(call, first))
            .collect()
    };
    let [without, with] = bench.compare([0, PLAYERS].map(build_requests)).await;
    // A second MGET of two keys per player, and a response of three times the length.
    let what = format!("friends, {FRIENDS} per call, each with an activity");
    Bench::add(report, &what, without, with, Bar::AtMost(5.0));
}

/// A heartbeat of each of [`PLAYERS`] from `first` on, in no order.
fn bench_heartbeats(hash: &str, first: usize) -> Vec<::redis::Cmd> {
    let scattered = (0..PLAYERS).map(|n| first + n * 7_919 % PLAYERS);
    scattered.map(|n| bench::heartbeat(hash, n)).collect()
}

/// An activity of 256 bytes as compact JSON.
fn activity() -> String {
    let [before, after] = [
        r#"{"custom":{"map":""#,
        r#""},"details":"Ranked, 2/4","joinable":true}"#,
    ];
    format!(
        "{before}{}{after}",
        "x".repeat(256 - before.len() - after.len())
    )
}

impl Bench {
    /// Connects all players, and sets the activities of the second half. Returns the bytes in Redis
    /// per player without and with an activity.
    async fn fill(&self) -> [f64; 2] {
        let empty = self.used_memory().await;
        super::connect(&self.address, 2 * PLAYERS).await;
        self.send_heartbeats().await;
        let connected = self.used_memory().await;
        let build_body = |n| {
            format!(
                r#"{{"player_id":"{}","activity":{}}}"#,
                players::player(n),
                activity()
            )
        };
        let requests: Vec<_> = (PLAYERS..2 * PLAYERS)
            .map(|n| http::post("/presence/state", &build_body(n)))
            .collect();
        http::load(&self.address, 4, &requests).await;
        self.send_heartbeats().await; // the first heartbeat after a change is another case
        let without = (connected - empty) / (2 * PLAYERS) as f64;
        [
            without,
            without + (self.used_memory().await - connected) / PLAYERS as f64,
        ]
    }

    async fn send_heartbeats(&self) {
        let heartbeats: Vec<_> = super::batches("/presence/heartbeat", 2 * PLAYERS).collect();
        http::load(&self.address, 4, &heartbeats).await;
    }

    async fn used_memory(&self) -> f64 {
        bench::number(&mut self.raw.clone(), "memory", "used_memory").await
    }

    /// The µs of Redis's CPU that a script call takes.
    async fn script_time(&self, calls: &[::redis::Cmd]) -> f64 {
        let mut raw = self.raw.clone();
        bench::reset(&mut raw).await;
        bench::pipelined(&self.raw, calls.iter().cloned(), 500).await;
        bench::spent(&mut raw, "evalsha").await.as_secs_f64() * 1e6 / calls.len() as f64
    }

    /// Measures the lowest cost of each of two kinds of requests.
    async fn compare(&self, requests: [Vec<Vec<u8>>; 2]) -> [Cost; 2] {
        let mut best = [Cost {
            redis: f64::MAX,
            service: f64::MAX,
        }; 2];
        for _ in 0..ROUNDS {
            for (best, requests) in best.iter_mut().zip(&requests) {
                let Cost { redis, service } = self.cost(requests).await;
                *best = Cost {
                    redis: best.redis.min(redis),
                    service: best.service.min(service),
                };
            }
        }
        best
    }

    async fn cost(&self, requests: &[Vec<u8>]) -> Cost {
        let mut raw = self.raw.clone();
        let service_before = cpu::time_of(self.service.id());
        let redis_before = bench::cpu_time(&mut raw).await;
        http::load(&self.address, 4, requests).await;
        let service = cpu::time_of(self.service.id()) - service_before;
        let redis = bench::cpu_time(&mut raw).await - redis_before;
        let [redis, service] =
            [redis, service].map(|time| time.as_secs_f64() * 1e6 / requests.len() as f64);
        Cost { redis, service }
    }

    /// Adds a row for each program.
    fn add(report: &mut Report, what: &str, without: Cost, with: Cost, bar: Bar) {
        for (program, with, without) in [
            ("Redis", with.redis, without.redis),
            ("service", with.service, without.service),
        ] {
            let reference = format!("{without:.1} µs without");
            report.add(
                &format!("{program} CPU, {what}"),
                format!("{with:.1} µs"),
                reference,
                with / without,
                bar,
            );
        }
    }
}
