//! The client's `Watcher`: what a gateway gets of `GET /watch`.

use presence_client::{
    CallError, Endpoint, FeedState, PlayerId, State, Subscription, WatchedPresence, Watcher,
};
use presence_tests::Server;

use super::{Fixture, connect, disconnect, eventually, set_state};

pub(super) fn player(id: &str) -> PlayerId {
    PlayerId::parse(id).unwrap()
}

pub(super) fn players(ids: &[&str]) -> Vec<PlayerId> {
    ids.iter().map(|id| player(id)).collect()
}

pub(super) fn watcher(server: &Server) -> Watcher {
    Watcher::start(Endpoint::parse(&server.url("")).unwrap()).unwrap()
}

/// The next change, as player and state.
pub(super) async fn next(subscription: &mut Subscription) -> (String, State) {
    let WatchedPresence {
        player_id, state, ..
    } = subscription.recv().await;
    (player_id.as_str().to_owned(), state)
}

/// Waits until the watcher is in this state.
pub(super) async fn until_feed(watcher: &Watcher, feed: FeedState) {
    let mut changes = watcher.status_changes();
    while changes.next().await.unwrap().feed != feed {}
}

fn change(player: &str, state: State) -> (String, State) {
    (player.to_owned(), state)
}

/// What a subscription has to deliver now; the change of a marker player shows that nothing came
/// before it.
pub(super) async fn nothing_but(
    subscription: &mut Subscription,
    server: &Server,
    marker: &str,
    state: State,
) {
    set_state(server, marker, state.as_str()).await;
    assert_eq!(next(subscription).await, change(marker, state));
}

#[tokio::test]
async fn a_subscription_delivers_what_each_player_is_then_each_change() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "bob"]).await;
    disconnect(&server, "bob").await;
    let watcher = watcher(&server);
    assert_eq!(watcher.status().feed, FeedState::Disconnected);
    let mut subscription = watcher.watch(&players(&["alice", "bob", "carol"]));
    let mut first = [
        subscription.recv().await,
        subscription.recv().await,
        subscription.recv().await,
    ];
    first.sort_by(|one, other| one.player_id.cmp(&other.player_id));
    assert_eq!(
        first.each_ref().map(|presence| presence.state),
        [State::Online, State::Offline, State::Offline]
    );
    let [alice, bob, carol] = first;
    assert!(
        bob.version.is_some() && bob.last_seen.is_some(),
        "the history comes along: {bob:?}"
    );
    assert_eq!((carol.version, carol.last_seen), (None, None));
    until_feed(&watcher, FeedState::Live).await;
    let mut version = alice.version;
    for state in [State::InQueue, State::InMatch, State::Away, State::Offline] {
        set_state(&server, "alice", state.as_str()).await;
        let changed = subscription.recv().await;
        assert_eq!(
            (&changed.player_id, changed.state),
            (&player("alice"), state)
        );
        assert!(changed.version > version, "{changed:?}");
        version = changed.version;
    }
    let stats = watcher.stats();
    assert_eq!(
        (
            stats.subscriptions,
            stats.players,
            stats.waiting,
            stats.streams
        ),
        (1, 3, 0, 1)
    );
    assert_eq!(stats.changes, 7);
}

#[tokio::test]
async fn players_of_several_subscriptions_are_requested_once_and_until_the_last_one_ends() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "bob"]).await;
    let watcher = watcher(&server);
    let mut first = watcher.watch(&players(&["alice", "bob"]));
    next(&mut first).await;
    next(&mut first).await;
    let mut second = watcher.clone().watch(&players(&["alice"]));
    assert_eq!(
        next(&mut second).await,
        change("alice", State::Online),
        "known already"
    );
    until_feed(&watcher, FeedState::Live).await;
    assert_eq!(server.metric("presence_watch_interests").await.unwrap(), 2);
    assert_eq!(server.metric("presence_watch_streams").await.unwrap(), 1);
    set_state(&server, "alice", "AWAY").await;
    for subscription in [&mut first, &mut second] {
        assert_eq!(next(subscription).await, change("alice", State::Away));
    }
    drop(first);
    eventually(async || server.metric("presence_watch_interests").await.unwrap() == 1).await;
    set_state(&server, "alice", "IN_QUEUE").await;
    assert_eq!(next(&mut second).await, change("alice", State::InQueue));
    drop((second, watcher));
    eventually(async || server.metric("presence_watch_streams").await.unwrap() == 0).await;
}

#[tokio::test]
async fn an_unwatched_player_is_not_delivered_until_it_is_watched_again() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "marker"]).await;
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&players(&["alice", "marker"]));
    next(&mut subscription).await;
    next(&mut subscription).await;
    subscription.unwatch(&players(&["alice", "nobody"]));
    subscription.watch(&players(&["marker"])); // a player that is watched already stays so
    set_state(&server, "alice", "AWAY").await;
    nothing_but(&mut subscription, &server, "marker", State::InQueue).await;
    subscription.watch(&players(&["alice"]));
    assert_eq!(next(&mut subscription).await, change("alice", State::Away));
}

#[tokio::test]
async fn a_subscription_that_is_not_read_gets_the_newest_presence_and_delays_no_other() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice", "bob", "marker"]).await;
    let watcher = watcher(&server);
    let mut slow = watcher.watch(&players(&["alice", "bob", "marker"]));
    let mut quick = watcher.watch(&players(&["alice"]));
    assert_eq!(next(&mut quick).await, change("alice", State::Online));
    for state in [State::InQueue, State::InMatch, State::Away].repeat(4) {
        set_state(&server, "alice", state.as_str()).await;
        assert_eq!(next(&mut quick).await, change("alice", state));
    }
    let mut all = slow.recv_many(100).await;
    while all.len() < 3 {
        all.extend(slow.recv_many(100).await);
    }
    all.sort_by(|one, other| one.player_id.cmp(&other.player_id));
    let states: Vec<_> = all
        .iter()
        .map(|presence| (presence.player_id.as_str(), presence.state))
        .collect();
    assert_eq!(
        states,
        [
            ("alice", State::Away),
            ("bob", State::Online),
            ("marker", State::Online)
        ]
    );
    nothing_but(&mut slow, &server, "marker", State::Away).await;
}

#[tokio::test]
async fn many_players_are_watched_in_batches_that_the_service_takes() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_MAX_BATCH", "40")]);
    let ids: Vec<_> = (0..500)
        .map(|number| player(&format!("p{number}")))
        .collect();
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&ids);
    let mut found = std::collections::BTreeSet::new();
    while found.len() < ids.len() {
        let presence = subscription.recv().await;
        assert_eq!(presence.state, State::Offline);
        assert!(
            found.insert(presence.player_id.clone()),
            "{presence:?} twice"
        );
    }
    until_feed(&watcher, FeedState::Live).await;
    assert_eq!(watcher.stats().waiting, 0);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_reported_and_a_new_one_is_used_at_once() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[
        ("PRESENCE_AUTH_TOKENS", "a-token-of-some-length"),
        ("PRESENCE_READ_TOKENS", "a-token-that-only-reads"),
    ]);
    let endpoint = Endpoint::parse(&server.url(""))
        .unwrap()
        .with_token("a-token-of-yesterday")
        .unwrap();
    let watcher = Watcher::start(endpoint).unwrap();
    let mut subscription = watcher.watch(&players(&["alice"]));
    let mut changes = watcher.status_changes();
    let error = loop {
        if let Some(error) = changes.next().await.unwrap().error {
            break error;
        }
    };
    let CallError::Problem(problem) = &*error else {
        panic!("{error:?}")
    };
    assert_eq!((problem.status, &*problem.slug), (401, "unauthorized"));
    assert!(watcher.set_token("not a token").is_err());
    watcher.set_token("a-token-that-only-reads").unwrap();
    assert_eq!(
        next(&mut subscription).await,
        change("alice", State::Offline)
    );
    until_feed(&watcher, FeedState::Live).await;
    assert!(watcher.status().error.is_none());
}

#[tokio::test]
async fn more_players_than_the_service_allows_are_reported_and_watched_once_there_is_room() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_PLAYERS", "2")]);
    let watcher = watcher(&server);
    let mut subscription = watcher.watch(&players(&["alice", "bob"]));
    next(&mut subscription).await;
    next(&mut subscription).await;
    subscription.watch(&players(&["carol"]));
    let mut changes = watcher.status_changes();
    while changes.next().await.unwrap().error.is_none() {}
    let error = watcher.status().error.unwrap();
    let CallError::Problem(problem) = &*error else {
        panic!("{error:?}")
    };
    assert_eq!(&*problem.slug, "too-many");
    assert_eq!(watcher.stats().waiting, 1);
    subscription.unwatch(&players(&["alice"]));
    assert_eq!(
        next(&mut subscription).await,
        change("carol", State::Offline)
    );
}
