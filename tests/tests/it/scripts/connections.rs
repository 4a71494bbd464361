//! Connections: leases that open, expire and close.

use std::time::Duration;

use presence::{
    PresenceError,
    model::{Reason, State},
};
use presence_tests::{connection, leases};
use serde_json::json;

use super::{Fixture, TTL};

#[tokio::test]
async fn the_first_connect_makes_a_record_that_lives_for_the_ttl() {
    let test = Fixture::new().await;
    assert_eq!(test.connect("c1").await, 1);

    let record = test.record().await.unwrap();
    assert_eq!(record["state"], "ONLINE");
    assert_eq!(record["connection_count"], 1);
    assert_eq!(
        test.past().await,
        format!("{} {};c1", record["last_seen"], record["version"])
    );
    let pttl = test.pttl("presence:alice").await;
    assert!((TTL as i64 - 1_000..=TTL as i64).contains(&pttl), "{pttl}");
    let keys = [
        "presence:alice",
        "presence:{all}:expiry",
        "{presence:alice}:past",
    ];
    assert_eq!(test.redis.keys().await, keys);
}

#[tokio::test]
async fn the_same_connect_counts_once_and_the_same_disconnect_removes_once() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    assert_eq!(test.connect("c1").await, 1);
    assert_eq!(test.connect("c2").await, 2);
    test.disconnect("c1", Reason::Quit).await;
    test.disconnect("c1", Reason::Quit).await;
    assert_eq!(test.record().await.unwrap()["connection_count"], 1);
}

#[tokio::test]
async fn the_last_disconnect_removes_the_record() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.connect("c2").await;
    assert_eq!(test.disconnect("c1", Reason::Quit).await, State::Online);
    assert_eq!(test.disconnect("c2", Reason::Quit).await, State::Offline);
    assert_eq!(
        test.redis.keys().await,
        ["{presence:alice}:closed", "{presence:alice}:past"]
    );
}

#[tokio::test]
async fn every_heartbeat_renews_the_lifetime_and_nothing_else() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.set_state(State::InMatch).await.unwrap();
    let before = test.record().await.unwrap();
    test.advance_clock(30).await;
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);

    let after = test.record().await.unwrap();
    assert!(test.pttl("presence:alice").await > TTL as i64 - 1_000);
    assert_eq!(after["version"], before["version"]);
    assert_eq!(after["state"], "IN_MATCH");
    assert!(after["last_seen"].as_u64() >= before["last_seen"].as_u64());
}

#[tokio::test]
async fn a_dead_devices_lease_expires_while_the_other_sends_heartbeats() {
    let test = Fixture::new().await;
    test.connect("phone").await;
    test.connect("laptop").await;
    for expected in [2, 2, 1] {
        test.advance_clock(15).await;
        assert_eq!(test.heartbeat("laptop").await.unwrap(), expected);
    }
    assert_eq!(
        leases(&test.past().await, TTL),
        [("laptop".to_owned(), TTL)]
    );
}

#[tokio::test]
async fn a_heartbeat_of_one_device_lets_the_others_leases_run_on() {
    let test = Fixture::new().await;
    for device in ["phone", "laptop", "tv"] {
        test.connect(device).await;
    }
    test.set_state(State::Away).await.unwrap();
    let before = test.record().await.unwrap();
    for (device, seconds) in [("phone", 10), ("laptop", 20)] {
        test.advance_clock(seconds).await;
        assert_eq!(test.heartbeat(device).await.unwrap(), 3);
    }

    let record = test.record().await.unwrap();
    let past = test.past().await;
    let [phone, laptop, tv] = &leases(&past, TTL)[..] else {
        panic!("{past}")
    };
    assert!((TTL - 21_000..=TTL - 20_000).contains(&phone.1), "{past}");
    assert_eq!(laptop.1, TTL);
    assert!((TTL - 31_000..=TTL - 30_000).contains(&tv.1), "{past}");
    assert_eq!(record["leases"], json!([phone.1, laptop.1, tv.1]));
    assert_eq!(
        (&record["state"], &record["version"]),
        (&json!("AWAY"), &before["version"])
    );
    assert!(
        past.starts_with(&format!(
            "{} {} AWAY;phone ",
            record["last_seen"], record["version"]
        )),
        "{past}"
    );
    assert!(test.pttl("presence:alice").await > TTL as i64 - 1_000);
}

#[tokio::test]
async fn a_lease_stops_counting_the_millisecond_after_its_expiry() {
    let test = Fixture::new().await;
    test.connect("phone").await;
    test.connect("laptop").await;
    test.redis.advance_clock(Duration::from_millis(TTL)).await;
    // At the latest a millisecond later both leases have expired.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(test.heartbeat("laptop").await.unwrap(), 1);
}

#[tokio::test]
async fn a_closed_connection_stays_closed_for_twice_the_ttl() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.connect("c2").await;
    test.disconnect("c1", Reason::Quit).await;
    for _ in 0..6 {
        test.advance_clock(14).await;
        assert!(matches!(
            test.heartbeat("c1").await,
            Err(PresenceError::ConnectionClosed)
        ));
        let connect = test
            .presence
            .connect(&connection("alice", "c1"), &test.trace)
            .await;
        assert!(matches!(connect, Err(PresenceError::ConnectionClosed)));
        assert_eq!(test.heartbeat("c2").await.unwrap(), 1);
    }
    test.advance_clock(7).await;
    assert_eq!(
        test.redis
            .keys()
            .await
            .iter()
            .filter(|key| key.contains("closed"))
            .count(),
        0
    );
}

#[tokio::test]
async fn a_disconnect_that_comes_first_wins() {
    let test = Fixture::new().await;
    assert_eq!(test.disconnect("c1", Reason::Quit).await, State::Offline);
    assert!(matches!(
        test.heartbeat("c1").await,
        Err(PresenceError::ConnectionClosed)
    ));
    assert!(test.record().await.is_none());
}

#[tokio::test]
async fn after_a_disconnect_the_record_lives_no_longer_than_its_longest_lease() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.advance_clock(20).await;
    test.connect("c2").await;
    test.disconnect("c2", Reason::Quit).await;
    assert!(test.pttl("presence:alice").await <= 25_000);
}

#[tokio::test]
async fn one_connection_too_many_evicts_the_lease_that_expires_first() {
    let test = Fixture::with(&[("PRESENCE_MAX_CONNECTIONS", "2")]).await;
    test.connect("c1").await;
    test.advance_clock(1).await;
    test.connect("c2").await;
    test.advance_clock(1).await;
    assert_eq!(test.heartbeat("c1").await.unwrap(), 2);
    assert_eq!(test.connect("c3").await, 2);
    assert!(matches!(
        test.heartbeat("c2").await,
        Err(PresenceError::ConnectionClosed)
    ));
    assert_eq!(test.heartbeat("c1").await.unwrap(), 2);
}

#[tokio::test]
async fn a_connection_may_have_the_name_of_a_member_of_the_record() {
    let test = Fixture::new().await;
    let names = [
        "state",
        "leases",
        "version",
        "last_seen",
        "connection_count",
        "connections",
    ];
    for (count, name) in names.iter().enumerate() {
        assert_eq!(test.heartbeat(name).await.unwrap(), count as u32 + 1);
        assert_eq!(test.heartbeat(name).await.unwrap(), count as u32 + 1);
    }
    let record = test.record().await.unwrap();
    assert_eq!(record["state"], "ONLINE");
    assert_eq!(record["leases"].as_array().unwrap().len(), names.len());
    assert_eq!(leases(&test.past().await, TTL).len(), names.len());
}
