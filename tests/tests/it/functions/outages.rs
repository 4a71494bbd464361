//! A Redis that is not there, does not answer, refuses or forgets.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use presence_tests::{RedisServer, event};
use serde_json::{Value, json};

use super::{Answer, Functions};

/// A time limit of the store that is long beside what a busy machine needs for a call.
const STORE_TIMEOUT: (&str, &str) = ("PRESENCE_STORE_TIMEOUT", "2s");

/// An answer comes after one time limit of the store, and before a second one is over.
const ONE_TIMEOUT: std::ops::Range<Duration> = Duration::from_secs(2)..Duration::from_secs(4);

fn alice() -> Value {
    json!({"player_id": "alice", "connection_id": "c1"})
}

/// A good call of every function.
fn calls() -> [(&'static str, Value); 11] {
    let post = |body: Value| event::post("/", &body);
    let batch = || post(json!({"connections": [alice(), {"player_id": "bob", "connection_id": "c1"}]}));
    [
        ("connect", post(alice())),
        ("connect", batch()),
        ("heartbeat", post(alice())),
        ("heartbeat", batch()),
        ("disconnect", post(alice())),
        ("disconnect", batch()),
        ("set-state", post(json!({"player_id": "alice", "state": "ONLINE"}))),
        ("get-state", event::get("/presence/alice")),
        ("friends", post(json!({"player_ids": ["alice", "bob"]}))),
        ("gateway", post(json!({"gateway_id": "g1"}))),
        ("gateway", post(json!({"gateway_id": "g1", "leaving": "moving"}))),
    ]
}

/// A store that cannot be read is 503, never OFFLINE.
#[track_caller]
fn assert_unavailable(answer: &Answer, about: &str) {
    answer.assert_problem(503, "store-unavailable", about);
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{about}");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0, "{about}");
}

/// All functions are called at the same time: each call may take a time limit.
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
            assert!(begin.elapsed() < ONE_TIMEOUT.end, "{name} took {:?}", begin.elapsed());
        }
    });
    join_all(invocations).await;
}

async fn assert_all_served(functions: &mut Functions) {
    for (name, event) in calls() {
        let answer = functions.invoke(name, event).await;
        // What a call finds depends on those before it, which may have reached a frozen Redis: 410 is an answer too.
        assert!(matches!(answer.status, 200 | 410), "{name}: {answer:?}");
    }
    functions.accept("connect", json!({"player_id": "carol", "connection_id": "c1"})).await;
    assert_eq!(functions.get("/presence/carol").await.ok()["state"], "ONLINE");
}

fn signal(redis: &RedisServer, signal: &str) {
    assert!(Command::new("kill").args([signal, &redis.id().to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn a_redis_that_is_away_is_503_and_back_it_is_used_again() {
    let mut functions = Functions::with(&[STORE_TIMEOUT]).await;
    assert_all_served(&mut functions).await;
    functions.redis.kill();
    assert_all_unavailable(&mut functions).await;
    functions.redis.restart().await;
    assert_all_served(&mut functions).await;
}

#[tokio::test]
async fn a_redis_that_is_away_at_start_is_used_as_soon_as_it_is_there() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let mut functions = Functions::on(redis, &[STORE_TIMEOUT]);
    assert_all_unavailable(&mut functions).await;
    functions.redis.restart().await;
    assert_all_served(&mut functions).await;
}

#[tokio::test]
async fn a_redis_that_froze_is_503_within_the_stores_timeout() {
    let mut functions = Functions::with(&[STORE_TIMEOUT]).await;
    assert_all_served(&mut functions).await;
    signal(&functions.redis, "-STOP");
    assert_all_unavailable(&mut functions).await;
    signal(&functions.redis, "-CONT");
    assert_all_served(&mut functions).await;
}

#[tokio::test]
async fn a_redis_that_froze_before_the_first_call_is_503_within_the_stores_timeout() {
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
    // By the time that the second function has given up twice, the first one's last attempt to connect is over as well.
    for name in ["connect", "heartbeat", "heartbeat"] {
        assert_unavailable(&functions.post(name, &alice()).await, name);
    }
    signal(&functions.redis, "-CONT");
    assert_eq!(functions.accept("connect", alice()).await["state"], "ONLINE");
    assert_eq!(functions.accept("heartbeat", alice()).await["connection_count"], 1);
}

#[tokio::test]
async fn the_longest_lists_wait_for_a_frozen_redis_no_longer_than_one_entry() {
    let mut functions = Functions::with(&[STORE_TIMEOUT]).await;
    functions.accept("heartbeat", alice()).await;
    functions.accept("friends", json!({"player_ids": ["alice"]})).await;
    signal(&functions.redis, "-STOP");
    let entries: Vec<_> = (0..2_000).map(|n| json!({"player_id": format!("p{n}"), "connection_id": "c"})).collect();
    let ids: Vec<_> = (0..2_000).map(|n| format!("p{n}")).collect();
    for (name, body) in [("heartbeat", json!({"connections": entries})), ("friends", json!({"player_ids": ids}))] {
        let begin = Instant::now();
        assert_unavailable(&functions.post(name, &body).await, name);
        let elapsed = begin.elapsed();
        assert!(ONE_TIMEOUT.contains(&elapsed), "{elapsed:?}");
    }
    signal(&functions.redis, "-CONT");
}

#[tokio::test]
async fn a_redis_that_refuses_to_write_is_503_and_still_read() {
    let mut functions = Functions::start().await;
    functions.accept("connect", alice()).await;
    functions.redis(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // A disconnect makes room, which Redis allows.
    let needs_room = |name: &str| ["connect", "heartbeat", "set-state"].contains(&name);
    for (name, event) in calls().into_iter().filter(|(name, _)| needs_room(name)) {
        assert_unavailable(&functions.invoke(name, event).await, name);
    }
    assert_unavailable(&functions.post("gateway", &json!({"gateway_id": "g1"})).await, "a gateway's lease");
    assert_eq!(functions.get("/presence/alice").await.ok()["state"], "ONLINE");
    functions.redis(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(functions.accept("heartbeat", alice()).await["connection_count"], 1);
}

#[tokio::test]
async fn a_redis_that_wants_a_password_is_503_and_the_caller_hears_no_more() {
    let mut functions = Functions::start().await;
    functions.redis(&["CONFIG", "SET", "requirepass", "hunter2"]).await;
    for (name, event) in calls() {
        let answer = functions.invoke(name, event).await;
        assert_unavailable(&answer, name);
        assert!(!answer.body["detail"].as_str().unwrap().contains("NOAUTH"));
    }
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_again() {
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
    functions.accept("set-state", json!({"player_id": "alice", "state": "IN_MATCH"})).await;
    functions.redis.restart().await;
    assert_eq!(functions.get("/presence/alice").await.ok()["state"], "OFFLINE");
    let restored = functions.accept("heartbeat", alice()).await;
    assert_eq!((&restored["state"], &restored["connection_count"]), (&json!("ONLINE"), &json!(1)));

    functions.redis(&["FLUSHALL"]).await;
    let batch = functions.accept("heartbeat", json!({"connections": [alice()]})).await;
    assert_eq!((&batch["accepted"], &batch["restored"]), (&json!(1), &json!([alice()])));
    assert_eq!((&batch["closed"], &batch["failed"]), (&json!([]), &json!([])));
    assert_eq!(functions.get("/presence/alice").await.ok()["state"], "ONLINE");
}
