//! Reads of players who are connected, and of those who were.

use presence::{
    model::{Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{connection, player};
use redis::AsyncTypedCommands as _;

use super::Fixture;

#[tokio::test]
async fn a_read_does_not_count_an_expired_lease() {
    let test = Fixture::new().await;
    test.connect("phone").await;
    test.advance_clock(30).await;
    test.connect("laptop").await;
    test.advance_clock(20).await;
    let snapshot = test
        .presence
        .presences(&[player("alice")], false)
        .await
        .unwrap();
    assert_eq!(snapshot.presences[0].connection_count, 1);
}

#[tokio::test]
async fn the_past_is_known_for_the_retention_and_no_longer() {
    let test = Fixture::with(&[("PRESENCE_LAST_SEEN_RETENTION", "1h")]).await;
    let seen = test
        .presence
        .connect(&connection("alice", "c1"), &test.trace)
        .await
        .unwrap();
    let read_history = async || {
        test.presence
            .presences(&[player("alice")], true)
            .await
            .unwrap()
            .presences
            .remove(0)
    };
    test.advance_clock(60).await; // the record has expired, and no sweep has run yet
    let past = read_history().await;
    assert_eq!(past.last_seen, Some(seen.last_seen.unwrap() - 60_000));
    assert_eq!(past.version, seen.version);
    assert_eq!(
        test.presence
            .presences(&[player("alice")], false)
            .await
            .unwrap()
            .presences[0]
            .last_seen,
        None
    );
    test.advance_clock(3_600).await;
    assert_eq!(read_history().await.last_seen, None);

    test.connect("c2").await;
    test.disconnect("c2", Reason::Quit).await;
    test.advance_clock(3_599).await;
    assert!(read_history().await.last_seen.is_some());
    test.advance_clock(2).await;
    assert_eq!(read_history().await.last_seen, None);
    assert_eq!(test.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn reads_change_nothing() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let mut raw = test.redis.connection().await;
    let read_commands = async |raw: &mut redis::aio::MultiplexedConnection| {
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(raw)
            .await
            .unwrap();
        let names = stats.lines().filter_map(|line| {
            line.strip_prefix("cmdstat_")?
                .split(':')
                .next()
                .map(str::to_owned)
        });
        names
            .filter(|name| {
                !["info", "config|resetstat", "client|setinfo", "hello"].contains(&&**name)
            })
            .collect::<Vec<_>>()
    };
    redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async::<()>(&mut raw)
        .await
        .unwrap();
    test.presence
        .presences(&[player("alice"), player("bob")], true)
        .await
        .unwrap();
    let mut names = read_commands(&mut raw).await;
    names.sort();
    assert_eq!(names, ["mget", "time"]);
}

#[tokio::test]
async fn a_malformed_record_is_not_offline() {
    let test = Fixture::new().await;
    let mut raw = test.redis.connection().await;
    raw.set("presence:alice", "by hand").await.unwrap();
    raw.rpush("presence:bob", "by hand").await.unwrap();
    for id in ["alice", "bob"] {
        assert!(
            test.presence.presences(&[player(id)], false).await.is_err(),
            "{id}"
        );
    }
    assert!(
        test.presence
            .presences(&[player("alice"), player("carol")], false)
            .await
            .is_err()
    );

    // The heartbeats of others succeed, and its own repairs it.
    let heartbeats = ["alice", "bob", "carol"]
        .map(|id| connection(id, "c1"))
        .to_vec();
    let batch = test
        .presence
        .heartbeat_batch(heartbeats, &TraceContext::new_root())
        .await
        .unwrap();
    assert_eq!((batch.accepted, batch.restored.len()), (3, 3));
    let presences = test
        .presence
        .presences(&["alice", "bob", "carol"].map(player), false)
        .await
        .unwrap()
        .presences;
    assert!(
        presences
            .iter()
            .all(|presence| presence.state == State::Online)
    );
}

#[tokio::test]
async fn a_live_player_whose_record_is_of_another_type_is_not_offline_in_a_read_of_several_keys() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let mut raw = test.redis.connection().await;
    raw.del("presence:alice").await.unwrap();
    raw.rpush("presence:alice", "by hand").await.unwrap();
    for players in [vec!["alice"], vec!["bob", "alice"]] {
        let players: Vec<_> = players.into_iter().map(player).collect();
        let read = test.presence.presences(&players, true).await;
        assert!(read.is_err(), "{players:?}");
    }

    // A record that is missing is OFFLINE, whatever the past says.
    raw.del("presence:alice").await.unwrap();
    let snapshot = test.presence.presences(&[player("alice")], true).await;
    assert_eq!(snapshot.unwrap().presences[0].state, State::Offline);
}
