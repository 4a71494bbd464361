//! The functions that a schedule invokes.

use std::time::{Duration, Instant};

use presence_tests::{
    Function, NatsServer, RedisServer,
    event::{self, EventSource, HttpEvent},
};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

/// What EventBridge's schedule sends.
fn schedule() -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "123456789012",
        "time": "2025-10-08T16:53:06Z",
        "region": "us-east-1",
        "resources": ["arn:aws:events:us-east-1:123456789012:rule/presence"],
        "detail": {}
    })
}

async fn start(name: &str, redis: &str, nats: &str) -> Function {
    let variables = [
        ("PRESENCE_REDIS_URL", redis),
        ("PRESENCE_NATS_URL", nats),
        ("PRESENCE_TTL", "300ms"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "100ms"),
        ("PRESENCE_SWEEP_INTERVAL", "100ms"),
    ];
    Function::start(name, &variables).await
}

#[tokio::test]
async fn the_sweep_goes_on_until_its_deadline_is_near() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let connect = start("connect", &redis.url(), &nats.url()).await;
    let sweep = start("sweep", &redis.url(), &nats.url()).await;
    sweep
        .invoke_within(schedule(), Duration::from_secs(1))
        .await
        .unwrap();
    let begin = Instant::now();
    let sweeping = sweep.invoke_within(schedule(), Duration::from_secs(8));
    let connecting = connect.invoke(event::post(
        "/presence/connect",
        &json!({"player_id": "a", "connection_id": "c"}),
    ));
    let (report, connected) = tokio::join!(sweeping, connecting);
    connected.unwrap();
    let report = report.unwrap();

    let elapsed = begin.elapsed();
    assert!(
        (Duration::from_secs(6)..Duration::from_secs(8)).contains(&elapsed),
        "{elapsed:?}"
    );
    assert!(report["passes"].as_u64().unwrap() >= 10, "{report}");
    assert_eq!(report["expired"], 1);
    // The sweep may have published the connect as well, before the function struck it.
    assert!(
        (1..=2).contains(&report["published"].as_u64().unwrap()),
        "{report}"
    );
    let kinds: Vec<_> = nats
        .messages("PRESENCE_EVENTS")
        .await
        .iter()
        .map(|message| {
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            event["reason"].clone()
        })
        .collect();
    assert_eq!(kinds, ["connect", "expired"]);
}

#[tokio::test]
async fn a_sweep_with_little_time_still_makes_one_pass() {
    let redis = RedisServer::start().await;
    let sweep = start("sweep", &redis.url(), "").await;
    let report = sweep
        .invoke_within(schedule(), Duration::from_secs(1))
        .await
        .unwrap();
    assert_eq!(report["passes"], 1);
}

#[tokio::test]
async fn a_sweep_with_little_time_still_relays_what_waits() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let event = r#"{"id":"alice:1","type":"PresenceOnline","player_id":"alice","occurred_at":1}"#;
    for _ in 0..600 {
        redis
            .connection()
            .await
            .xadd("presence:{all}:outbox", "*", &[("event", event)])
            .await
            .unwrap();
    }
    let sweep = start("sweep", &redis.url(), &nats.url()).await;
    let report = sweep
        .invoke_within(schedule(), Duration::from_secs(3))
        .await
        .unwrap();
    assert!(report["passes"].as_u64().unwrap() >= 1, "{report}");
    assert_eq!(
        redis
            .connection()
            .await
            .xlen("presence:{all}:outbox")
            .await
            .unwrap(),
        0,
        "{report}"
    );
    assert_eq!(nats.messages("PRESENCE_EVENTS").await.len(), 1);
}

/// Neither of the two may keep the sweep beyond its deadline.
#[tokio::test]
async fn a_sweep_ends_before_its_deadline_though_nats_hangs_or_redis() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let connect = start("connect", &redis.url(), "nats://127.0.0.1:1").await;
    let sweep = start("sweep", &redis.url(), &nats.url()).await;
    sweep
        .invoke_within(schedule(), Duration::from_secs(1))
        .await
        .unwrap();
    let alice = json!({"player_id": "a", "connection_id": "c"});
    connect
        .invoke(event::post("/presence/connect", &alice))
        .await
        .unwrap();
    nats.pause();
    let begin = Instant::now();
    let report = sweep
        .invoke_within(schedule(), Duration::from_secs(4))
        .await
        .unwrap();
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(4)).contains(&begin.elapsed()),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        (&report["expired"], &report["published"]),
        (&json!(1), &json!(0)),
        "events wait: {report}"
    );
    nats.resume();
    redis.pause();
    let begin = Instant::now();
    assert!(
        sweep
            .invoke_within(schedule(), Duration::from_secs(4))
            .await
            .is_err(),
        "an unavailable Redis fails the invocation"
    );
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    redis.resume();
}

#[tokio::test]
async fn a_sweep_without_redis_fails() {
    let sweep = start("sweep", "redis://127.0.0.1:1", "").await;
    assert!(sweep.invoke(schedule()).await.is_err());
}

#[tokio::test]
async fn health_reports_every_component() {
    let mut redis = RedisServer::start().await;
    let mut nats = NatsServer::start().await;
    let health = start("health", &redis.url(), &nats.url()).await;
    let report = health.invoke(schedule()).await.unwrap();
    assert_eq!(report["status"], "ok", "no sweep seen yet is not a fault");
    let get_statuses = |report: &Value| {
        ["redis", "nats", "sweep", "outbox"].map(|part| report["checks"][part]["status"].clone())
    };
    assert_eq!(get_statuses(&report), ["ok", "ok", "unknown", "ok"]);

    let sweep = start("sweep", &redis.url(), &nats.url()).await;
    sweep
        .invoke_within(schedule(), Duration::from_secs(1))
        .await
        .unwrap();
    nats.kill();
    let report = health.invoke(schedule()).await.unwrap();
    assert_eq!(
        (&report["status"], get_statuses(&report)),
        (
            &json!("degraded"),
            ["ok", "unavailable", "ok", "ok"].map(Value::from)
        )
    );

    redis
        .connection()
        .await
        .set("presence:{all}:swept", 1_700_000_000_000_u64)
        .await
        .unwrap();
    assert_eq!(
        health.invoke(schedule()).await.unwrap()["checks"]["sweep"]["status"],
        "degraded"
    );

    redis.kill();
    let error = health.invoke(schedule()).await.unwrap_err();
    assert!(
        error["errorMessage"]
            .as_str()
            .unwrap()
            .contains("unavailable"),
        "{error}"
    );
}

#[tokio::test]
async fn health_serves_http_too() {
    let mut redis = RedisServer::start().await;
    let health = start("health", &redis.url(), "").await;
    let response = health.invoke(event::get("/health/ready")).await.unwrap();
    assert_eq!(response["statusCode"], 200);
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["checks"]["nats"]["status"], "disabled");
    for kind in EventSource::ALL {
        for (method, status) in [("GET", 200), ("HEAD", 200), ("POST", 405), ("DELETE", 405)] {
            let response = health
                .invoke(HttpEvent::new(kind, method, "/health/ready/").build())
                .await
                .unwrap();
            assert_eq!(response["statusCode"], status, "{kind:?} {method}");
            assert_eq!(
                response["headers"]["cache-control"], "no-store",
                "{kind:?} {method}"
            );
            assert_eq!(
                response["headers"]["allow"].as_str(),
                (status == 405).then_some("GET, HEAD"),
                "{kind:?} {method}"
            );
        }
    }
    redis.kill();
    // A check is shared for a second.
    let response = loop {
        let response = health.invoke(event::get("/health/ready")).await.unwrap();
        if response["statusCode"] != 200 {
            break response;
        }
    };
    assert_eq!(
        (&response["statusCode"], &response["headers"]["retry-after"]),
        (&json!(503), &json!("1"))
    );
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["status"], "unavailable");
}
