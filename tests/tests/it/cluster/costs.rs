//! Cost of a cluster in commands, when idle, per health check and per batch.

use presence::{
    model::{Connection, PlayerId},
    telemetry::TraceContext,
};
use presence_tests::{
    NatsServer, RedisCluster, cluster_app, commands_per_health_probe, idle_commands_per_second,
};

#[tokio::test]
async fn an_idle_server_costs_commands_by_its_partitions() {
    let rate = idle_commands_per_second(&RedisCluster::start().await, 1).await;
    assert!(rate <= 600.0, "{rate}");
}

#[tokio::test]
async fn idle_servers_share_what_they_ask() {
    let cluster = RedisCluster::start().await;
    let rate = idle_commands_per_second(&cluster, 4).await;
    assert!(rate <= 800.0, "{rate}");
}

/// Only the checks of the connections are made per master.
#[tokio::test]
async fn an_idle_server_costs_little_more_with_six_masters() {
    let rate = idle_commands_per_second(&RedisCluster::start_masters(6).await, 1).await;
    assert!(rate <= 600.0, "{rate}");
}

#[tokio::test]
async fn a_health_probe_asks_each_partition_once_at_most() {
    let cost = commands_per_health_probe(&RedisCluster::start().await).await;
    assert!(cost <= 300, "{cost}");
}

#[tokio::test]
async fn a_health_probe_costs_a_few_commands_more_per_master() {
    for (masters, limit) in [(6, 320), (16, 400)] {
        let cost = commands_per_health_probe(&RedisCluster::start_masters(masters).await).await;
        assert!(cost <= limit, "{cost} with {masters} masters");
    }
}

/// What a relay has seen is not looked for again.
#[tokio::test]
async fn a_health_probe_beside_a_relay_counts_the_players() {
    let cluster = RedisCluster::start().await;
    let nats = NatsServer::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", &nats.url())]);
    app.relay().unwrap().pass().await.unwrap();
    cluster.forget_commands();
    let health = app
        .health_probe()
        .check_and_count(&app.operator_queries())
        .await;
    assert!(health.is_available());
    let commands = cluster.commands();
    assert_eq!(
        (commands.get("zcard"), commands.get("xrange")),
        (Some(&256), None),
        "{commands:?}"
    );
}

#[tokio::test]
async fn calls_share_commands_within_a_partition() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let connections: Vec<Connection> = presence_tests::connections(1_000);
    let players: Vec<PlayerId> = connections
        .iter()
        .map(|connection| connection.player_id.clone())
        .collect();
    presence
        .connect_batch(connections.clone(), &trace)
        .await
        .unwrap();
    presence
        .heartbeat_batch(connections.clone(), &trace)
        .await
        .unwrap();
    cluster.forget_commands();
    presence.heartbeat_batch(connections, &trace).await.unwrap();
    presence.presences(&players, false).await.unwrap();
    let commands = cluster.commands();
    assert!(commands["evalsha"] <= 256, "{commands:?}");
    assert!(
        commands["mget"] + commands.get("get").copied().unwrap_or_default() - 1_000 <= 256,
        "{commands:?}"
    );
    assert_eq!((commands["set"], commands["setrange"]), (1_000, 1_000));
}
