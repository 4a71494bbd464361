//! The client's `Watcher` while servers, NATS and Redis fail.

use presence_client::{Endpoint, FeedState, State, Watcher};
use presence_tests::Server;

use super::{
    Fixture,
    client::{next, nothing_but, players, until_feed, watcher},
    connect, set_state,
};

/// Another server at the address of one that has ended.
fn successor(fixture: &Fixture, address: &str) -> Server {
    fixture.server(&[("PRESENCE_BIND", address)])
}

#[tokio::test]
async fn after_a_servers_end_only_what_has_changed_meanwhile_is_delivered() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[]);
    let other = fixture.server(&[]);
    let address = server.address().to_owned();
    connect(&other, &["alice", "bob", "marker"]).await;
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&players(&["alice", "bob", "carol", "marker"]));
    for _ in 0..4 {
        next(&mut subscription).await;
    }
    for (round, (alice, marker)) in [
        (State::InMatch, State::InQueue),
        (State::Away, State::InMatch),
    ]
    .into_iter()
    .enumerate()
    {
        until_feed(&watcher, FeedState::Live).await;
        if round == 0 {
            server.kill();
        } else {
            server.terminate().await;
        }
        until_feed(&watcher, FeedState::Disconnected).await;
        assert!(watcher.status().error.is_some());
        set_state(&other, "alice", alice.as_str()).await;
        server = successor(&fixture, &address);
        assert_eq!(next(&mut subscription).await, ("alice".to_owned(), alice));
        until_feed(&watcher, FeedState::Live).await;
        assert!(watcher.status().error.is_none());
        nothing_but(&mut subscription, &other, "marker", marker).await;
    }
    assert_eq!(watcher.stats().streams, 3);
}

#[tokio::test]
async fn players_that_are_watched_while_the_server_is_down_are_delivered_once_it_is_up() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[]);
    let address = server.address().to_owned();
    server.kill();
    let watcher = Watcher::start(Endpoint::parse(&format!("http://{address}")).unwrap()).unwrap();
    let mut subscription = watcher.watch(&players(&["alice"]));
    let dropped = watcher.watch(&players(&["bob"]));
    let mut changes = watcher.status_changes();
    while changes.next().await.unwrap().error.is_none() {}
    drop(dropped);
    let server = successor(&fixture, &address);
    assert_eq!(
        next(&mut subscription).await,
        ("alice".to_owned(), State::Offline)
    );
    connect(&server, &["alice", "bob"]).await;
    assert_eq!(
        next(&mut subscription).await,
        ("alice".to_owned(), State::Online)
    );
    assert_eq!(watcher.stats().players, 1);
}

#[tokio::test]
async fn without_nats_changes_arrive_by_polling() {
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice"]).await;
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&players(&["alice"]));
    assert_eq!(next(&mut subscription).await.1, State::Online);
    until_feed(&watcher, FeedState::Live).await;
    fixture.nats.kill();
    until_feed(&watcher, FeedState::Polling).await;
    set_state(&server, "alice", "AWAY").await;
    assert_eq!(next(&mut subscription).await.1, State::Away);
    fixture.nats.restart().await;
    until_feed(&watcher, FeedState::Live).await;
    // The event of a change that polling has delivered is not delivered again.
    set_state(&server, "alice", "IN_MATCH").await;
    assert_eq!(next(&mut subscription).await.1, State::InMatch);
    assert_eq!(watcher.stats().streams, 1);
}

#[tokio::test]
async fn a_redis_that_cannot_be_read_is_stale_and_no_player_is_delivered_as_offline() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice", "bob"]).await;
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&players(&["alice"]));
    assert_eq!(next(&mut subscription).await.1, State::Online);
    fixture.redis.pause();
    until_feed(&watcher, FeedState::Stale).await;
    subscription.watch(&players(&["bob"]));
    let mut changes = watcher.status_changes();
    while changes.next().await.unwrap().error.is_none() {}
    assert_eq!(watcher.stats().waiting, 1);
    fixture.redis.resume();
    assert_eq!(
        next(&mut subscription).await,
        ("bob".to_owned(), State::Online)
    );
    until_feed(&watcher, FeedState::Live).await;
    assert!(watcher.status().error.is_none());
}

#[tokio::test]
async fn a_loss_of_data_is_delivered_without_a_version_and_the_next_version_is_higher() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice"]).await;
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&players(&["alice"]));
    let before = subscription.recv().await;
    redis::cmd("FLUSHALL")
        .exec_async(&mut fixture.redis.connection().await)
        .await
        .unwrap();
    let lost = subscription.recv().await;
    assert_eq!((lost.state, lost.version), (State::Offline, None));
    connect(&server, &["alice"]).await;
    let after = subscription.recv().await;
    assert!(
        after.state == State::Online && after.version > before.version,
        "{before:?} {after:?}"
    );
}
