//! Redis Cluster: three masters on this machine, compared with standalone Redis. Three processes
//! that share a CPU evict each other's data from its caches, masters with a CPU each do not. So
//! heartbeats are also compared with three standalone servers, which share the CPU in the same way.

use futures_util::future::join_all;
use presence_tests::{
    NatsServer, RedisCluster, RedisServer, Server, commands_per_health_probe,
    idle_commands_per_second,
};
use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::{
    cpu, http,
    players::{self, thousands},
    redis,
    report::{Bar, Report},
    rows::{expiry, friends, median, sweep},
};

const PLAYERS: usize = 200_000;
const FRIENDS: usize = 500;
const FRIENDS_CALLS: usize = 1_000;

/// No player is due while heartbeats and friends calls are measured: the sweep has rows of its own.
const TTL: (&str, &str) = ("PRESENCE_TTL", "10m");

/// Rounds per deployment. The deployments take turns. The median of the rounds counts, so that one
/// disturbance on the machine does not decide.
const ROUNDS: usize = 9;

/// Calls at a time.
const IN_FLIGHT: usize = 4;

/// Batches of heartbeats at a time. The more of them, the more share script calls.
const BATCHES_IN_FLIGHT: [usize; 4] = [1, 2, IN_FLIGHT, 16];

/// A server with the processes of its Redis.
struct Deployment {
    service: Server,
    address: String,
    nodes: Vec<u32>,
    /// The standalone Redis, which ends when this is dropped.
    _redis: Option<RedisServer>,
}

/// What requests took, in seconds.
#[derive(Debug, Clone, Copy)]
struct Spent {
    /// CPU time.
    redis: f64,
    /// CPU time.
    service: f64,
    elapsed: f64,
}

pub(crate) async fn measure(report: &mut Report) {
    calls(report).await;
    expiry_at_once(report).await;
    sweep::measure_cluster(report, &start_cluster().await).await;
    // With both CPUs, a server has as many workers and connections as it would have elsewhere.
    cpu::pin(std::process::id(), "0,1");
    idle(report).await;
    probes(report).await;
}

/// Measures heartbeats and friends, in turns with one standalone Redis that holds the same players,
/// and with three that hold a third of them each.
async fn calls(report: &mut Report) {
    let cluster = start_cluster().await;
    let (service, address) = super::cluster_server(&cluster, &[TTL]).await;
    let masters = [Deployment {
        service,
        address,
        nodes: cluster.ids(),
        _redis: None,
    }];
    let one = [start_standalone().await];
    let three = [
        start_standalone().await,
        start_standalone().await,
        start_standalone().await,
    ];
    heartbeats(report, &cluster, &masters, &one, &three).await;
    friends(report, &cluster, &masters, &one).await;
}

async fn heartbeats(
    report: &mut Report,
    cluster: &RedisCluster,
    masters: &[Deployment],
    one: &[Deployment],
    three: &[Deployment],
) {
    let players: Vec<_> = (0..PLAYERS).collect();
    let whole = batches("/presence/heartbeat", &players, 1_000);
    let third = batches("/presence/heartbeat", &players[..PLAYERS / 3], 1_000 / 3);
    for (deployments, requests) in [(masters, &whole), (one, &whole), (three, &third)] {
        for deployment in deployments {
            connect(&deployment.address, PLAYERS / deployments.len()).await;
        }
        serve(deployments, IN_FLIGHT, requests).await; // to warm up
    }
    for in_flight in BATCHES_IN_FLIGHT {
        let mut rounds = Vec::new();
        cluster.forget_commands();
        for _ in 0..ROUNDS {
            rounds.push([
                serve(masters, in_flight, &whole).await,
                serve(one, in_flight, &whole).await,
                serve(three, in_flight, &third).await,
            ]);
        }
        let batches = format!("three masters: batches of 1,000, {in_flight} in flight");
        let format_median = |side, part: fn(&Spent) -> f64| {
            format!("{:.2} µs", median_micros(&rounds, side, part, PLAYERS))
        };
        for (side, name) in [(2, "three standalone"), (1, "one standalone")] {
            let format_redis = |side| format_median(side, |spent| spent.redis);
            report.add(
                &format!("{batches}: Redis CPU per heartbeat, against {name}"),
                format!("{} three masters", format_redis(0)),
                format!("{} {name}", format_redis(side)),
                median(
                    rounds
                        .iter()
                        .map(|round| round[0].redis / round[side].redis),
                ),
                Bar::AtMost(1.35),
            );
        }
        let [ours, reference] = [0, 1].map(|side| format_median(side, |spent| spent.service));
        report.note(
            &format!("{batches}: service CPU per heartbeat"),
            &format!("{ours}, {reference} standalone"),
        );
        let [ours, reference] = [0, 1].map(|side| {
            let micros = median_micros(&rounds, side, |spent| spent.elapsed, PLAYERS);
            thousands((1e6 / micros) as usize)
        });
        report.note(
            &format!("{batches}: heartbeats per second"),
            &format!("{ours}, {reference} standalone"),
        );
        let calls = cluster.commands()["evalsha"] as f64 * 1_000.0 / (ROUNDS * PLAYERS) as f64;
        report.note(
            &format!("{batches}: script calls per batch"),
            &format!("{calls:.0}, 20 standalone"),
        );
    }
}

async fn friends(
    report: &mut Report,
    cluster: &RedisCluster,
    masters: &[Deployment],
    one: &[Deployment],
) {
    let build_body = |call| friends::body(friends::friends(call, FRIENDS, PLAYERS));
    let requests: Vec<_> = (0..FRIENDS_CALLS)
        .map(|call| http::post("/presence/friends", &build_body(call)))
        .collect();
    cluster.forget_commands();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([
            serve(masters, IN_FLIGHT, &requests).await,
            serve(one, IN_FLIGHT, &requests).await,
        ]);
    }
    let commands: u64 = ["get", "mget", "time"]
        .iter()
        .filter_map(|name| cluster.commands().get(*name).copied())
        .sum();
    let calls = (ROUNDS * FRIENDS_CALLS) as f64;
    let format_median = |side, part: fn(&Spent) -> f64| {
        format!(
            "{:.0} µs",
            median_micros(&rounds, side, part, FRIENDS_CALLS)
        )
    };
    let call = format!("friends, {FRIENDS} per call");
    let [ours, reference] = [0, 1].map(|side| format_median(side, |spent| spent.redis));
    report.note(
        &format!("three masters: Redis CPU, {call}"),
        &format!("{ours} all masters, {reference} standalone"),
    );
    let [ours, reference] = [0, 1].map(|side| format_median(side, |spent| spent.service));
    report.note(
        &format!("three masters: service CPU, {call}"),
        &format!("{ours}, {reference} standalone"),
    );
    report.note(
        &format!("three masters: commands, {call}"),
        &format!("{:.0}, 2 standalone", commands as f64 / calls),
    );
}

/// Connects players in random order: those of a gateway's batch did not connect together, so Redis
/// does not hold them in adjacent memory.
async fn connect(address: &str, players: usize) {
    let mut order: Vec<_> = (0..players).collect();
    order.shuffle(&mut StdRng::seed_from_u64(1));
    let requests = batches("/presence/connect", &order, 1_000);
    http::load(address, IN_FLIGHT, &requests).await;
}

/// Requests that name these players, in their order and in batches of this length.
fn batches(path: &str, players: &[usize], length: usize) -> Vec<Vec<u8>> {
    let batches = players.chunks(length);
    batches
        .map(|batch| http::post(path, &players::batch(batch.iter().copied())))
        .collect()
}

async fn start_standalone() -> Deployment {
    let redis = redis::start().await;
    let (service, address) = super::server(&redis, &[TTL]).await;
    Deployment {
        service,
        address,
        nodes: vec![redis.id()],
        _redis: Some(redis),
    }
}

/// Sends these requests to each of some deployments at the same time. Returns what all of them
/// took.
async fn serve(deployments: &[Deployment], in_flight: usize, requests: &[Vec<u8>]) -> Spent {
    let before = cpu_times(deployments);
    let loads = deployments
        .iter()
        .map(|deployment| http::load(&deployment.address, in_flight, requests));
    let durations = join_all(loads).await;
    let after = cpu_times(deployments);
    let [redis, service] = [0, 1].map(|part| after[part] - before[part]);
    Spent {
        redis,
        service,
        elapsed: durations
            .into_iter()
            .max()
            .unwrap_or_default()
            .as_secs_f64(),
    }
}

/// The CPU times that Redis and the service of some deployments took so far, in seconds.
fn cpu_times(deployments: &[Deployment]) -> [f64; 2] {
    let nodes = deployments.iter().flat_map(|deployment| &deployment.nodes);
    let services = deployments.iter().map(|deployment| deployment.service.id());
    [
        nodes.map(|id| cpu::time_of(*id).as_secs_f64()).sum(),
        services.map(|id| cpu::time_of(id).as_secs_f64()).sum(),
    ]
}

/// The median of what rounds of some requests took of one side, in µs per request.
fn median_micros<const SIDES: usize>(
    rounds: &[[Spent; SIDES]],
    side: usize,
    part: fn(&Spent) -> f64,
    requests: usize,
) -> f64 {
    let seconds = median(rounds.iter().map(|round| part(&round[side])));
    seconds * 1e6 / requests as f64
}

async fn expiry_at_once(report: &mut Report) {
    let cluster = start_cluster().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let url = nats.url();
    let (_service, address) = super::cluster_server(&cluster, &expiry::variables(&url)).await;
    expiry::measure_at(report, "three masters: ", &nats, &address).await;
}

async fn idle(report: &mut Report) {
    for (servers, bar) in [(1, 600.0), (2, 800.0), (4, 800.0)] {
        let cluster = RedisCluster::start().await;
        let rate = idle_commands_per_second(&cluster, servers).await;
        let what = format!("three masters: commands per second, idle servers: {servers}");
        report.add(
            &what,
            thousands(rate as usize),
            "–".to_owned(),
            rate,
            Bar::AtMost(bar),
        );
    }
}

async fn probes(report: &mut Report) {
    for (masters, bar) in [(3, 300.0), (16, 400.0)] {
        let cluster = RedisCluster::start_masters(masters).await;
        let commands = commands_per_health_probe(&cluster).await;
        let what = format!("{masters} masters: commands of a health probe");
        report.add(
            &what,
            commands.to_string(),
            "–".to_owned(),
            commands as f64,
            Bar::AtMost(bar),
        );
    }
}

/// Starts three masters that share the first CPU.
pub(super) async fn start_cluster() -> RedisCluster {
    let cluster = RedisCluster::start().await;
    for node in cluster.ids() {
        cpu::pin(node, "0");
    }
    cluster
}
