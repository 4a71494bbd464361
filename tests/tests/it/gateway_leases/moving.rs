//! Gateways that leave, and players who move to another one.

use std::time::Duration;

use presence::{
    events::RelaySignal,
    model::{Activity, Reason, State},
};
use presence_tests::{NatsServer, connection, player};
use serde_json::Value;

use super::{EXPIRY, Fixture, OFFLINE, ONLINE};

#[tokio::test]
async fn moving_keeps_state_and_version_for_the_grace_and_makes_no_event() {
    let nats = NatsServer::start().await;
    let it = Fixture::new(&[("PRESENCE_NATS_URL", &nats.url())]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    it.connect(&connection("bob", "c2"), "g1").await;
    let played = it
        .app
        .presence()
        .set_state(&player("alice"), State::InMatch, &it.trace)
        .await
        .unwrap()
        .version;
    assert_eq!(it.leave("g1", Reason::Moving).await, 2);
    assert_eq!(it.leave("g1", Reason::Moving).await, 0, "a second call");
    assert_eq!(it.leave("unknown", Reason::Moving).await, 0);
    assert_eq!(it.state("alice").await, (State::InMatch, 0));
    it.redis.advance_clock(Duration::from_secs(29)).await;
    let back = it
        .app
        .presence()
        .connect(&connection("alice", "c3"), &it.trace)
        .await
        .unwrap();
    assert_eq!(
        (back.state, back.version, back.connection_count),
        (State::InMatch, played, 1)
    );
    it.redis.advance_clock(Duration::from_secs(2)).await;
    it.app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert_eq!(it.state("bob").await, OFFLINE);
    it.app.relay().unwrap().pass().await.unwrap();
    let messages = nats.messages("PRESENCE_EVENTS").await;
    let events: Vec<Value> = messages
        .iter()
        .map(|message| serde_json::from_slice(&message.payload).unwrap())
        .collect();
    let reasons: Vec<_> = events
        .iter()
        .map(|event| event["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["connect", "connect", "set_state", "lost"]);
}

/// The texts in it mean something in what Redis holds of leases and owners.
#[tokio::test]
async fn an_activity_ends_with_the_last_lease_of_a_gateway_and_stays_with_another_or_through_a_move()
 {
    let it = Fixture::new(&[]).await;
    let json =
        r#"{"details":";c1!g1 \"}\\ 😀\u2028","custom":{"!g1":[";c2!g2","g1!alice c1",{}]}}"#;
    let activity: Activity = serde_json::from_str(json).unwrap();
    let named = [
        ("alice", "c1", "g1"),
        ("bob", "c1", "g1"),
        ("bob", "c2", "g2"),
        ("carol", "c1", "g2"),
    ];
    let devices = named.map(|(player, id, gateway)| (connection(player, id), gateway));
    it.renew("g1").await;
    for (device, gateway) in &devices {
        it.connect(device, gateway).await;
    }
    for id in ["alice", "bob", "carol"] {
        it.app
            .presence()
            .set_state(&player(id), activity.clone(), &it.trace)
            .await
            .unwrap();
    }
    for (device, gateway) in &devices {
        it.heartbeat(device, Some(gateway)).await;
    }
    it.sweep().await;
    it.advance_clock(EXPIRY).await;
    assert_eq!(it.sweep().await, 2);
    assert_eq!(
        (it.state("alice").await, it.state("bob").await),
        (OFFLINE, ONLINE)
    );
    assert_eq!(
        it.activities(["alice", "bob", "carol"]).await,
        [None, Some(activity.clone()), Some(activity.clone())]
    );
    it.renew("g2").await;
    assert_eq!(it.leave("g2", Reason::Moving).await, 2);
    for (id, after) in [
        ("bob", connection("bob", "c3")),
        ("carol", connection("carol", "c3")),
    ] {
        assert_eq!(it.state(id).await, (State::Online, 0));
        it.connect(&after, "g3").await;
        it.heartbeat(&after, Some("g3")).await;
    }
    assert_eq!(
        it.activities(["bob", "carol"]).await,
        [Some(activity.clone()), Some(activity)]
    );
}

#[tokio::test]
async fn a_gateway_that_leaves_on_purpose_ends_at_once_and_a_lost_one_after_the_grace() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    for (reason, after) in [(Reason::Quit, OFFLINE), (Reason::Lost, (State::Online, 0))] {
        it.renew("g1").await;
        it.connect(&connection("alice", &format!("{reason:?}")), "g1")
            .await;
        assert_eq!(it.leave("g1", reason).await, 1);
        assert_eq!(it.state("alice").await, after, "{reason:?}");
    }
}

#[tokio::test]
async fn a_disconnect_that_moves_closes_its_connection() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    it.connect(&alice, "g1").await;
    it.app
        .presence()
        .disconnect(&alice, Reason::Moving, &it.trace)
        .await
        .unwrap();
    assert_eq!(it.state("alice").await, (State::Online, 0));
    assert!(
        it.app
            .presence()
            .heartbeat(&alice, &it.trace)
            .await
            .is_err()
    );
}
