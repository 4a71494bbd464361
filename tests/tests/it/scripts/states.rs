//! States: transitions, the grace, versions.

use std::time::Duration;

use presence::{
    PresenceError,
    model::{Reason, State},
};
use presence_tests::{connection, player};

use super::Fixture;

#[tokio::test]
async fn an_offline_player_can_neither_queue_nor_play() {
    let test = Fixture::new().await;
    for state in [State::InQueue, State::InMatch] {
        assert!(matches!(
            test.set_state(state).await,
            Err(PresenceError::TransitionRejected(_))
        ));
    }
    assert_eq!(test.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn every_other_transition_is_allowed() {
    use State::{Away, InMatch, InQueue, Offline, Online};
    let test = Fixture::new().await;
    for from in [Online, InQueue, InMatch, Away] {
        for to in State::ALL {
            test.set_state(Online).await.unwrap();
            test.set_state(from).await.unwrap();
            assert_eq!(test.set_state(to).await.unwrap(), to, "{from} → {to}");
        }
    }
    assert_eq!(test.set_state(Offline).await.unwrap(), Offline);
    assert_eq!(test.set_state(Away).await.unwrap(), Away);
}

#[tokio::test]
async fn a_state_set_on_an_offline_player_lives_for_one_ttl_without_connections() {
    let test = Fixture::new().await;
    test.set_state(State::Away).await.unwrap();
    assert_eq!(test.record().await.unwrap()["connection_count"], 0);
    test.advance_clock(30).await;
    test.set_state(State::Online).await.unwrap();
    assert!(
        test.pttl("presence:alice").await <= 15_000,
        "setting a state renews nothing"
    );
    test.advance_clock(16).await;
    assert_eq!(test.state().await, State::Offline);
}

#[tokio::test]
async fn signing_out_closes_all_connections() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.connect("c2").await;
    test.set_state(State::Offline).await.unwrap();
    for id in ["c1", "c2"] {
        assert!(matches!(
            test.heartbeat(id).await,
            Err(PresenceError::ConnectionClosed)
        ));
    }
    assert_eq!(test.state().await, State::Offline);
}

#[tokio::test]
async fn a_lost_player_has_the_grace_to_come_back() {
    let test = Fixture::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    test.connect("c1").await;
    test.set_state(State::InMatch).await.unwrap();
    let version = test.record().await.unwrap()["version"].clone();
    assert_eq!(test.disconnect("c1", Reason::Lost).await, State::InMatch);
    assert_eq!(test.record().await.unwrap()["connection_count"], 0);
    assert!(test.pttl("presence:alice").await <= 20_000);
    test.advance_clock(19).await;
    test.connect("c2").await;
    let record = test.record().await.unwrap();
    assert_eq!(
        (&record["state"], &record["version"]),
        (&"IN_MATCH".into(), &version)
    );

    test.disconnect("c2", Reason::Lost).await;
    test.advance_clock(21).await;
    assert_eq!(test.state().await, State::Offline);
}

#[tokio::test]
async fn a_player_who_quits_has_no_grace() {
    let test = Fixture::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    test.connect("c1").await;
    assert_eq!(test.disconnect("c1", Reason::Quit).await, State::Offline);
}

#[tokio::test]
async fn versions_rise_across_offline_and_a_flush() {
    let test = Fixture::new().await;
    let alice = connection("alice", "c1");
    let mut versions = vec![
        test.presence
            .connect(&alice, &test.trace)
            .await
            .unwrap()
            .version,
    ];
    for state in [State::InQueue, State::Offline, State::Online] {
        versions.push(
            test.presence
                .set_state(&player("alice"), state, &test.trace)
                .await
                .unwrap()
                .version,
        );
    }
    redis::cmd("FLUSHALL")
        .query_async::<()>(&mut test.redis.connection().await)
        .await
        .unwrap();
    // Versions are ahead of the clock if there were more transitions than milliseconds.
    tokio::time::sleep(Duration::from_millis(5)).await;
    versions.push(
        test.presence
            .heartbeat(&connection("alice", "c2"), &test.trace)
            .await
            .unwrap()
            .version,
    );
    let versions: Vec<_> = versions.into_iter().flatten().collect();
    assert_eq!(versions.len(), 4, "an OFFLINE presence has no version");
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}
