//! NATS as a cluster, by TLS, and with credentials.

use std::{collections::HashSet, time::Duration};

use presence::telemetry::TraceContext;
use presence_tests::{
    NatsCluster, RedisServer, SecuredNats, SecuredRedis, Server, app, connection,
};
use redis::AsyncTypedCommands as _;
use serde_json::json;

use super::STREAM;

#[tokio::test]
async fn a_replicated_stream_takes_every_event_once_though_its_leader_is_killed() {
    let redis = RedisServer::start().await;
    let mut nats = NatsCluster::start().await;
    let app = app(&redis, &[("PRESENCE_NATS_URL", &nats.urls())]);
    let presence = app.presence();
    let relay = app.relay().unwrap();
    let trace = TraceContext::new_root();
    let connect = async |n: usize| {
        presence
            .connect(&connection(&format!("p{n}"), "c"), &trace)
            .await
            .unwrap()
    };
    connect(0).await;
    let mut outbox = redis.connection().await;
    let mut pass_until_empty = async || {
        while outbox.xlen("presence:{all}:outbox").await.unwrap() > 0 {
            relay.pass().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    pass_until_empty().await;
    assert_eq!(
        nats.replicas(STREAM).await,
        3,
        "the stream was made with as many replicas as there are servers"
    );

    for n in 1..50 {
        connect(n).await;
    }
    let leader = nats.leader(STREAM).await.unwrap();
    nats.kill(leader);
    for n in 50..100 {
        connect(n).await;
    }
    pass_until_empty().await;
    nats.heal(STREAM).await;
    let players: Vec<_> = nats
        .bodies(STREAM)
        .await
        .iter()
        .map(|event| event["player_id"].to_string())
        .collect();
    assert_eq!(
        players.iter().collect::<HashSet<_>>().len(),
        100,
        "none is lost"
    );
    assert_eq!(players.len(), 100, "no event is in the stream twice");
}

#[tokio::test]
async fn without_credentials_events_wait_and_calls_go_on() {
    let redis = SecuredRedis::start().await;
    let nats = SecuredNats::start(redis.authority()).await;
    let redis_url = redis.url();
    let nats_url = nats.url();
    let certificate = redis.authority().certificate().display().to_string();
    let server = Server::start(&[
        ("SSL_CERT_FILE", &*certificate),
        ("PRESENCE_REDIS_URL", &*redis_url),
        ("PRESENCE_NATS_URL", &*nats_url),
    ]);
    let connect = server
        .post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "c"}),
        )
        .await;
    assert_eq!(connect.status, 200);
    let ready = server.get("/health/ready").await;
    assert_eq!(
        (ready.status, &ready.body["status"]),
        (200, &json!("degraded"))
    );
    assert_eq!(ready.body["checks"]["nats"]["status"], "unavailable");
    assert_eq!(redis.ask(&["XLEN", "presence:{all}:outbox"]), "1");
    assert!(nats.messages(STREAM).await.is_empty());
}
