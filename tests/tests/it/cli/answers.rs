//! What commands answer.

use std::process::Command;

use presence::VERSION;
use presence_tests::binary;
use serde_json::json;

use super::{Said, World};

#[tokio::test]
async fn players_are_shown_in_a_table_or_as_the_service_says_it() {
    let world = World::new().await;
    world.connect("alice|1", "phone").await;
    world.connect("alice|1", "desktop").await;
    let get = world.say(&["get", "alice|1"]);
    let lines: Vec<Vec<_>> = get.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["PLAYER", "STATE", "CONNECTIONS", "LAST", "SEEN"]);
    assert_eq!(lines[1][..3], ["alice|1", "ONLINE", "2"]);
    assert!(lines[1][3].starts_with("20") && lines[1][3].ends_with('Z'), "{get:?}");
    assert_eq!(world.json(&["get", "alice|1"]), world.server.get("/presence/alice%7C1").await.body);

    let friends = world.json(&["friends", "bob", "alice|1"]);
    assert_eq!(
        (&friends["presences"][0]["state"], &friends["presences"][1]["state"]),
        (&"OFFLINE".into(), &"ONLINE".into())
    );
    assert_eq!(world.say(&["friends", "bob", "alice|1"]).out.lines().count(), 3);
}

#[tokio::test]
async fn a_player_who_left_has_a_last_time_where_the_history_is_asked_for() {
    let world = World::new().await;
    world.connect("alice", "phone").await;
    assert_eq!(world.say(&["sign-out", "alice", "--yes"]).status, Some(0));
    assert_eq!(world.json(&["get", "alice"])["last_seen"], json!(null));
    assert!(world.json(&["get", "alice", "--history"])["last_seen"].is_u64());
    assert!(world.json(&["friends", "alice", "--history"])["presences"][0]["last_seen"].is_u64());
    assert!(world.say(&["get", "alice"]).out.contains("OFFLINE            0  -"));
}

#[tokio::test]
async fn a_state_is_set() {
    let world = World::new().await;
    world.connect("alice", "phone").await;
    assert_eq!(world.json(&["set-state", "alice", "in_match"])["state"], "IN_MATCH");
    assert_eq!(world.state_of("alice").await, "IN_MATCH");
}

#[tokio::test]
async fn an_activity_is_set_shown_and_removed() {
    let world = World::new().await;
    world.connect("alice", "phone").await;
    let ranked = r#"{"details":"Ranked; \"2/4\"","party":{"id":"p7","size":2,"max":4},"joinable":true}"#;
    let both = world.json(&["set-state", "alice", "in_match", "--activity", ranked]);
    let expected: serde_json::Value = serde_json::from_str(ranked).unwrap();
    assert_eq!((&both["state"], &both["activity"]), (&json!("IN_MATCH"), &expected));
    assert_eq!(world.json(&["get", "alice"]), world.server.get("/presence/alice").await.body);
    assert_eq!(world.json(&["friends", "alice"])["presences"][0]["activity"], expected);
    for command in [&["get", "alice"][..], &["friends", "bob", "alice"], &["explain", "alice"]] {
        let said = world.say(command);
        assert!(said.out.contains("Ranked; \"2/4\", 2/4, joinable"), "{said:?}");
    }
    let joinable = world.json(&["set-state", "alice", "--activity", r#"{"joinable":false}"#]);
    assert_eq!((&joinable["state"], &joinable["activity"]), (&json!("IN_MATCH"), &json!({"joinable": false})));
    assert_eq!(world.json(&["set-state", "alice", "--activity", "null"]).get("activity"), None);
    assert!(!world.say(&["get", "alice"]).out.contains("ACTIVITY"));

    let mistyped = world.say(&["set-state", "alice", "--activity", r#"{"joinabel":true}"#]);
    assert_eq!(mistyped.status, Some(2), "{mistyped:?}");
    let refused = world.say(&["set-state", "bob", "--activity", ranked]);
    assert_eq!(refused.status, Some(3), "{refused:?}");
}

#[tokio::test]
async fn players_are_counted_and_explained() {
    let world = World::new().await;
    for player in ["alice", "bob", "carol"] {
        world.connect(player, "phone").await;
    }
    world.server.post("/presence/state", json!({"player_id": "bob", "state": "IN_QUEUE"})).await;
    let online = world.json(&["online"]);
    assert_eq!((&online["players"], &online["states"]["ONLINE"]), (&json!(3), &json!(2)));
    let online = world.say(&["online"]).out;
    assert!(online.contains("IN_QUEUE        1\n") && online.contains("all             3\n"), "{online}");

    assert_eq!(world.json(&["explain", "bob"])["connections"][0]["connection_id"], "phone");
    let explained = world.say(&["explain", "bob"]).out;
    for part in ["bob is IN_QUEUE", "Without a heartbeat it is OFFLINE in 4", "phone       4"] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

#[tokio::test]
async fn gateways_are_listed_with_their_connections() {
    let world = World::new().await;
    assert!(world.say(&["gateways"]).out.starts_with("No gateway holds a lease."));
    for id in ["gw-1", "gw-2"] {
        assert_eq!(world.server.post("/presence/gateway", json!({"gateway_id": id})).await.status, 200);
    }
    let batch = json!({"gateway_id": "gw-1", "connections": [{"player_id": "alice", "connection_id": "c1"}]});
    assert_eq!(world.server.post("/presence/connect", batch).await.status, 200);
    // The server shares a list for half a second.
    let is_listed = |said: &Said| said.out.contains("They have 1 connections.");
    let said = std::iter::repeat_with(|| world.say(&["gateways"])).find(is_listed).unwrap();
    let lines: Vec<Vec<_>> = said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["GATEWAY", "CONNECTIONS", "EXPIRES", "IN", "STATE"]);
    assert_eq!((lines[1][..2].to_vec(), lines[1].last()), (vec!["gw-1", "1"], Some(&"live")));
    assert_eq!(lines[2][..2], ["gw-2", "0"]);
    let list = world.json(&["gateways"]);
    assert_eq!((&list["gateways"][0]["connections"], list["gateways"][0].get("state")), (&json!(1), None));
}

#[tokio::test]
async fn the_exit_status_of_a_probe_tells_how_the_service_is() {
    let mut world = World::new().await;
    let well = world.say(&["probe"]);
    assert_eq!(well.status, Some(0), "{well:?}");
    assert!(well.out.lines().any(|line| line.split_whitespace().eq(["redis", "ok", "-"])), "{well:?}");

    world.nats.kill();
    // The server shares a check for a second.
    let until = |world: &World, arguments: &[&str], status| {
        std::iter::repeat_with(|| world.say(arguments)).find(|said| said.status == Some(status)).unwrap()
    };
    let degraded = until(&world, &["probe", "--json"], 5);
    assert!(degraded.out.contains(r#""nats":{"status":"unavailable"}"#), "{degraded:?}");

    world.redis.kill();
    let unavailable = until(&world, &["probe"], 1);
    assert!(unavailable.out.contains("is unavailable\n"), "{unavailable:?}");
}

#[test]
fn version_and_completions_need_no_service() {
    let run = |arguments: &[&str]| super::said(Command::new(binary("presence")).args(arguments)).out;
    let version = run(&["--version"]);
    assert!(version.starts_with(&format!("presence {VERSION} (")) && version.ends_with(")\n"), "{version}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("sign-out"), "{shell}");
    }
}
