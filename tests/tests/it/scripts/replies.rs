//! What the heartbeat script itself answers with.

use presence_tests::{connection, script};
use redis::Value;

use super::{Fixture, TTL};

impl Fixture {
    /// Calls the heartbeat script for one connection of each of some players.
    async fn call_heartbeat(&self, entries: &[(&str, &str)]) -> Value {
        let mut call = redis::cmd("EVAL");
        call.arg(script("heartbeat")).arg(3 * entries.len() + 2);
        for (player, _) in entries {
            call.arg(format!("presence:{player}"));
            call.arg(format!("{{presence:{player}}}:past")).arg(format!("{{presence:{player}}}:closed"));
        }
        call.arg("presence:{all}:expiry")
            .arg("presence:{all}:owners")
            .arg(TTL)
            .arg(format!("604800000 64 {} - ", "presence:".len()));
        for (_, id) in entries {
            call.arg(id);
        }
        call.query_async(&mut self.redis.connection().await).await.unwrap()
    }
}

#[tokio::test]
async fn only_a_call_with_one_entry_is_answered_with_a_record() {
    let test = Fixture::new().await;
    for player in ["alice", "bob"] {
        test.presence.connect(&connection(player, "c1"), &test.trace).await.unwrap();
    }
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let Value::BulkString(record) = test.call_heartbeat(&[("bob", "c1")]).await else { panic!("a record") };
    assert!(record.starts_with(b"{\"last_seen\":"));
    assert_eq!(test.call_heartbeat(&[("alice", "c1"), ("bob", "c1")]).await, text(""));
    // Alice's lease is unknown, and bob's is renewed at once: the record of neither stands for the other's.
    let mixed = test.call_heartbeat(&[("alice", "c2"), ("bob", "c1")]).await;
    assert_eq!(mixed, Value::Array(vec![text("RA"), Value::Nil]));
    let Value::Array(reply) = test.call_heartbeat(&[("carol", "c1")]).await else { panic!("outcomes") };
    assert_eq!(reply[0], text("R"));
    assert!(matches!(&reply[1], Value::BulkString(record) if record.ends_with(b"\"state\":\"ONLINE\"}")));
}
