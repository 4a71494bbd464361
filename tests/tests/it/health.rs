//! Cost of health checks: nothing per call, and a few commands per node for each check.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use presence::operator::HealthStatus;
use presence_tests::{
    NatsServer, RedisCluster, RedisServer, Server, Socket, app, cluster_app, event,
};
use serde_json::Value;

/// How often each command was called since the last reset, except those of the harness, and except
/// the check that every connection makes every second.
async fn calls(raw: &mut redis::aio::MultiplexedConnection) -> BTreeMap<String, u64> {
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(raw)
        .await
        .unwrap();
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats
        .lines()
        .filter_map(count)
        .filter(|(name, _)| !["info", "config|resetstat", "ping", "role"].contains(&&**name))
        .collect()
}

async fn reset(raw: &mut redis::aio::MultiplexedConnection) {
    redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .exec_async(raw)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_thousand_probes_of_a_server_cost_a_check_per_second() {
    let redis = RedisServer::start().await;
    // Neither sweep nor relay is to be counted.
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_SWEEP_INTERVAL", "1h"),
    ]);
    assert_eq!(server.get("/health/ready").await.status, 200);
    let mut raw = redis.connection().await;
    reset(&mut raw).await;
    let begin = Instant::now();
    let probe = async || {
        let mut socket = Socket::connect(&server).await;
        for _ in 0..50 {
            let response = socket
                .ask("GET /health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .await;
            assert_eq!(
                (response.status, &response.body["status"]),
                (200, &Value::from("ok"))
            );
        }
        // Those that do not wait for the response cost no more.
        socket
            .send("GET /health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
    };
    join_all((0..20).map(|_| probe())).await;
    let checks = begin.elapsed().as_secs() + 2; // one at the beginning, and one of the gauges
    let calls = calls(&mut raw).await;
    assert!(
        calls.values().all(|count| *count <= 4 * checks),
        "{calls:?} of {checks} checks at most"
    );
}

#[tokio::test]
async fn a_check_of_a_cluster_takes_a_few_commands_per_node() {
    let cluster = RedisCluster::start().await;
    let nats = NatsServer::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", &nats.url())]);
    // The whole outbox has to be read from time to time: the relay, or the first check.
    app.relay().unwrap().pass().await.unwrap();
    let mut nodes = Vec::new();
    for url in cluster.urls().split(',') {
        let client = redis::Client::open(url).unwrap();
        nodes.push(client.get_multiplexed_async_connection().await.unwrap());
    }
    for raw in &mut nodes {
        reset(raw).await;
    }
    let health = app.health().latest().await;
    assert_eq!(health.checks.outbox.status, HealthStatus::Ok);
    for raw in &mut nodes {
        let calls = calls(raw).await;
        assert!(calls.values().sum::<u64>() < 30, "{calls:?}");
    }
}

#[tokio::test]
async fn callers_at_the_same_time_share_a_check_and_later_ones_get_another() {
    let mut redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let health = app.health();
    let mut raw = redis.connection().await;
    reset(&mut raw).await;
    for health in join_all((0..1_000).map(|_| health.latest())).await {
        assert!(health.is_available());
    }
    let calls = calls(&mut raw).await;
    assert!(calls.values().all(|count| *count <= 4), "{calls:?}");
    redis.kill();
    while health.latest().await.is_available() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_age_of_the_outbox_is_what_the_relay_saw() {
    let redis = RedisServer::start().await;
    let mut nats = NatsServer::start().await;
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_NATS_URL", &*nats.url()),
        ("PRESENCE_SWEEP_INTERVAL", "100ms"),
    ];
    let server = Server::start(&variables);
    nats.kill();
    let connect = serde_json::json!({"player_id": "alice", "connection_id": "c1"});
    server.post("/presence/connect", connect).await;
    let read_age = async || {
        let ready = server.get("/health/ready").await;
        assert_eq!(ready.status, 200);
        ready.body["checks"]["outbox"]["age_ms"]
            .as_u64()
            .unwrap_or_default()
    };
    while read_age().await < 1_000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    nats.restart().await;
    while read_age().await > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_functions_probe_shares_a_check_as_well() {
    let redis = RedisServer::start().await;
    let function =
        presence_tests::Function::start("health", &[("PRESENCE_REDIS_URL", &*redis.url())]).await;
    let probe = async || function.invoke(event::get("/health/ready")).await.unwrap();
    assert_eq!(probe().await["statusCode"], 200);
    let mut raw = redis.connection().await;
    reset(&mut raw).await;
    let begin = Instant::now();
    for _ in 0..100 {
        assert_eq!(probe().await["statusCode"], 200);
    }
    let checks = begin.elapsed().as_secs() + 1;
    let calls = calls(&mut raw).await;
    assert!(
        calls.values().all(|count| *count <= 4 * checks),
        "{calls:?} of {checks} checks at most"
    );
}
