//! Functions that were frozen, and lost their connection meanwhile without a FIN or RST.

use std::time::Duration;

use presence_tests::{Function, MovingEndpoint, RedisServer, event};
use serde_json::{Value, json};

use super::{Response, invoke};

/// Long enough for a machine that is busy: what is tested is that no call waits for the lost
/// connection.
const TIMEOUT: (&str, &str) = ("PRESENCE_STORE_TIMEOUT", "5s");

async fn heartbeat(function: &Function) -> Response {
    let body = json!({"player_id": "alice", "connection_id": "c1"});
    invoke(function, event::post("/presence/heartbeat", &body)).await
}

async fn set_state(function: &Function, state: &str) -> Response {
    invoke(
        function,
        event::post(
            "/presence/state",
            &json!({"player_id": "alice", "state": state}),
        ),
    )
    .await
}

/// Freezes a function five times, breaks its connection meanwhile, and calls it after each thaw.
async fn five_rounds(break_connection: impl Fn(&MovingEndpoint)) {
    let redis = RedisServer::start().await;
    let endpoint = MovingEndpoint::start(redis.port()).await;
    let function = Function::start(
        "heartbeat",
        &[("PRESENCE_REDIS_URL", &endpoint.url()), TIMEOUT],
    )
    .await;
    assert_eq!(heartbeat(&function).await.0, 200);
    for round in 0..5 {
        function.freeze();
        break_connection(&endpoint);
        function.thaw();
        assert_eq!(heartbeat(&function).await.0, 200, "round {round}");
    }
}

#[tokio::test]
async fn five_rounds_of_freeze_silence_thaw_and_call_fail_no_call() {
    five_rounds(MovingEndpoint::silence_open).await;
}

#[tokio::test]
async fn five_rounds_of_freeze_cut_thaw_and_call_fail_no_call() {
    five_rounds(MovingEndpoint::cut).await;
}

#[tokio::test]
async fn what_may_not_be_repeated_is_not_sent_on_a_connection_that_was_lost_in_a_long_freeze() {
    let redis = RedisServer::start().await;
    let endpoint = MovingEndpoint::start(redis.port()).await;
    let function = Function::start(
        "set-state",
        &[("PRESENCE_REDIS_URL", &endpoint.url()), TIMEOUT],
    )
    .await;
    assert_eq!(set_state(&function, "ONLINE").await.0, 200);
    function.freeze();
    endpoint.silence_open();
    tokio::time::sleep(Duration::from_millis(2_100)).await; // a connection is trusted for 2 s of the host's clock
    function.thaw();
    assert_eq!(set_state(&function, "AWAY").await.0, 200);
}

#[tokio::test]
async fn a_replica_that_a_frozen_function_wakes_up_to_is_not_believed() {
    let old = RedisServer::start().await;
    let new = RedisServer::start().await;
    let endpoint = MovingEndpoint::start(old.port()).await;
    let function = Function::start(
        "get-state",
        &[("PRESENCE_REDIS_URL", &endpoint.url()), TIMEOUT],
    )
    .await;
    let read = async || invoke(&function, event::get("/presence/alice")).await;
    assert_eq!(read().await, (200, offline()));
    function.freeze();
    // A replica that has lost its primary: it goes on replying, with what it last knew.
    let () = old.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    super::play(&new, presence::model::State::Away).await;
    endpoint.move_to(new.port());
    tokio::time::sleep(Duration::from_millis(2_100)).await; // a connection is trusted for 2 s of the host's clock
    function.thaw();
    let (status, body) = read().await;
    assert_eq!((status, &body["state"]), (200, &json!("AWAY")));
}

fn offline() -> Value {
    json!({"player_id": "alice", "state": "OFFLINE", "last_seen": null, "connection_count": 0, "version": null})
}
