//! Recovery from lost data and from malformed keys.

use presence::model::State;
use presence_tests::connections;
use redis::AsyncTypedCommands as _;

use super::{Fixture, TTL};

#[tokio::test]
async fn a_heartbeat_restores_what_redis_forgot() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    redis::cmd("FLUSHALL")
        .query_async::<()>(&mut test.redis.connection().await)
        .await
        .unwrap();
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);
    assert_eq!(test.state().await, State::Online);
}

#[tokio::test]
async fn scripts_reload_by_themselves() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async::<()>(&mut test.redis.connection().await)
        .await
        .unwrap();
    test.heartbeat("c1").await.unwrap();
    redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async::<()>(&mut test.redis.connection().await)
        .await
        .unwrap();
    let connections = connections(500);
    let outcome = test
        .presence
        .heartbeat_batch(connections, &test.trace)
        .await
        .unwrap();
    assert_eq!(
        (
            outcome.accepted,
            outcome.restored.len(),
            outcome.failed.len()
        ),
        (500, 500, 0)
    );
}

#[tokio::test]
async fn a_restarted_redis_is_found_again() {
    let mut test = Fixture::new().await;
    test.connect("c1").await;
    test.redis.restart().await;
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);
}

#[tokio::test]
async fn a_malformed_record_is_repaired_by_the_next_heartbeat() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let mut raw = test.redis.connection().await;
    let by_hand = format!(
        r#"{{"state":"ONLINE","connection_count":1,"last_seen":1795492717576,"leases":{{"c1":{TTL}}}}}"#
    );
    for broken in ["", "{}", "null", r#"{"c1":1234567890123}"#, &by_hand] {
        raw.set("presence:alice", broken).await.unwrap();
        assert_eq!(test.heartbeat("c1").await.unwrap(), 1, "{broken}");
        assert_eq!(test.record().await.unwrap()["state"], "ONLINE");
    }
    for broken in [
        None,
        Some(""),
        Some("0"),
        Some("1795492717576 1;c1"),
        Some(";c1"),
    ] {
        match broken {
            Some(past) => raw.set("{presence:alice}:past", past).await.unwrap(),
            None => drop(raw.del("{presence:alice}:past").await.unwrap()),
        }
        assert_eq!(test.heartbeat("c1").await.unwrap(), 1, "{broken:?}");
        let record = test.record().await.unwrap();
        assert_eq!(
            test.past().await,
            format!("{} {};c1", record["last_seen"], record["version"])
        );
    }
}
