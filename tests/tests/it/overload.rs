//! More work than Redis can do at once.

use std::{sync::Arc, time::Duration};

use presence_tests::{RedisServer, Response, STORE_TIMEOUT, Server};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

/// Batches that are sent at the same time: several store timeouts of work for Redis.
const BATCHES: usize = 50;
const BATCH: usize = 2_000;

/// Players who are connected before the storm.
const CONNECTED: usize = 500;

fn batch(players: std::ops::Range<usize>) -> Value {
    let entries =
        players.map(|n| json!({"player_id": format!("p{n}"), "connection_id": format!("c{n}")}));
    json!({"connections": entries.collect::<Vec<_>>()})
}

/// Repeats a call that gets a 503 after the time that the response names. The service may say
/// that it is overloaded, not that Redis did not respond: it does.
async fn repeated(server: &Server, path: &str, body: &Value) -> Response {
    loop {
        let response = server.post(path, body.clone()).await;
        if response.status != 503 {
            return response;
        }
        assert_eq!(
            response.body["type"], "urn:presence:overloaded",
            "{}",
            response.body
        );
        let seconds = response.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        sleep(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test]
async fn a_storm_of_connects_is_not_taken_for_a_redis_that_is_gone_and_heartbeats_go_first() {
    let redis = RedisServer::start().await;
    let server = Arc::new(Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        STORE_TIMEOUT,
    ]));
    let connected = batch(0..CONNECTED);
    assert_eq!(
        server
            .post("/presence/connect", connected.clone())
            .await
            .body["accepted"],
        CONNECTED
    );

    let mut storm = JoinSet::new();
    for first in (CONNECTED..).step_by(BATCH).take(BATCHES) {
        let server = Arc::clone(&server);
        storm.spawn(async move {
            repeated(&server, "/presence/connect", &batch(first..first + BATCH)).await
        });
    }
    while !storm.is_empty() {
        let response = server.post("/presence/heartbeat", connected.clone()).await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(
            (&response.body["accepted"], &response.body["restored"]),
            (&json!(CONNECTED), &json!([]))
        );
        while let Some(response) = storm.try_join_next() {
            let response = response.unwrap();
            assert_eq!(
                (response.status, &response.body["accepted"]),
                (200, &json!(BATCH)),
                "{}",
                response.body
            );
        }
    }
}
