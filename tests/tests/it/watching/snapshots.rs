//! Snapshots: the presences that a caller has when a request is complete.

use presence_tests::Watcher;
use serde_json::{Value, json};

use super::{Fixture, connect, disconnect, read, set_state};

fn by_player(mut presences: Vec<Value>) -> Vec<Value> {
    presences.sort_by_key(|presence| presence["player_id"].to_string());
    presences
}

#[tokio::test]
async fn a_snapshot_says_of_each_player_what_a_read_with_the_history_says() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "bob"]).await;
    set_state(&server, "alice", "IN_MATCH").await;
    disconnect(&server, "bob").await;
    let mut watcher = Watcher::connect(&server).await.unwrap();
    assert_eq!(
        watcher.next().await,
        json!({"feed": "live"}),
        "the first message"
    );
    let (presences, reply) = watcher
        .ask(json!({"watch": ["alice", "bob", "carol"], "id": 7}))
        .await;
    assert_eq!(reply, json!({"id": 7, "watching": 3}));
    let carol =
        json!({"player_id": "carol", "state": "OFFLINE", "last_seen": null, "version": null});
    assert_eq!(
        by_player(presences),
        [
            read(&server, "alice").await,
            read(&server, "bob").await,
            carol
        ]
    );
}

#[tokio::test]
async fn what_the_caller_knows_is_not_sent() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "bob"]).await;
    let alice = read(&server, "alice").await["version"].clone();
    let mut watcher = Watcher::open(&server).await;
    let players = ["alice", "bob", "carol", "dave"];
    let (presences, _) = watcher
        .ask(json!({"watch": players, "known": {"alice": alice, "bob": 1, "carol": 0}}))
        .await;
    let ids: Vec<_> = by_player(presences)
        .iter()
        .map(|presence| presence["player_id"].clone())
        .collect();
    assert_eq!(ids, ["bob", "dave"]);
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
}

#[tokio::test]
async fn watching_a_player_again_has_the_reply_of_a_new_request() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    for id in 0..3 {
        let (presences, reply) = watcher
            .ask(json!({"watch": ["alice", "alice"], "id": id}))
            .await;
        assert_eq!(
            (presences, reply),
            (
                vec![read(&server, "alice").await],
                json!({"id": id, "watching": 1})
            )
        );
    }
}

#[tokio::test]
async fn a_snapshot_is_read_when_the_request_arrives_also_of_players_that_are_watched_already() {
    let fixture = Fixture::new().await;
    // No report of a change reaches this server but by a snapshot.
    let server = fixture.silent_server(&[("PRESENCE_WATCH_POLL", "1h"), ("PRESENCE_TTL", "1h")]);
    let mut watchers = [Watcher::open(&server).await, Watcher::open(&server).await];
    watchers[0].watch(&["alice"]).await;
    for state in ["ONLINE", "AWAY", "IN_MATCH"] {
        set_state(&server, "alice", state).await;
        let stored = read(&server, "alice").await;
        for watcher in &mut watchers {
            // What one stream's request finds is a change for the other.
            let presences = watcher.watch(&["alice"]).await;
            assert_eq!(presences.last(), Some(&stored));
        }
    }
}

#[tokio::test]
async fn requests_take_effect_in_their_order() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let mut watcher = Watcher::open(&server).await;
    watcher
        .send(json!({"watch": ["alice", "bob"], "id": 1}))
        .await;
    watcher
        .send(json!({"unwatch": ["alice", "nobody"], "id": 2}))
        .await;
    watcher.send(json!({"watch": ["carol"], "id": 3})).await;
    watcher
        .send(json!({"unwatch": ["alice", "bob", "carol"]}))
        .await;
    let mut replies = Vec::new();
    while replies.len() < 4 {
        let message = watcher.next().await;
        replies.extend(message["watching"].is_u64().then_some(message));
    }
    let expected = [(json!(1), 2), (json!(2), 1), (json!(3), 2)]
        .map(|(id, count)| json!({"id": id, "watching": count}));
    assert_eq!(replies[..3], expected);
    assert_eq!(replies[3], json!({"watching": 0}));
}

#[tokio::test]
async fn the_largest_request_is_one_snapshot() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let ids: Vec<_> = (0..2_000).map(|number| format!("p{number}")).collect();
    let players: Vec<_> = ids.iter().map(String::as_str).collect();
    connect(&server, &players).await;
    let mut watcher = Watcher::open(&server).await;
    let presences = watcher.watch(&players).await;
    assert_eq!(presences.len(), 2_000);
    assert!(
        presences
            .iter()
            .all(|presence| presence["state"] == "ONLINE")
    );
}

#[tokio::test]
async fn an_invalid_request_changes_nothing_and_the_stream_goes_on() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_MAX_BATCH", "3")]);
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    for (request, id, field) in [
        (
            r#"{"watch":["bob"],"id":1,"more":2}"#,
            json!(1),
            json!("more"),
        ),
        (
            r#"{"watch":["bob","b b"],"id":2}"#,
            json!(2),
            json!("watch[1]"),
        ),
        (
            r#"{"watch":["a","b","c","d"],"id":3}"#,
            json!(3),
            json!("watch"),
        ),
        (
            r#"{"watch":["bob"],"known":{"eve":1},"id":4}"#,
            json!(4),
            json!("known.eve"),
        ),
        (
            r#"{"unwatch":["alice"],"known":{"alice":1},"id":5}"#,
            json!(5),
            json!("known.alice"),
        ),
        (r#"{"watch":["bob"],"id":"6"}"#, json!(null), json!("id")),
        (r#"{"watch":["bob"]"#, json!(null), json!(null)),
    ] {
        watcher
            .send_message(tokio_tungstenite::tungstenite::Message::text(request))
            .await;
        let message = watcher.next().await;
        assert_eq!(
            (&message["id"], &message["error"]["field"]),
            (&id, &field),
            "{request}"
        );
        assert_eq!(
            message["error"]["type"], "urn:presence:invalid-request",
            "{request}"
        );
        assert_eq!(message["error"]["status"], 400, "{request}");
    }
    let (_, reply) = watcher.ask(json!({"unwatch": ["carol"]})).await;
    assert_eq!(reply, json!({"watching": 1}));
}
