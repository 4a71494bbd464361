//! What a cluster costs in commands, when idle, per health check and per batch.

use std::time::{Duration, Instant};

use presence::{
    model::{Connection, PlayerId},
    trace::TraceContext,
};
use presence_tests::{Function, NatsServer, RedisCluster, Server, cluster_app, event};
use serde_json::json;

/// The time over which commands are counted: several passes of everything that is repeated.
const WINDOW: Duration = Duration::from_secs(12);

/// Commands per second of idle servers with default settings, each of which has served calls on all of its threads.
async fn idle_rate(servers: usize) -> f64 {
    let (cluster, nats) = (RedisCluster::start().await, NatsServer::start().await);
    let (urls, nats_url) = (cluster.urls(), nats.url());
    let variables =
        [("PRESENCE_REDIS_URL", &*urls), ("PRESENCE_REDIS_MODE", "cluster"), ("PRESENCE_NATS_URL", &*nats_url)];
    let servers: Vec<_> = (0..servers).map(|_| Server::start(&variables)).collect();
    for server in &servers {
        let ids: Vec<_> = (0..500).map(|n| format!("p{n}")).collect();
        for _ in 0..20 {
            assert_eq!(server.post("/presence/friends", json!({ "player_ids": ids })).await.status, 200);
        }
        while server.get("/health/ready").await.body["checks"]["sweep"]["status"] != "ok" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    cluster.forget_commands();
    let begin = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let commands = cluster.commands();
    let rate = commands.values().sum::<u64>() as f64 / begin.elapsed().as_secs_f64();
    eprintln!("{} idle servers: {rate:.0} commands per second: {commands:?}", servers.len());
    rate
}

#[tokio::test]
async fn an_idle_server_costs_commands_by_its_partitions() {
    let rate = idle_rate(1).await;
    assert!(rate <= 600.0, "{rate}");
}

#[tokio::test]
async fn idle_servers_share_what_they_ask() {
    let rate = idle_rate(4).await;
    assert!(rate <= 800.0, "{rate}");
}

async fn probe_cost(masters: usize) -> u64 {
    let (cluster, nats) = (RedisCluster::start_masters(masters).await, NatsServer::start().await);
    let (urls, nats_url) = (cluster.urls(), nats.url());
    let variables =
        [("PRESENCE_REDIS_URL", &*urls), ("PRESENCE_REDIS_MODE", "cluster"), ("PRESENCE_NATS_URL", &*nats_url)];
    let mut most = 0;
    for event in [event::get("/health/ready"), json!({"source": "aws.events"})] {
        let function = Function::start("health", &variables).await;
        cluster.forget_commands();
        function.invoke(event).await.unwrap();
        let commands = cluster.commands();
        most = most.max(commands.values().sum());
        eprintln!("{masters} masters: {commands:?}");
    }
    most
}

#[tokio::test]
async fn a_health_probe_asks_each_partition_once_at_most() {
    let cost = probe_cost(3).await;
    assert!(cost <= 300, "{cost}");
}

#[tokio::test]
async fn a_health_probe_costs_a_few_commands_more_per_master() {
    let cost = probe_cost(16).await;
    assert!(cost <= 400, "{cost}");
}

/// What a relay has seen is not looked for again.
#[tokio::test]
async fn a_health_probe_beside_a_relay_counts_the_players() {
    let (cluster, nats) = (RedisCluster::start().await, NatsServer::start().await);
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", &nats.url())]);
    app.relay().unwrap().pass().await.unwrap();
    cluster.forget_commands();
    let health = app.health_probe().check_and_count(&app.insight()).await;
    assert!(health.is_available());
    let commands = cluster.commands();
    assert_eq!((commands.get("zcard"), commands.get("xrange")), (Some(&256), None), "{commands:?}");
}

#[tokio::test]
async fn calls_share_commands_within_a_partition() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    let connections: Vec<Connection> = presence_tests::connections(1_000);
    let players: Vec<PlayerId> = connections.iter().map(|connection| connection.player_id.clone()).collect();
    presence.connect_batch(connections.clone(), &trace).await.unwrap();
    presence.heartbeat_batch(connections.clone(), &trace).await.unwrap();
    cluster.forget_commands();
    presence.heartbeat_batch(connections, &trace).await.unwrap();
    presence.presences(&players, false).await.unwrap();
    let commands = cluster.commands();
    assert!(commands["evalsha"] <= 256, "{commands:?}");
    assert!(commands["mget"] + commands.get("get").copied().unwrap_or_default() - 1_000 <= 256, "{commands:?}");
    assert_eq!((commands["set"], commands["setrange"]), (1_000, 1_000));
}
