//! This server in turns with that of another commit, whose binary `PRESENCE_BENCH_OTHER` names.

use std::path::PathBuf;

use presence_tests::{NatsServer, RedisServer, Server, binary};

use super::{COMMON, Cost, friends, median, million};
use crate::{
    cpu, http, redis,
    report::{Bar, Report},
};

/// The variable with the path of the other server.
const OTHER: &str = "PRESENCE_BENCH_OTHER";

const PLAYERS: usize = 200_000;
const SINGLE_CALLS: usize = 32_000;
const FRIENDS: usize = 500;
const FRIENDS_CALLS: usize = 500;
/// Players that connect per round.
const CONNECTS: usize = 50_000;

/// Rounds per server. The two take turns.
const ROUNDS: usize = 9;

/// "Not worse": at most 5 % more.
const BAR: Bar = Bar::AtMost(1.05);

/// A server with a Redis and a NATS server of its own.
struct Deployment {
    redis: RedisServer,
    nats: NatsServer,
    service: Server,
    address: String,
}

/// The value of a cost that a row is about.
type Part = fn(&Cost) -> f64;

pub(crate) async fn measure(report: &mut Report) {
    let Some(other) = std::env::var_os(OTHER).filter(|path| !path.is_empty()) else {
        report.note("left out", &format!("{OTHER} is not set"));
        return;
    };
    cpu::pin(std::process::id(), "1");
    let ours = Deployment::start(binary("presence-server")).await;
    let other = Deployment::start(other.into()).await;
    let both = [&ours, &other];

    let connects: Vec<_> = super::batches("/presence/connect", PLAYERS).collect();
    let mut memory = [0.0; 2];
    let heartbeats: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    for (deployment, memory) in both.into_iter().zip(&mut memory) {
        let empty = deployment.used_memory().await;
        http::load(&deployment.address, 4, &connects).await;
        million::settle(&deployment.nats, PLAYERS as u64).await;
        http::load(&deployment.address, 4, &heartbeats).await;
        *memory = (deployment.used_memory().await - empty) / PLAYERS as f64;
    }
    let figures = memory.map(|bytes| format!("{bytes:.0} bytes"));
    add(
        report,
        "Redis memory per player",
        figures,
        memory[0] / memory[1],
    );

    let batch_costs = take_turns(both, 4, 0, |_| heartbeats.clone()).await;
    add_rows(
        report,
        "heartbeat, in batches of 1,000",
        PLAYERS,
        &batch_costs,
    );

    let build_body = |call| friends::body(friends::friends(call, FRIENDS, PLAYERS));
    let friends_calls: Vec<_> = (0..FRIENDS_CALLS)
        .map(|call| http::post("/presence/friends", &build_body(call)))
        .collect();
    let friends_costs = take_turns(both, 4, 0, |_| friends_calls.clone()).await;
    add_rows(report, "friends call of 500", FRIENDS_CALLS, &friends_costs);

    let connect_costs = take_turns(both, 4, CONNECTS, |round| {
        let known = PLAYERS + round * CONNECTS;
        super::batches("/presence/connect", known + CONNECTS)
            .skip(known / 1_000)
            .collect()
    })
    .await;
    add_rows(
        report,
        "connect, in batches of 1,000",
        CONNECTS,
        &connect_costs,
    );

    // As in the measurement `single`, everything may run on both CPUs.
    for deployment in both {
        cpu::pin(deployment.redis.id(), "0,1");
        cpu::pin(deployment.service.id(), "0,1");
    }
    cpu::pin(std::process::id(), "0,1");
    let single_calls: Vec<_> = (0..SINGLE_CALLS)
        .map(|n| http::post("/presence/heartbeat", &super::heartbeat(n)))
        .collect();
    let single_costs = take_turns(both, 64, 0, |_| single_calls.clone()).await;
    add_rows(
        report,
        "heartbeat, one per call",
        SINGLE_CALLS,
        &single_costs,
    );
}

impl Deployment {
    async fn start(program: PathBuf) -> Self {
        let redis = redis::start().await;
        let nats = NatsServer::start().await;
        cpu::pin(nats.id(), "0,1");
        let variables = [
            ("PRESENCE_REDIS_URL", &*redis.url()),
            ("PRESENCE_NATS_URL", &nats.url()),
            ("PRESENCE_TTL", "10m"), // for longer than all rounds
        ];
        let service = Server::start_program(&program, &[&COMMON[..], &variables].concat());
        let address = service.url("").trim_start_matches("http://").to_owned();
        Self {
            redis,
            nats,
            service,
            address,
        }
    }

    async fn used_memory(&self) -> f64 {
        redis::number(&mut self.redis.connection().await, "memory", "used_memory").await
    }

    async fn serve(&self, connections: usize, requests: &[Vec<u8>]) -> Cost {
        let processes = [self.service.id(), self.redis.id()];
        Cost::measure(processes, &self.address, connections, requests).await
    }
}

/// Sends the requests of each round to both; each round emits `events` events, which have to be
/// published before the next turn. The two swap their order from round to round, and the first
/// round, which warms up, does not count.
async fn take_turns(
    both: [&Deployment; 2],
    connections: usize,
    events: usize,
    build_requests: impl Fn(usize) -> Vec<Vec<u8>>,
) -> Vec<[Cost; 2]> {
    let mut costs = Vec::new();
    for round in 0..=ROUNDS {
        let requests = build_requests(round);
        let mut pair = [None; 2];
        for side in [round % 2, 1 - round % 2] {
            pair[side] = Some(both[side].serve(connections, &requests).await);
            if events > 0 {
                let all = PLAYERS + (round + 1) * events;
                million::settle(&both[side].nats, all as u64).await;
            }
        }
        costs.extend(pair[0].zip(pair[1]).map(<[Cost; 2]>::from));
    }
    costs.split_off(1)
}

/// Adds a row for the duration and each process: the medians of both, and that of their ratios.
fn add_rows(report: &mut Report, call: &str, calls: usize, costs: &[[Cost; 2]]) {
    let parts: [(&str, Part); 3] = [
        ("time", |cost| cost.duration),
        ("service CPU", |cost| cost.service),
        ("Redis CPU", |cost| cost.redis),
    ];
    for (name, part) in parts {
        let figures = [0, 1].map(|side| {
            let seconds = median(costs.iter().map(|pair| part(&pair[side])));
            format!("{:.2} µs", seconds * 1e6 / calls as f64)
        });
        let ratio = median(costs.iter().map(|[ours, other]| part(ours) / part(other)));
        add(report, &format!("{name} per {call}"), figures, ratio);
    }
}

fn add(report: &mut Report, what: &str, [ours, other]: [String; 2], ratio: f64) {
    report.add(what, ours, format!("{other} the other"), ratio, BAR);
}
