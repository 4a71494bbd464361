//! Redis Cluster: three masters on this machine, compared with one standalone Redis.

use presence_tests::{
    NatsServer, RedisCluster, Server, commands_per_health_probe, idle_commands_per_second,
};

use crate::{
    cpu, http,
    players::thousands,
    redis,
    report::{Bar, Report},
    rows::{expiry, friends, sweep},
};

const PLAYERS: usize = 200_000;
const FRIENDS: usize = 500;
const FRIENDS_CALLS: usize = 1_000;

/// Rounds per deployment. The two take turns.
const ROUNDS: usize = 5;

/// Calls at a time.
const IN_FLIGHT: usize = 4;

/// Batches of heartbeats at a time. The more of them, the more share script calls.
const BATCHES_IN_FLIGHT: [usize; 3] = [1, IN_FLIGHT, 16];

/// A server with the processes of its Redis.
struct Deployment {
    service: Server,
    address: String,
    nodes: Vec<u32>,
}

/// CPU time in seconds.
#[derive(Default)]
struct Spent {
    redis: f64,
    service: f64,
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

/// Measures heartbeats and friends, in turns with a standalone Redis that holds the same players.
async fn calls(report: &mut Report) {
    let cluster = start_cluster().await;
    let single = redis::start().await;
    let (service, address) = super::cluster_server(&cluster, &[]).await;
    let clustered = Deployment {
        service,
        address,
        nodes: cluster.ids(),
    };
    let (service, address) = super::server(&single, &[]).await;
    let standalone = Deployment {
        service,
        address,
        nodes: vec![single.id()],
    };

    let requests: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    for deployment in [&clustered, &standalone] {
        super::connect(&deployment.address, PLAYERS).await;
        http::load(&deployment.address, IN_FLIGHT, &requests).await; // to warm up
    }
    for in_flight in BATCHES_IN_FLIGHT {
        cluster.forget_commands();
        let (ours, reference) = take_turns(&clustered, &standalone, in_flight, &requests).await;
        let calls = cluster.commands()["evalsha"];
        report_heartbeats(report, in_flight, &ours, &reference, calls);
    }

    let body = |call| friends::body(friends::friends(call, FRIENDS, PLAYERS));
    let requests: Vec<_> = (0..FRIENDS_CALLS)
        .map(|call| http::post("/presence/friends", &body(call)))
        .collect();
    cluster.forget_commands();
    let (ours, reference) = take_turns(&clustered, &standalone, IN_FLIGHT, &requests).await;
    let commands: u64 = ["get", "mget", "time"]
        .iter()
        .filter_map(|name| cluster.commands().get(*name).copied())
        .sum();
    let calls = (ROUNDS * FRIENDS_CALLS) as f64;
    let micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6 / calls);
    let figure = format!(
        "{} all masters, {} standalone",
        micros(ours.redis),
        micros(reference.redis)
    );
    report.note(
        &format!("three masters: Redis CPU, friends, {FRIENDS} per call"),
        &figure,
    );
    let figure = format!(
        "{}, {} standalone",
        micros(ours.service),
        micros(reference.service)
    );
    report.note(
        &format!("three masters: service CPU, friends, {FRIENDS} per call"),
        &figure,
    );
    let figure = format!("{:.0}, 2 standalone", commands as f64 / calls);
    report.note(
        &format!("three masters: commands, friends, {FRIENDS} per call"),
        &figure,
    );
}

/// Reports the costs of heartbeats, of which so many batches were in flight.
fn report_heartbeats(
    report: &mut Report,
    in_flight: usize,
    ours: &Spent,
    reference: &Spent,
    script_calls: u64,
) {
    let per_heartbeat = (ROUNDS * PLAYERS) as f64;
    let micros = |seconds: f64| format!("{:.2} µs", seconds * 1e6 / per_heartbeat);
    let batches = format!("three masters, batches of 1,000, {in_flight} in flight");
    report.add(
        &format!("{batches}: Redis CPU per heartbeat"),
        format!("{} all masters", micros(ours.redis)),
        format!("{} standalone", micros(reference.redis)),
        ours.redis / reference.redis,
        Bar::AtMost(1.35),
    );
    let figure = format!(
        "{}, {} standalone",
        micros(ours.service),
        micros(reference.service)
    );
    report.note(&format!("{batches}: service CPU per heartbeat"), &figure);
    let calls_per_batch = script_calls as f64 * 1_000.0 / per_heartbeat;
    report.note(
        &format!("{batches}: script calls per batch"),
        &format!("{calls_per_batch:.0}, 20 standalone"),
    );
}

/// Sends all requests to both deployments, in turns.
async fn take_turns(
    clustered: &Deployment,
    standalone: &Deployment,
    in_flight: usize,
    requests: &[Vec<u8>],
) -> (Spent, Spent) {
    let mut spent = (Spent::default(), Spent::default());
    for _ in 0..ROUNDS {
        clustered.serve(in_flight, requests, &mut spent.0).await;
        standalone.serve(in_flight, requests, &mut spent.1).await;
    }
    spent
}

impl Deployment {
    /// Serves the requests, and adds the CPU time that they took.
    async fn serve(&self, in_flight: usize, requests: &[Vec<u8>], spent: &mut Spent) {
        let redis = self.redis_time();
        let service = self.service_time();
        http::load(&self.address, in_flight, requests).await;
        spent.redis += self.redis_time() - redis;
        spent.service += self.service_time() - service;
    }

    fn redis_time(&self) -> f64 {
        self.nodes
            .iter()
            .map(|node| cpu::time_of(*node).as_secs_f64())
            .sum()
    }

    fn service_time(&self) -> f64 {
        cpu::time_of(self.service.id()).as_secs_f64()
    }
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
    for (servers, limit) in [(1, 600.0), (2, 800.0), (4, 800.0)] {
        let cluster = RedisCluster::start().await;
        let rate = idle_commands_per_second(&cluster, servers).await;
        let what = format!("three masters: commands per second, idle servers: {servers}");
        report.add(
            &what,
            thousands(rate as usize),
            "–".to_owned(),
            rate,
            Bar::AtMost(limit),
        );
    }
}

async fn probes(report: &mut Report) {
    for (masters, limit) in [(3, 300.0), (16, 400.0)] {
        let cluster = RedisCluster::start_masters(masters).await;
        let commands = commands_per_health_probe(&cluster).await;
        let what = format!("{masters} masters: commands of a health probe");
        report.add(
            &what,
            commands.to_string(),
            "–".to_owned(),
            commands as f64,
            Bar::AtMost(limit),
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
