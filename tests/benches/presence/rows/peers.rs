//! The same heartbeats in other presence services: a Node server, in turns with this one, and the
//! scripts of both and of Centrifugo.
//!
//! Each server has one CPU, Redis has the other, and the load may run on both.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use ::redis::{Cmd, aio::MultiplexedConnection};
use presence_tests::RedisServer;

use super::Cost;
use crate::{
    cpu, http,
    players::{self, thousands},
    redis::{self, CENTRIFUGO, CENTRIFUGO_WITHOUT_USERS},
    report::Report,
};

const PLAYERS: usize = 64_000;
const ROUNDS: usize = 3;

/// The folder of the Node server.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/presence/peer");

/// The paths of the Node server, and what they do.
const VARIANTS: [(&str, &str); 2] = [
    ("/presence/heartbeat", "Node, a script"),
    ("/plain/heartbeat", "Node, one `SET`"),
];

/// The Node server, ended when this is dropped.
struct Peer {
    process: Child,
    address: String,
}

/// Builds the call for a player in a round.
type BuildCall<'a> = &'a dyn Fn(usize, usize) -> Cmd;

/// One server's way of serving the heartbeats.
struct Way {
    process: u32,
    address: String,
    requests: Vec<Vec<u8>>,
    spent: Cost,
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (service, address) = super::server(&server, &[("PRESENCE_TTL", "10m")]).await;
    let Some(peer) = Peer::start(&server) else {
        report.note(
            "Node: left out",
            "node or its packages are missing: npm ci in tests/benches/presence/peer",
        );
        return;
    };
    cpu::pin(std::process::id(), "0,1");
    super::connect(&address, PLAYERS).await;

    let build_single = |path: &str| -> Vec<_> {
        (0..PLAYERS)
            .map(|n| http::post(path, &super::heartbeat(n)))
            .collect()
    };
    let build_batches = |path: &str| super::batches(path, PLAYERS).collect();
    let build_ways = |build_requests: &dyn Fn(&str) -> Vec<Vec<u8>>| {
        let ours = Way::new(service.id(), &address, build_requests(VARIANTS[0].0));
        let theirs = VARIANTS.map(|(path, _)| {
            let requests = build_requests(path);
            Way::new(peer.process.id(), &peer.address, requests)
        });
        std::iter::once(ours).chain(theirs).collect()
    };
    take_turns(
        report,
        "heartbeats, one per call",
        64,
        &server,
        build_ways(&build_single),
    )
    .await;
    take_turns(
        report,
        "heartbeats, in batches of 1,000",
        4,
        &server,
        build_ways(&build_batches),
    )
    .await;
    drop(peer);
    // The scripts below find leases as old as those of a server with the default TTL.
    let heartbeats: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    http::load(&address, 4, &heartbeats).await;
    scripts(report, &server).await;
}

impl Peer {
    /// Starts the server on the second CPU. `None` if Node or a package is missing.
    fn start(redis: &RedisServer) -> Option<Self> {
        let mut process = Command::new("node")
            .arg("server.js")
            .current_dir(FOLDER)
            .env("REDIS_URL", redis.url())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut address = String::new();
        BufReader::new(process.stdout.take()?)
            .read_line(&mut address)
            .ok()?;
        let mut peer = Self {
            process,
            address: address.trim().to_owned(),
        };
        if peer.address.is_empty() {
            let _ = peer.process.wait();
            return None;
        }
        cpu::pin(peer.process.id(), "1");
        Some(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

impl Way {
    fn new(process: u32, address: &str, requests: Vec<Vec<u8>>) -> Self {
        Self {
            process,
            address: address.to_owned(),
            requests,
            spent: Cost::default(),
        }
    }

    async fn serve(&self, connections: usize, server: &RedisServer) -> Cost {
        let processes = [self.process, server.id()];
        Cost::measure(processes, &self.address, connections, &self.requests).await
    }
}

/// Serves the heartbeats in all ways, in turns, and adds rows that compare the first with each other
/// one. The first round, in which Node compiles and the other players are created, does not count.
async fn take_turns(
    report: &mut Report,
    what: &str,
    connections: usize,
    server: &RedisServer,
    mut ways: Vec<Way>,
) {
    for round in 0..=ROUNDS {
        for way in &mut ways {
            let cost = way.serve(connections, server).await;
            if round > 0 {
                way.spent.duration += cost.duration;
                way.spent.service += cost.service;
                way.spent.redis += cost.redis;
            }
        }
    }
    let heartbeats = (ROUNDS * PLAYERS) as f64;
    let format_rate = |seconds: f64| {
        let rate = (heartbeats / seconds) as usize;
        format!("{} per second", thousands(rate))
    };
    let format_micros = |seconds: f64| format!("{:.2} µs", seconds * 1e6 / heartbeats);
    let [ours, theirs @ ..] = &*ways else { return };
    let ours = ours.spent;
    for (way, (_, name)) in theirs.iter().zip(VARIANTS) {
        let theirs = way.spent;
        report.compare(
            what,
            format_rate(ours.duration),
            format!("{} {name}", format_rate(theirs.duration)),
            theirs.duration / ours.duration,
        );
        for (program, ours, theirs) in [
            ("service", ours.service, theirs.service),
            ("Redis", ours.redis, theirs.redis),
        ] {
            report.compare(
                &format!("{what}: {program} CPU per heartbeat"),
                format_micros(ours),
                format!("{} {name}", format_micros(theirs)),
                ours / theirs,
            );
        }
    }
}

/// Compares Redis's whole CPU time for a heartbeat of one player, sent in pipelines without a
/// service.
async fn scripts(report: &mut Report, server: &RedisServer) {
    let mut connection = server.connection().await;
    let own = redis::load(&mut connection, &redis::heartbeat_script()).await;
    let script = std::fs::read_to_string(format!("{FOLDER}/heartbeat.lua")).expect("its script");
    let node = redis::load(&mut connection, &script).await;
    let with = redis::load(&mut connection, CENTRIFUGO).await;
    let without = redis::load(&mut connection, CENTRIFUGO_WITHOUT_USERS).await;
    // Centrifugo's deadlines come from its callers, which send a heartbeat every 15 s.
    let ways: [(&str, BuildCall); 5] = [
        ("", &|n, _| redis::heartbeat(&own, n)),
        ("Node's script", &|n, _| node_call(&node, n)),
        ("Node's `SET`", &|n, _| plain_set(n)),
        ("Centrifugo's script", &|n, round| {
            redis::centrifugo(&with, n, 15 * round)
        }),
        ("Centrifugo's script, without its user map", &|n, round| {
            redis::centrifugo_without_users(&without, n, 15 * round)
        }),
    ];
    let mut best = [f64::MAX; 5];
    for round in 0..=ROUNDS {
        for (best, (_, build_call)) in best.iter_mut().zip(&ways) {
            let build_call = |n| build_call(n, round);
            let seconds = redis_time(server, &connection, build_call).await;
            // The first round warms up: later ones find all players known.
            if round > 0 {
                *best = best.min(seconds);
            }
        }
    }
    let format_micros = |seconds: f64| format!("{:.2} µs", seconds * 1e6);
    for (theirs, (name, _)) in best.iter().zip(&ways).skip(1) {
        report.compare(
            "Redis CPU per heartbeat of one player, without a service",
            format_micros(best[0]),
            format!("{} {name}", format_micros(*theirs)),
            best[0] / theirs,
        );
    }
}

/// Seconds per call, if all players, in no order, are the subject of a call.
async fn redis_time(
    server: &RedisServer,
    connection: &MultiplexedConnection,
    build_call: impl Fn(usize) -> Cmd,
) -> f64 {
    let before = cpu::main_thread_time_of(server.id());
    let calls = (0..PLAYERS).map(|n| build_call(n * 7_919 % PLAYERS));
    redis::pipelined(connection, calls, 500).await;
    (cpu::main_thread_time_of(server.id()) - before).as_secs_f64() / PLAYERS as f64
}

/// A call of the Node server's script.
fn node_call(hash: &str, number: usize) -> Cmd {
    let player = players::player(number);
    let connection = players::connection(number);
    let mut command = ::redis::cmd("EVALSHA");
    command.arg(hash).arg(2);
    command.arg(format!("peer:{player}")).arg("peer:online");
    command.arg(45_000).arg(connection).arg(player);
    command
}

/// The write of the Node server without a script.
fn plain_set(number: usize) -> Cmd {
    let mut command = ::redis::cmd("SET");
    command.arg(format!("plain:{}", players::player(number)));
    command.arg(r#"{"state":"ONLINE","last_seen":1795493786449}"#);
    command.arg("PX").arg(45_000);
    command
}
