//! Raw replies of the heartbeat scripts.

use presence::model::{ActivityChange, StateChange};
use presence_tests::{connection, player, script};
use redis::{Cmd, Value};
use serde_json::json;

use super::{Fixture, TTL};

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn add_connections(call: &mut Cmd, entries: &[(&str, &str)]) {
    for (_, id) in entries {
        call.arg(id);
    }
}

impl Fixture {
    /// Calls the heartbeat script for one connection of each of some players.
    async fn call_heartbeat(&self, entries: &[(&str, &str)]) -> Value {
        let mut call = redis::cmd("EVAL");
        call.arg(script("heartbeat")).arg(3 * entries.len() + 2);
        for (player, _) in entries {
            call.arg(format!("presence:{player}"));
            call.arg(format!("{{presence:{player}}}:past"))
                .arg(format!("{{presence:{player}}}:closed"));
        }
        call.arg("presence:{all}:expiry")
            .arg("presence:{all}:owners")
            .arg(TTL)
            .arg(format!("604800000 64 {} - ", "presence:".len()));
        add_connections(&mut call, entries);
        call.query_async(&mut self.redis.connection().await)
            .await
            .unwrap()
    }

    /// Calls the script that renews known leases.
    async fn call_renew(&self, entries: &[(&str, &str)]) -> Vec<Value> {
        let mut call = redis::cmd("EVAL");
        call.arg(script("renew_known")).arg(2 * entries.len());
        for (player, _) in entries {
            call.arg(format!("presence:{player}"))
                .arg(format!("{{presence:{player}}}:past"));
        }
        call.arg(TTL);
        add_connections(&mut call, entries);
        call.query_async(&mut self.redis.connection().await)
            .await
            .unwrap()
    }

    async fn connect_all(&self, players: &[&str]) {
        for player in players {
            self.presence
                .connect(&connection(player, "c1"), &self.trace)
                .await
                .unwrap();
        }
    }

    async fn set_details(&self, name: &str, details: &str) {
        let activity =
            ActivityChange::Set(serde_json::from_value(json!({"details": details})).unwrap());
        self.presence
            .set_state(
                &player(name),
                StateChange {
                    state: None,
                    activity,
                },
                &self.trace,
            )
            .await
            .unwrap();
    }
}

fn is_record(value: &Value, end: &str) -> bool {
    matches!(value, Value::BulkString(record)
        if record.starts_with(b"{\"last_seen\":") && record.ends_with(end.as_bytes()))
}

#[tokio::test]
async fn only_a_call_with_one_entry_returns_a_record() {
    let test = Fixture::new().await;
    test.connect_all(&["alice", "bob"]).await;
    let Value::Array(reply) = test.call_heartbeat(&[("bob", "c1")]).await else {
        panic!("outcomes")
    };
    assert_eq!((&reply[0], &reply[2..]), (&text("A"), &[Value::Nil][..]));
    assert!(is_record(&reply[1], "}"));
    let several = test.call_heartbeat(&[("alice", "c2"), ("bob", "c1")]).await;
    assert_eq!(
        several,
        Value::Array(vec![text("RA"), Value::Nil, Value::Nil])
    );
    let Value::Array(reply) = test.call_heartbeat(&[("carol", "c1")]).await else {
        panic!("outcomes")
    };
    assert_eq!(reply[0], text("R"));
    assert!(is_record(&reply[1], "\"state\":\"ONLINE\"}"));
}

#[tokio::test]
async fn an_activity_is_beside_the_record_alone_or_in_the_past() {
    let test = Fixture::new().await;
    test.connect_all(&["alice"]).await;
    test.set_details("alice", "Ranked").await;
    let Value::Array(reply) = test.call_heartbeat(&[("alice", "c1")]).await else {
        panic!("outcomes")
    };
    assert!(is_record(&reply[1], ",\"activity\":true}"));
    let Value::BulkString(past) = &reply[2] else {
        panic!("a past: {reply:?}")
    };
    assert!(
        String::from_utf8_lossy(past).contains(r#" {"details":"Ranked"};c1"#),
        "{reply:?}"
    );
    test.connect_all(&["bob"]).await;
    let renewed = test
        .call_renew(&[("alice", "c1"), ("bob", "c1"), ("bob", "c2")])
        .await;
    assert!(is_record(&renewed[0], ",\"activity\":true}") && is_record(&renewed[1], "\"ONLINE\"}"));
    assert!(
        matches!(&renewed[3], Value::BulkString(past) if past.ends_with(br#" {"details":"Ranked"};c1"#))
    );
    assert_eq!(
        (&renewed[2], &renewed[4..]),
        (&Value::Nil, &[Value::Nil, Value::Nil][..])
    );
}

#[tokio::test]
async fn known_leases_are_renewed_and_the_others_left_alone() {
    let test = Fixture::new().await;
    test.connect_all(&["alice", "bob"]).await;
    let entries = [
        ("alice", "c1"),
        ("bob", "c2"),
        ("carol", "c1"),
        ("bob", "c1"),
    ];
    let renewed = test.call_renew(&entries).await;
    assert!(is_record(&renewed[0], "}") && is_record(&renewed[3], "}"));
    assert_eq!(renewed[1..3], [Value::Nil, Value::Nil]);
    assert_eq!(
        test.call_heartbeat(&[("alice", "c1"), ("bob", "c1")]).await,
        text("")
    );
}

/// An entry must not see what it read before another entry changed it.
#[tokio::test]
async fn two_devices_of_one_player_in_one_call_are_both_renewed() {
    let test = Fixture::new().await;
    test.connect_all(&["alice"]).await;
    test.presence
        .connect(&connection("alice", "c2"), &test.trace)
        .await
        .unwrap();
    for details in ["short", &"long ".repeat(20)] {
        test.set_details("alice", details).await;
        test.call_heartbeat(&[("alice", "c1"), ("alice", "c2")])
            .await;
        let renewed = test.call_renew(&[("alice", "c1"), ("alice", "c2")]).await;
        let end = format!("\"leases\":[{TTL},{TTL}],\"activity\":true}}");
        assert!(is_record(&renewed[1], &end), "{renewed:?}");
        let past: String = test.redis.ask(&["GET", "{presence:alice}:past"]).await;
        assert!(past.ends_with("};c1;c2"), "{past}");
    }
}
