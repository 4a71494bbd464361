//! Outages of Redis: it is down, hangs, refuses writes or loses its data.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use presence_tests::{RedisServer, event};
use serde_json::{Value, json};

use super::{Functions, Response};

/// A timeout of the store that is longer than a call takes on a busy machine.
const STORE_TIMEOUT: (&str, &str) = ("PRESENCE_STORE_TIMEOUT", "2s");

/// The duration of a call that waits for one timeout of the store, but not for two.
const ONE_TIMEOUT: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(4);

fn alice() -> Value {
    json!({"player_id": "alice", "connection_id": "c1"})
}

/// Valid calls of every function.
fn calls() -> [(&'static str, Value); 11] {
    let post = |body: Value| event::post("/", &body);
    let build_batch =
        || post(json!({"connections": [alice(), {"player_id": "bob", "connection_id": "c1"}]}));
    [
        ("connect", post(alice())),
        ("connect", build_batch()),
        ("heartbeat", post(alice())),
        ("heartbeat", build_batch()),
        ("disconnect", post(alice())),
        ("disconnect", build_batch()),
        (
            "set-state",
            post(json!({"player_id": "alice", "state": "ONLINE"})),
        ),
        ("get-state", event::get("/presence/alice")),
        ("friends", post(json!({"player_ids": ["alice", "bob"]}))),
        ("gateway", post(json!({"gateway_id": "g1"}))),
        (
            "gateway",
            post(json!({"gateway_id": "g1", "leaving": "moving"})),
        ),
    ]
}

/// Checks that a store that cannot be read is a 503, never OFFLINE.
#[track_caller]
fn assert_unavailable(response: &Response, about: &str) {
    response.assert_problem(503, "store-unavailable", about);
    assert_eq!(
        response.header("cache-control"),
        Some("no-store"),
        "{about}"
    );
    assert!(
        response
            .header("retry-after")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0,
        "{about}"
    );
}

/// Calls all functions concurrently, as each call may take the timeout of the store.
async fn assert_all_unavailable(functions: &mut Functions) {
    for (name, _) in calls() {
        functions.run(name).await;
    }
    let functions = &*functions;
    let names: BTreeSet<_> = calls().iter().map(|(name, _)| *name).collect();
    let invocations = names.into_iter().map(|name| async move {
        for (_, event) in calls().into_iter().filter(|(other, _)| *other == name) {
            let begin = Instant::now();
            assert_unavailable(&functions.invoke_running(name, event).await, name);
            assert!(
                begin.elapsed() < ONE_TIMEOUT.end,
                "{name} took {:?}",
                begin.elapsed()
            );
        }
    });
    join_all(invocations).await;
}

async fn assert_all_served(functions: &mut Functions) {
    for (name, event) in calls() {
        let response = functions.invoke(name, event).await;
        // Earlier calls may have reached a frozen Redis and closed the connection: 410 is valid,
        // too.
        assert!(matches!(response.status, 200 | 410), "{name}: {response:?}");
    }
    functions
        .accept(
            "connect",
            json!({"player_id": "carol", "connection_id": "c1"}),
        )
        .await;
    assert_eq!(
        functions.get("/presence/carol").await.ok()["state"],
        "ONLINE"
    );
}

fn signal(redis: &RedisServer, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &redis.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn while_redis_is_down_calls_are_503_and_it_is_used_again_once_it_is_up() {
    let mut functions = Functions::with(&[STORE_TIMEOUT]).await;
    assert_all_served(&mut functions).await;
    functions.redis.kill();
    assert_all_unavailable(&mut functions).await;
    functions.redis.restart().await;
    assert_all_served(&mut functions).await;
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_used_as_soon_as_it_is_up() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let mut functions = Functions::on(redis, &[STORE_TIMEOUT]);
    assert_all_unavailable(&mut functions).await;
    functions.redis.restart().await;
    assert_all_served(&mut functions).await;
}

#[tokio::test]
async fn a_frozen_redis_is_503_within_the_stores_timeout() {
    let mut functions = Functions::with(&[STORE_TIMEOUT]).await;
    assert_all_served(&mut functions).await;
    signal(&functions.redis, "-STOP");
    assert_all_unavailable(&mut functions).await;
    signal(&functions.redis, "-CONT");
    assert_all_served(&mut functions).await;
}

#[tokio::test]
async fn a_redis_that_was_frozen_before_the_first_call_is_503_within_the_stores_timeout() {
    let redis = RedisServer::start().await;
    signal(&redis, "-STOP");
    let mut functions = Functions::on(redis, &[STORE_TIMEOUT]);
    assert_all_unavailable(&mut functions).await;
    signal(&functions.redis, "-CONT");
}

#[tokio::test]
async fn a_redis_that_thawed_serves_the_very_next_call() {
    let redis = RedisServer::start().await;
    signal(&redis, "-STOP");
    let mut functions = Functions::on(redis, &[("PRESENCE_STORE_TIMEOUT", "200ms")]);
    // After two timeouts of the second function, the first one's last attempt to connect has ended,
    // too.
    for name in ["connect", "heartbeat", "heartbeat"] {
        assert_unavailable(&functions.post(name, &alice()).await, name);
    }
    signal(&functions.redis, "-CONT");
    assert_eq!(
        functions.accept("connect", alice()).await["state"],
        "ONLINE"
    );
    assert_eq!(
        functions.accept("heartbeat", alice()).await["connection_count"],
        1
    );
}

#[tokio::test]
async fn the_longest_lists_wait_no_longer_for_a_frozen_redis_than_a_single_entry() {
    let mut functions = Functions::with(&[STORE_TIMEOUT]).await;
    functions.accept("heartbeat", alice()).await;
    functions
        .accept("friends", json!({"player_ids": ["alice"]}))
        .await;
    signal(&functions.redis, "-STOP");
    let entries: Vec<_> = (0..2_000)
        .map(|n| json!({"player_id": format!("p{n}"), "connection_id": "c"}))
        .collect();
    let ids: Vec<_> = (0..2_000).map(|n| format!("p{n}")).collect();
    for (name, body) in [
        ("heartbeat", json!({"connections": entries})),
        ("friends", json!({"player_ids": ids})),
    ] {
        let begin = Instant::now();
        assert_unavailable(&functions.post(name, &body).await, name);
        let elapsed = begin.elapsed();
        assert!(ONE_TIMEOUT.contains(&elapsed), "{elapsed:?}");
    }
    signal(&functions.redis, "-CONT");
}

#[tokio::test]
async fn a_redis_that_refuses_writes_is_503_for_writes_and_still_read() {
    let mut functions = Functions::start().await;
    functions.accept("connect", alice()).await;
    functions.redis(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // A disconnect frees memory, so Redis accepts it.
    let needs_memory = |name: &str| ["connect", "heartbeat", "set-state"].contains(&name);
    for (name, event) in calls().into_iter().filter(|(name, _)| needs_memory(name)) {
        assert_unavailable(&functions.invoke(name, event).await, name);
    }
    assert_unavailable(
        &functions
            .post("gateway", &json!({"gateway_id": "g1"}))
            .await,
        "a gateway's lease",
    );
    assert_eq!(
        functions.get("/presence/alice").await.ok()["state"],
        "ONLINE"
    );
    functions.redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(
        functions.accept("heartbeat", alice()).await["connection_count"],
        1
    );
}

#[tokio::test]
async fn a_redis_that_requires_a_password_is_503_without_details() {
    let mut functions = Functions::start().await;
    functions
        .redis(&["CONFIG", "SET", "requirepass", "hunter2"])
        .await;
    for (name, event) in calls() {
        let response = functions.invoke(name, event).await;
        assert_unavailable(&response, name);
        assert!(!response.body["detail"].as_str().unwrap().contains("NOAUTH"));
    }
}

#[tokio::test]
async fn scripts_that_redis_lost_are_sent_again() {
    let mut functions = Functions::start().await;
    assert_all_served(&mut functions).await;
    for (name, event) in calls() {
        functions.redis(&["SCRIPT", "FLUSH"]).await;
        let status = functions.invoke(name, event).await.status;
        assert!(matches!(status, 200 | 410), "{name}: {status}");
    }
}

#[tokio::test]
async fn heartbeats_restore_what_redis_lost() {
    let mut functions = Functions::start().await;
    functions.accept("connect", alice()).await;
    functions
        .accept(
            "set-state",
            json!({"player_id": "alice", "state": "IN_MATCH"}),
        )
        .await;
    functions.redis.restart().await;
    assert_eq!(
        functions.get("/presence/alice").await.ok()["state"],
        "OFFLINE"
    );
    let restored = functions.accept("heartbeat", alice()).await;
    assert_eq!(
        (&restored["state"], &restored["connection_count"]),
        (&json!("ONLINE"), &json!(1))
    );

    functions.redis(&["FLUSHALL"]).await;
    let batch = functions
        .accept("heartbeat", json!({"connections": [alice()]}))
        .await;
    assert_eq!(
        (&batch["accepted"], &batch["restored"]),
        (&json!(1), &json!([alice()]))
    );
    assert_eq!(
        (&batch["closed"], &batch["failed"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(
        functions.get("/presence/alice").await.ok()["state"],
        "ONLINE"
    );
}
