//! Changes after the snapshot, one after the other.

use presence_tests::Watcher;
use serde_json::{Value, json};

use super::{Fixture, connect, disconnect, read, set_state};

#[tokio::test]
async fn every_transition_of_a_watched_player_is_sent_and_no_other() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "1ms")]);
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    connect(&server, &["mallory", "alice"]).await;
    watcher.until("alice", "ONLINE").await;
    for state in ["IN_QUEUE", "IN_MATCH", "AWAY"] {
        let response = set_state(&server, "alice", state).await;
        watcher.until("alice", state).await;
        assert_eq!(watcher.held("alice")["version"], response["version"]);
        assert_eq!(watcher.held("alice")["last_seen"], response["last_seen"]);
    }
    disconnect(&server, "alice").await;
    watcher.until("alice", "OFFLINE").await;
    assert_eq!(watcher.held("alice"), &read(&server, "alice").await);
    assert_eq!(watcher.held("mallory"), &Value::Null);
}

#[tokio::test]
async fn the_first_change_after_a_pause_does_not_wait_for_the_interval() {
    let fixture = Fixture::new().await;
    // The test's own time limit is shorter than this.
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "60s"), ("PRESENCE_TTL", "1h")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    let begin = std::time::Instant::now();
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
    assert!(
        begin.elapsed() < std::time::Duration::from_secs(50),
        "it waited for the interval"
    );
}

#[tokio::test]
async fn snapshots_and_replies_do_not_wait_for_the_interval() {
    let fixture = Fixture::new().await;
    // The test's own time limit is shorter than this.
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "60s"), ("PRESENCE_TTL", "1h")]);
    connect(&server, &["alice", "bob"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
    set_state(&server, "alice", "IN_MATCH").await; // has to wait
    assert_eq!(watcher.watch(&["bob"]).await, [read(&server, "bob").await]);
    assert_eq!(
        watcher.watch(&["alice"]).await,
        [read(&server, "alice").await]
    );
    assert_eq!(
        watcher.ask(json!({"unwatch": ["bob"]})).await.1,
        json!({"watching": 1})
    );
}

#[tokio::test]
async fn later_changes_come_together_with_the_newest_of_each_player_once() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "3s")]);
    connect(&server, &["alice", "bob"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice", "bob"]).await;
    set_state(&server, "alice", "AWAY").await;
    let first = watcher.next().await;
    assert_eq!(first["presences"].as_array().unwrap().len(), 1);
    for state in ["IN_QUEUE", "ONLINE", "IN_MATCH"] {
        set_state(&server, "alice", state).await;
        set_state(&server, "bob", state).await;
    }
    let second = watcher.next().await;
    let states: Vec<_> = second["presences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["state"])
        .collect();
    assert_eq!(states, ["IN_MATCH", "IN_MATCH"]);
}

#[tokio::test]
async fn what_is_watched_no_longer_is_not_sent() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "bob"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice", "bob"]).await;
    watcher.ask(json!({"unwatch": ["alice"]})).await;
    set_state(&server, "alice", "IN_MATCH").await;
    set_state(&server, "bob", "IN_MATCH").await;
    watcher.until("bob", "IN_MATCH").await;
    assert_eq!(watcher.held("alice")["state"], "ONLINE");
}

#[tokio::test]
async fn versions_rise_through_unwatch_and_watch_while_states_change() {
    const ROUNDS: usize = 60;
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "1ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await; // which checks the versions
    let changes = async {
        for round in 0..ROUNDS * 3 {
            set_state(
                &server,
                "alice",
                ["IN_MATCH", "AWAY", "IN_QUEUE"][round % 3],
            )
            .await;
        }
    };
    let requests = async {
        for _ in 0..ROUNDS {
            watcher.watch(&["alice"]).await;
            watcher.ask(json!({"unwatch": ["alice"]})).await;
        }
        watcher.watch(&["alice"]).await;
    };
    tokio::join!(changes, requests);
    let last = read(&server, "alice").await;
    while watcher.held("alice") != &last {
        watcher.next().await;
    }
}

/// However snapshot and events interleave, nothing is missed between them.
#[tokio::test]
async fn a_snapshot_and_what_follows_have_no_gap() {
    const PLAYERS: usize = 300;
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "5ms")]);
    let names: Vec<_> = (0..PLAYERS).map(|number| format!("p{number}")).collect();
    let players: Vec<_> = names.iter().map(String::as_str).collect();
    connect(&server, &players).await;
    let changes = async {
        for player in &players {
            set_state(&server, player, "IN_MATCH").await;
        }
    };
    let mut watchers = Vec::new();
    let openings = async {
        for _ in 0..10 {
            let mut watcher = Watcher::open(&server).await;
            watcher.watch(&players).await;
            watchers.push(watcher);
        }
    };
    tokio::join!(changes, openings);
    for watcher in &mut watchers {
        for player in &players {
            watcher.until(player, "IN_MATCH").await;
        }
    }
}
