//! NATS in all its conditions.

mod credentials;
mod peers;
mod poison;
mod secured;
mod streams;

use std::time::Duration;

use presence_tests::{NatsServer, RedisServer, Server};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const STREAM: &str = "PRESENCE_EVENTS";
const OUTBOX: &str = "presence:{all}:outbox";

/// How long events may take to flow again after a fault.
const HEALING_TIMEOUT: Duration = Duration::from_secs(30);

async fn connect(server: &Server, player: &str) {
    let response = server
        .post(
            "/presence/connect",
            json!({"player_id": player, "connection_id": "c"}),
        )
        .await;
    assert_eq!(response.status, 200, "{:?}", response.body);
}

/// The players whose events a stream holds, in its order.
async fn players(nats: &NatsServer, stream: &str) -> Vec<String> {
    let messages = nats.messages(stream).await;
    let parse_player = |payload: &[u8]| {
        let event: Value = serde_json::from_slice(payload).unwrap();
        event["player_id"].as_str().unwrap().to_owned()
    };
    messages
        .iter()
        .map(|message| parse_player(&message.payload))
        .collect()
}

async fn outbox_length(redis: &RedisServer) -> usize {
    redis.connection().await.xlen(OUTBOX).await.unwrap()
}

/// Waits until a condition holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        while !condition().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(
        timeout(HEALING_TIMEOUT, holds).await.is_ok(),
        "{what}: not within {HEALING_TIMEOUT:?}"
    );
}

async fn nats_check(server: &Server) -> String {
    let ready = server.get("/health/ready").await;
    ready.body["checks"]["nats"]["status"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

async fn until_nats_is(server: &Server, status: &str) {
    until(&format!("nats is {status}"), async || {
        nats_check(server).await == status
    })
    .await;
}
