//! Activities on a stream.

use presence_tests::{Server, Watcher};
use serde_json::{Value, json};

use super::{Fixture, connect, disconnect, read, set_state};

async fn set_activity(server: &Server, player: &str, activity: Value) -> Value {
    let response = server
        .post(
            "/presence/state",
            json!({"player_id": player, "activity": activity}),
        )
        .await;
    assert_eq!(response.status, 200, "{response:?}");
    response.body
}

/// Waits until what the caller holds of alice is what a read says.
async fn until_read(watcher: &mut Watcher, server: &Server) {
    let expected = read(server, "alice").await;
    while watcher.held("alice") != &expected {
        watcher.next().await;
    }
}

fn ranked(size: u32) -> Value {
    json!({
        "details": "Ranked; \"2/4\" 😀\u{2028}",
        "party": {"id": "p", "size": size, "max": 4},
        "joinable": size < 4,
        "custom": {";": [[], {}]},
    })
}

#[tokio::test]
async fn every_changed_activity_of_a_watched_player_is_sent_and_no_equal_one() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "1ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    assert_eq!(watcher.held("alice").get("activity"), None);
    for size in [2, 3, 4] {
        let set = set_activity(&server, "alice", ranked(size)).await;
        until_read(&mut watcher, &server).await;
        let held = watcher.held("alice");
        assert_eq!(
            (&held["activity"], &held["version"]),
            (&ranked(size), &set["version"])
        );
        assert_eq!(
            set_activity(&server, "alice", ranked(size)).await["version"],
            set["version"]
        );
    }
    set_state(&server, "alice", "IN_MATCH").await;
    watcher.until("alice", "IN_MATCH").await;
    assert_eq!(
        watcher.held("alice")["activity"],
        ranked(4),
        "a state keeps it"
    );
    set_activity(&server, "alice", Value::Null).await;
    until_read(&mut watcher, &server).await;
    assert_eq!(watcher.held("alice").get("activity"), None);
    set_activity(&server, "alice", ranked(1)).await;
    disconnect(&server, "alice").await;
    watcher.until("alice", "OFFLINE").await;
    assert_eq!(watcher.held("alice"), &read(&server, "alice").await);
    assert_eq!(watcher.held("alice").get("activity"), None);
}

#[tokio::test]
async fn a_snapshot_has_the_activity() {
    let fixture = Fixture::new().await;
    for server in [fixture.server(&[]), fixture.silent_server(&[])] {
        connect(&server, &["alice"]).await;
        set_activity(&server, "alice", ranked(2)).await;
        let mut watcher = Watcher::open(&server).await;
        let sent = watcher.watch(&["alice"]).await;
        assert_eq!(sent[0]["activity"], ranked(2), "{sent:?}");
        assert_eq!(watcher.held("alice"), &read(&server, "alice").await);
    }
}

#[tokio::test]
async fn without_events_a_changed_activity_is_found_by_the_next_read() {
    let fixture = Fixture::new().await;
    let server = fixture.silent_server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    for activity in [ranked(2), ranked(3), Value::Null] {
        set_activity(&server, "alice", activity).await;
        until_read(&mut watcher, &server).await;
    }
}

#[tokio::test]
async fn long_activities_of_many_players_come_in_several_messages() {
    const PLAYERS: usize = 1_200;
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let names: Vec<_> = (0..PLAYERS).map(|number| format!("p{number}")).collect();
    let players: Vec<_> = names.iter().map(String::as_str).collect();
    connect(&server, &players).await;
    let activity = json!({"custom": {"text": "x".repeat(1_000)}});
    for chunk in players.chunks(50) {
        futures_util::future::join_all(
            chunk
                .iter()
                .map(|player| set_activity(&server, player, activity.clone())),
        )
        .await;
    }
    let mut watcher = Watcher::open(&server).await;
    watcher.send(json!({"watch": players})).await;
    let mut messages = 0;
    loop {
        let message = watcher.next().await;
        if message.get("watching").is_some() {
            break;
        }
        messages += usize::from(message.get("presences").is_some());
        assert!(message.to_string().len() <= 1024 * 1024);
    }
    assert!(messages > 1, "{messages}");
    for player in players {
        assert_eq!(watcher.held(player)["activity"], activity, "{player}");
    }
}
