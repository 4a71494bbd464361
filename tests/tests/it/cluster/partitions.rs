//! The number of partitions: where players are stored, and a program that is configured for another
//! number.

use std::time::Duration;

use presence::{PresenceError, StoreError, telemetry::TraceContext};
use presence_tests::{
    Function, RedisCluster, Server, cluster_app, connection, event, partition_key, record_key,
};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const NUMBER: &str = "PRESENCE_CLUSTER_PARTITIONS";

fn variables(urls: &str) -> Vec<(&str, &str)> {
    vec![
        ("PRESENCE_REDIS_URL", urls),
        ("PRESENCE_REDIS_MODE", "cluster"),
    ]
}

#[tokio::test]
async fn a_players_keys_have_the_documented_names() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    app.presence()
        .connect(&connection("alice", "c1"), &TraceContext::new_root())
        .await
        .unwrap();
    assert_eq!(
        record_key("alice"),
        "presence:{7806}:alice",
        "as docs/presence.md has it"
    );
    let mut raw = cluster.connection().await;
    assert!(raw.exists("presence:{7806}:alice").await.unwrap());
    assert_eq!(
        raw.get(partition_key(0, "partitions"))
            .await
            .unwrap()
            .as_deref(),
        Some("256")
    );
}

/// A player called like another player's keys, or like those of a partition.
#[tokio::test]
async fn no_id_is_taken_for_another_key() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[(NUMBER, "1")]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let ids = [
        "alice",
        "alice:past",
        "alice:closed",
        "expiry",
        "outbox",
        "swept",
        "partitions",
    ];
    for id in ids {
        assert_eq!(
            presence
                .connect(&connection(id, "c1"), &trace)
                .await
                .unwrap()
                .connection_count,
            1,
            "{id}"
        );
    }
    for id in ids {
        assert_eq!(
            presence
                .heartbeat(&connection(id, "c1"), &trace)
                .await
                .unwrap()
                .connection_count,
            1,
            "{id}"
        );
    }
}

#[tokio::test]
async fn reads_and_health_checks_do_not_store_the_number() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    app.presence()
        .presences(&[presence_tests::player("alice")], true)
        .await
        .unwrap();
    app.health_probe().check().await;
    let mut raw = cluster.connection().await;
    assert!(!raw.exists(partition_key(0, "partitions")).await.unwrap());
}

#[tokio::test]
async fn a_server_with_another_number_says_so_and_ends() {
    let cluster = RedisCluster::start().await;
    let urls = cluster.urls();
    let server = Server::start(&variables(&urls));
    assert_eq!(
        server
            .post(
                "/presence/connect",
                json!({"player_id": "alice", "connection_id": "c"})
            )
            .await
            .status,
        200
    );
    let other = [
        variables(&urls),
        vec![(NUMBER, "128"), ("PRESENCE_BIND", "127.0.0.1:0")],
    ]
    .concat();
    let output = std::process::Command::new(presence_tests::binary("presence-server"))
        .env_clear()
        .envs(other)
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{log}");
    let last = log.lines().last().unwrap();
    assert_eq!(
        last,
        format!("{NUMBER} accepts 256, over which the data in Redis is spread already")
    );
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_function_with_another_number_refuses_every_call() {
    let cluster = RedisCluster::start().await;
    let urls = cluster.urls();
    let app = cluster_app(&cluster, &[]);
    app.presence()
        .connect(&connection("alice", "c1"), &TraceContext::new_root())
        .await
        .unwrap();
    let other = [variables(&urls), vec![(NUMBER, "512")]].concat();
    let call = json!({"player_id": "alice", "connection_id": "c1"});
    for (name, event) in [
        ("heartbeat", event::post("/presence/heartbeat", &call)),
        (
            "friends",
            event::post("/presence/friends", &json!({"player_ids": ["alice"]})),
        ),
        ("get-state", event::get("/presence/alice")),
    ] {
        let response = Function::start(name, &other)
            .await
            .invoke(event)
            .await
            .unwrap();
        assert_eq!(response["statusCode"], 503, "{name}: {response}");
        let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
        let detail = body["detail"].as_str().unwrap();
        assert!(
            detail.contains("256") && detail.contains("PRESENCE_CLUSTER_PARTITIONS is 512"),
            "{detail}"
        );
    }
    for name in ["sweep", "health"] {
        let schedule = json!({"source": "aws.events"});
        Function::start(name, &other)
            .await
            .invoke(schedule)
            .await
            .unwrap_err();
    }
}

/// Redis was unavailable at the start, or was replaced since.
#[tokio::test]
async fn a_running_server_notices_another_number_and_logs_one_line() {
    let cluster = RedisCluster::start().await;
    let urls = cluster.urls();
    let settings = [variables(&urls), vec![("PRESENCE_SWEEP_INTERVAL", "100ms")]].concat();
    let server = Server::start(&settings);
    let call = json!({"player_id": "alice", "connection_id": "c"});
    assert_eq!(
        server.post("/presence/connect", call.clone()).await.status,
        200
    );
    let mut raw = cluster.connection().await;
    raw.set(partition_key(0, "partitions"), "64").await.unwrap();
    while server
        .post("/presence/heartbeat", call.clone())
        .await
        .status
        != 503
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while server.get("/health/ready").await.status != 503 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.await_log("spread over 64 partitions").await;
    tokio::time::sleep(Duration::from_millis(500)).await; // several passes of the sweep
    assert_eq!(
        server.logged("spread over 64 partitions").len(),
        1,
        "{}",
        server.log()
    );
    raw.set(partition_key(0, "partitions"), "256")
        .await
        .unwrap();
    while server
        .post("/presence/heartbeat", call.clone())
        .await
        .status
        != 200
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_flush_is_followed_by_the_same_number() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence
        .connect(&connection("alice", "c1"), &trace)
        .await
        .unwrap();
    (0..3).for_each(|master| assert_eq!(cluster.ask(master, &["FLUSHALL"]), "OK"));
    let mut raw = cluster.connection().await;
    while !raw.exists(partition_key(0, "partitions")).await.unwrap() {
        presence
            .heartbeat(&connection("alice", "c1"), &trace)
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let other = cluster_app(&cluster, &[(NUMBER, "64")]);
    let refused = other
        .presence()
        .heartbeat(&connection("alice", "c1"), &trace)
        .await;
    assert!(matches!(
        refused,
        Err(PresenceError::Store(StoreError::Partitions {
            stored: 256,
            configured: 64
        }))
    ));
}

/// The first use of an unused cluster by many programs at once.
#[tokio::test]
async fn one_number_wins_when_programs_disagree() {
    let cluster = RedisCluster::start().await;
    let trace = TraceContext::new_root();
    let apps = ["64", "128", "256", "512"]
        .map(|number| cluster_app(&cluster, &[(NUMBER, number)]).presence());
    let connection = connection("alice", "c1");
    let calls = apps
        .iter()
        .map(|presence| presence.connect(&connection, &trace));
    let responses = futures_util::future::join_all(calls).await;
    assert_eq!(
        responses.iter().filter(|response| response.is_ok()).count(),
        1,
        "{responses:?}"
    );
}
