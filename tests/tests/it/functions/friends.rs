//! The friends call, which reads many players.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Functions;

async fn friends(functions: &mut Functions, ids: &[&str]) -> Vec<Value> {
    let response = functions
        .accept("friends", json!({"player_ids": ids}))
        .await;
    response["presences"].as_array().unwrap().clone()
}

async fn connect(functions: &mut Functions, player: &str) -> Value {
    functions
        .accept(
            "connect",
            json!({"player_id": player, "connection_id": "c1"}),
        )
        .await
}

#[tokio::test]
async fn friends_are_returned_in_the_requested_order_and_repeated_as_requested() {
    let mut functions = Functions::start().await;
    connect(&mut functions, "alice").await;
    connect(&mut functions, "bob").await;
    functions
        .accept(
            "set-state",
            json!({"player_id": "bob", "state": "IN_MATCH"}),
        )
        .await;
    let requested = ["nobody", "bob", "alice", "bob", "carol", "nobody"];
    let presences = friends(&mut functions, &requested).await;
    let ids: Vec<_> = presences
        .iter()
        .map(|presence| presence["player_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, requested);
    let states: Vec<_> = presences
        .iter()
        .map(|presence| presence["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "OFFLINE", "IN_MATCH", "ONLINE", "IN_MATCH", "OFFLINE", "OFFLINE"
        ]
    );
    for (presence, id) in presences.iter().zip(requested) {
        assert_eq!(
            *presence,
            functions.get(&format!("/presence/{id}")).await.ok()
        );
    }
}

#[tokio::test]
async fn as_of_is_a_time_of_rediss_clock() {
    let mut functions = Functions::start().await;
    let read_clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64
    };
    let begin = read_clock();
    let last_seen = connect(&mut functions, "alice").await["last_seen"]
        .as_u64()
        .unwrap();
    let response = functions
        .accept("friends", json!({"player_ids": ["alice"]}))
        .await;
    let as_of = response["as_of"].as_u64().unwrap();
    // Redis and the test run on the same host, with the same clock.
    assert!(
        begin <= last_seen && last_seen <= as_of && as_of <= read_clock(),
        "{begin} {last_seen} {as_of}"
    );
    assert_eq!(response.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn the_history_of_offline_players_is_returned_if_it_is_requested_and_known() {
    let mut functions = Functions::start().await;
    connect(&mut functions, "alice").await;
    let bob = connect(&mut functions, "bob").await;
    functions
        .accept(
            "disconnect",
            json!({"player_id": "bob", "connection_id": "c1"}),
        )
        .await;
    let ids = ["alice", "bob", "nobody"];

    let plain = friends(&mut functions, &ids).await;
    assert!(plain[0]["last_seen"].is_u64() && plain[0]["version"].is_u64());
    for offline in &plain[1..] {
        assert_eq!(
            (&offline["last_seen"], &offline["version"]),
            (&Value::Null, &Value::Null)
        );
    }
    let response = functions
        .accept("friends", json!({"player_ids": ids, "history": false}))
        .await;
    assert_eq!(response["presences"], json!(plain));

    let response = functions
        .accept("friends", json!({"player_ids": ids, "history": true}))
        .await;
    let history = response["presences"].as_array().unwrap();
    assert_eq!((&history[0], &history[2]), (&plain[0], &plain[2]));
    assert_eq!(
        (&history[1]["state"], &history[1]["connection_count"]),
        (&json!("OFFLINE"), &json!(0))
    );
    assert!(history[1]["last_seen"].as_u64() >= bob["last_seen"].as_u64());
    assert!(history[1]["version"].as_u64() > bob["version"].as_u64());
}

#[tokio::test]
async fn the_maximum_number_of_friends_is_returned() {
    let mut functions = Functions::start().await;
    connect(&mut functions, "p1999").await;
    let strings: Vec<_> = (0..2_000).map(|n| format!("p{n}")).collect();
    let ids: Vec<_> = strings.iter().map(String::as_str).collect();
    let presences = friends(&mut functions, &ids).await;
    assert_eq!(presences.len(), ids.len());
    assert_eq!(
        presences
            .iter()
            .filter(|presence| presence["state"] == "OFFLINE")
            .count(),
        1_999
    );
    assert_eq!(presences[1_999]["state"], "ONLINE");
}
