//! Feed states: the source of changes.

use presence_tests::Watcher;
use serde_json::json;

use super::{Fixture, connect, eventually, set_state};

#[tokio::test]
async fn without_nats_players_are_polled() {
    let fixture = Fixture::new().await;
    let server = fixture.silent_server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::connect(&server).await.unwrap();
    assert_eq!(watcher.next().await, json!({"feed": "polling"}));
    watcher.watch(&["alice"]).await;
    set_state(&server, "alice", "IN_MATCH").await;
    watcher.until("alice", "IN_MATCH").await;
    redis::cmd("FLUSHALL")
        .exec_async(&mut fixture.redis.connection().await)
        .await
        .unwrap();
    watcher.until("alice", "OFFLINE").await;
}

#[tokio::test]
async fn nats_down_is_polling_from_the_start_and_live_later() {
    let mut fixture = Fixture::new().await;
    fixture.nats.kill();
    let server = fixture.server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::connect(&server).await.unwrap();
    assert_eq!(watcher.next().await, json!({"feed": "polling"}));
    watcher.watch(&["alice"]).await;
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
    fixture.nats.restart().await;
    watcher.until_feed("live").await;
}

#[tokio::test]
async fn a_redis_that_cannot_be_read_is_stale_and_no_player_is_offline() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    fixture.redis.pause();
    watcher.until_feed("stale").await;
    watcher.send(json!({"watch": ["bob"], "id": 5})).await;
    let error = watcher.next().await;
    assert_eq!(
        (&error["id"], &error["error"]["type"]),
        (&json!(5), &json!("urn:presence:store-unavailable"))
    );
    assert_eq!(error["error"]["status"], 503);
    assert_eq!(watcher.held("alice")["state"], "ONLINE");
    fixture.redis.resume();
    watcher.until_feed("live").await;
    let (_, reply) = watcher.ask(json!({"unwatch": ["carol"]})).await;
    assert_eq!(reply, json!({"watching": 1}), "bob was not added");
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
}

#[tokio::test]
async fn a_server_without_redis_says_so_and_recovers() {
    let mut fixture = Fixture::new().await;
    fixture.redis.kill();
    let server = fixture.server(&[]);
    let mut watcher = Watcher::connect(&server).await.unwrap();
    assert_eq!(watcher.next().await, json!({"feed": "stale"}));
    fixture.redis.restart().await;
    watcher.until_feed("live").await;
    watcher.watch(&["alice"]).await;
}

#[tokio::test]
async fn metrics_say_what_watchers_get() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice"]).await;
    let has = |text: &str, line: &str| text.lines().any(|other| other == line);
    let before = server.metrics().await;
    for line in [
        "presence_watch_streams 0",
        "presence_watch_changes_total 0",
        "presence_watch_coalesced_total 0",
    ] {
        assert!(has(&before, line), "{line}: {before}");
    }
    let mut watchers = vec![Watcher::open(&server).await, Watcher::open(&server).await];
    for watcher in &mut watchers {
        watcher.watch(&["alice", "bob"]).await;
    }
    set_state(&server, "alice", "AWAY").await;
    for watcher in &mut watchers {
        watcher.until("alice", "AWAY").await;
    }
    let text = server.metrics().await;
    for line in [
        "presence_watch_streams 2",
        "presence_watch_players 2",
        "presence_watch_interests 4",
        "presence_watch_changes_total 2",
        r#"presence_watch_feed{state="live"} 1"#,
        r#"presence_watch_feed{state="stale"} 0"#,
        "presence_watch_delay_seconds_count 2",
    ] {
        assert!(has(&text, line), "{line}: {text}");
    }
    drop(watchers);
    eventually(async || has(&server.metrics().await, "presence_watch_streams 0")).await;
    eventually(async || {
        has(
            &server.metrics().await,
            r#"presence_watch_feed{state="live"} 0"#,
        )
    })
    .await;
}
