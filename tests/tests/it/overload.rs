//! More work than Redis can do at once.

use std::{sync::Arc, time::Duration};

use presence_tests::{Answer, RedisServer, STORE_TIMEOUT, Server};
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

/// Repeats a call that is answered 503 after the time that the answer names. The service may say
/// that it is overloaded, not that Redis did not answer: it does.
async fn repeated(server: &Server, path: &str, body: &Value) -> Answer {
    loop {
        let answer = server.post(path, body.clone()).await;
        if answer.status != 503 {
            return answer;
        }
        assert_eq!(
            answer.body["type"], "urn:presence:overloaded",
            "{}",
            answer.body
        );
        let seconds = answer.headers["retry-after"]
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
        let answer = server.post("/presence/heartbeat", connected.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(
            (&answer.body["accepted"], &answer.body["restored"]),
            (&json!(CONNECTED), &json!([]))
        );
        while let Some(answer) = storm.try_join_next() {
            let answer = answer.unwrap();
            assert_eq!(
                (answer.status, &answer.body["accepted"]),
                (200, &json!(BATCH)),
                "{}",
                answer.body
            );
        }
    }
}
