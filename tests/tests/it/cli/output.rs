//! Results of commands.

use std::process::Command;

use presence::VERSION;
use presence_tests::binary;
use serde_json::json;

use super::{Finished, Fixture};

#[tokio::test]
async fn players_are_shown_in_a_table_or_as_the_service_returns_them() {
    let fixture = Fixture::new().await;
    fixture.connect("alice|1", "phone").await;
    fixture.connect("alice|1", "desktop").await;
    let get = fixture.run(&["get", "alice|1"]);
    let lines: Vec<Vec<_>> = get
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["PLAYER", "STATE", "CONNECTIONS", "LAST", "SEEN"]);
    assert_eq!(lines[1][..3], ["alice|1", "ONLINE", "2"]);
    assert!(
        lines[1][3].starts_with("20") && lines[1][3].ends_with('Z'),
        "{get:?}"
    );
    assert_eq!(
        fixture.json(&["get", "alice|1"]),
        fixture.server.get("/presence/alice%7C1").await.body
    );

    let friends = fixture.json(&["friends", "bob", "alice|1"]);
    assert_eq!(
        (
            &friends["presences"][0]["state"],
            &friends["presences"][1]["state"]
        ),
        (&"OFFLINE".into(), &"ONLINE".into())
    );
    assert_eq!(
        fixture
            .run(&["friends", "bob", "alice|1"])
            .out
            .lines()
            .count(),
        3
    );
}

#[tokio::test]
async fn an_offline_player_has_last_seen_if_the_history_is_requested() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    assert_eq!(fixture.run(&["sign-out", "alice", "--yes"]).status, Some(0));
    assert_eq!(fixture.json(&["get", "alice"])["last_seen"], json!(null));
    assert!(fixture.json(&["get", "alice", "--history"])["last_seen"].is_u64());
    assert!(fixture.json(&["friends", "alice", "--history"])["presences"][0]["last_seen"].is_u64());
    assert!(
        fixture
            .run(&["get", "alice"])
            .out
            .contains("OFFLINE            0  -")
    );
}

#[tokio::test]
async fn a_state_is_set() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    assert_eq!(
        fixture.json(&["set-state", "alice", "in_match"])["state"],
        "IN_MATCH"
    );
    assert_eq!(fixture.state_of("alice").await, "IN_MATCH");
}

#[tokio::test]
async fn an_activity_is_set_shown_and_removed() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    let ranked =
        r#"{"details":"Ranked; \"2/4\"","party":{"id":"p7","size":2,"max":4},"joinable":true}"#;
    let both = fixture.json(&["set-state", "alice", "in_match", "--activity", ranked]);
    let expected: serde_json::Value = serde_json::from_str(ranked).unwrap();
    assert_eq!(
        (&both["state"], &both["activity"]),
        (&json!("IN_MATCH"), &expected)
    );
    assert_eq!(
        fixture.json(&["get", "alice"]),
        fixture.server.get("/presence/alice").await.body
    );
    assert_eq!(
        fixture.json(&["friends", "alice"])["presences"][0]["activity"],
        expected
    );
    for command in [
        &["get", "alice"][..],
        &["friends", "bob", "alice"],
        &["explain", "alice"],
    ] {
        let finished = fixture.run(command);
        assert!(
            finished.out.contains("Ranked; \"2/4\", 2/4, joinable"),
            "{finished:?}"
        );
    }
    let joinable = fixture.json(&["set-state", "alice", "--activity", r#"{"joinable":false}"#]);
    assert_eq!(
        (&joinable["state"], &joinable["activity"]),
        (&json!("IN_MATCH"), &json!({"joinable": false}))
    );
    assert_eq!(
        fixture
            .json(&["set-state", "alice", "--activity", "null"])
            .get("activity"),
        None
    );
    assert!(!fixture.run(&["get", "alice"]).out.contains("ACTIVITY"));

    let mistyped = fixture.run(&["set-state", "alice", "--activity", r#"{"joinabel":true}"#]);
    assert_eq!(mistyped.status, Some(2), "{mistyped:?}");
    let refused = fixture.run(&["set-state", "bob", "--activity", ranked]);
    assert_eq!(refused.status, Some(3), "{refused:?}");
}

#[tokio::test]
async fn players_are_counted_and_explained() {
    let fixture = Fixture::new().await;
    for player in ["alice", "bob", "carol"] {
        fixture.connect(player, "phone").await;
    }
    fixture
        .server
        .post(
            "/presence/state",
            json!({"player_id": "bob", "state": "IN_QUEUE"}),
        )
        .await;
    let online = fixture.json(&["online"]);
    assert_eq!(
        (&online["players"], &online["states"]["ONLINE"]),
        (&json!(3), &json!(2))
    );
    let online = fixture.run(&["online"]).out;
    assert!(
        online.contains("IN_QUEUE        1\n") && online.contains("all             3\n"),
        "{online}"
    );

    assert_eq!(
        fixture.json(&["explain", "bob"])["connections"][0]["connection_id"],
        "phone"
    );
    let explained = fixture.run(&["explain", "bob"]).out;
    for part in [
        "bob is IN_QUEUE",
        "Without a heartbeat it is OFFLINE in 4",
        "phone       4",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
}

#[tokio::test]
async fn gateways_are_listed_with_their_connections() {
    let fixture = Fixture::new().await;
    assert!(
        fixture
            .run(&["gateways"])
            .out
            .starts_with("No gateway holds a lease.")
    );
    for id in ["gw-1", "gw-2"] {
        assert_eq!(
            fixture
                .server
                .post("/presence/gateway", json!({"gateway_id": id}))
                .await
                .status,
            200
        );
    }
    let batch = json!({"gateway_id": "gw-1", "connections": [{"player_id": "alice", "connection_id": "c1"}]});
    assert_eq!(
        fixture.server.post("/presence/connect", batch).await.status,
        200
    );
    // The server shares a list for half a second.
    let is_listed = |finished: &Finished| finished.out.contains("They have 1 connections.");
    let finished = std::iter::repeat_with(|| fixture.run(&["gateways"]))
        .find(is_listed)
        .unwrap();
    let lines: Vec<Vec<_>> = finished
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["GATEWAY", "CONNECTIONS", "EXPIRES", "IN", "STATE"]
    );
    assert_eq!(
        (lines[1][..2].to_vec(), lines[1].last()),
        (vec!["gw-1", "1"], Some(&"live"))
    );
    assert_eq!(lines[2][..2], ["gw-2", "0"]);
    let list = fixture.json(&["gateways"]);
    assert_eq!(
        (
            &list["gateways"][0]["connections"],
            list["gateways"][0].get("state")
        ),
        (&json!(1), None)
    );
}

#[tokio::test]
async fn the_exit_status_of_a_probe_is_the_health_of_the_service() {
    let mut fixture = Fixture::new().await;
    let healthy = fixture.run(&["probe"]);
    assert_eq!(healthy.status, Some(0), "{healthy:?}");
    assert!(
        healthy
            .out
            .lines()
            .any(|line| line.split_whitespace().eq(["redis", "ok", "-"])),
        "{healthy:?}"
    );

    fixture.nats.kill();
    // The server shares a check for a second.
    let until = |fixture: &Fixture, arguments: &[&str], status| {
        std::iter::repeat_with(|| fixture.run(arguments))
            .find(|finished| finished.status == Some(status))
            .unwrap()
    };
    let degraded = until(&fixture, &["probe", "--json"], 5);
    assert!(
        degraded.out.contains(r#""nats":{"status":"unavailable"}"#),
        "{degraded:?}"
    );

    fixture.redis.kill();
    let unavailable = until(&fixture, &["probe"], 1);
    assert!(
        unavailable.out.contains("is unavailable\n"),
        "{unavailable:?}"
    );
}

#[test]
fn version_and_completions_need_no_service() {
    let run =
        |arguments: &[&str]| super::finish(Command::new(binary("presence")).args(arguments)).out;
    let version = run(&["--version"]);
    assert!(
        version.starts_with(&format!("presence {VERSION} (")) && version.ends_with(")\n"),
        "{version}"
    );
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("sign-out"), "{shell}");
    }
}
