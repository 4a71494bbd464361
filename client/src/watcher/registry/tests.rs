//! Tests of the registry: what each subscription receives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
};

use proptest::prelude::*;

use super::*;

fn player(id: &str) -> PlayerId {
    PlayerId::parse(id).unwrap()
}

fn presence(id: &str, state: State, version: Option<u64>) -> WatchedPresence {
    WatchedPresence {
        player_id: player(id),
        state,
        last_seen: version,
        version,
        activity: None,
    }
}

fn update(registry: &mut Registry, presence: WatchedPresence) -> bool {
    registry.update(presence, &mut Vec::new())
}

#[test]
fn a_change_is_delivered_once_to_each_subscription_of_its_player() {
    let mut registry = Registry::default();
    let subscriptions = [registry.open(), registry.open(), registry.open()];
    assert!(registry.watch(subscriptions[0], &player("alice")));
    assert!(!registry.watch(subscriptions[1], &player("alice")));
    let online = presence("alice", State::Online, Some(5));
    assert!(update(&mut registry, online.clone()));
    assert!(
        !update(&mut registry, online.clone()),
        "sent again after a reconnect"
    );
    for id in &subscriptions[..2] {
        assert_eq!(registry.next_change(*id, None), Some(online.clone()));
        assert_eq!(registry.next_change(*id, None), None);
    }
    assert_eq!(registry.next_change(subscriptions[2], None), None);
}

#[test]
fn an_activity_is_a_change() {
    let mut registry = Registry::default();
    let id = registry.open();
    registry.watch(id, &player("alice"));
    let build_presence = |details: &str, version| WatchedPresence {
        activity: Some(Activity {
            details: Some(details.to_owned()),
            ..Activity::default()
        }),
        ..presence("alice", State::InMatch, Some(version))
    };
    for (details, version) in [("Ranked", 5), ("Casual", 6)] {
        update(&mut registry, build_presence(details, version));
        assert_eq!(
            registry.next_change(id, None),
            Some(build_presence(details, version))
        );
    }
    assert!(!update(&mut registry, build_presence("Casual", 6)));
}

#[test]
fn later_changes_replace_earlier_ones_and_keep_their_position() {
    let mut registry = Registry::default();
    let id = registry.open();
    for name in ["alice", "bob"] {
        registry.watch(id, &player(name));
        update(&mut registry, presence(name, State::Online, Some(1)));
    }
    let newest = presence("alice", State::Away, Some(3));
    update(&mut registry, presence("alice", State::InMatch, Some(2)));
    update(&mut registry, newest.clone());
    assert_eq!(registry.next_change(id, None), Some(newest));
    assert_eq!(
        registry.next_change(id, None).unwrap().player_id,
        player("bob")
    );
    assert_eq!(registry.next_change(id, None), None);
}

#[test]
fn a_lower_version_is_reported_as_a_loss_of_data() {
    let mut registry = Registry::default();
    let id = registry.open();
    registry.watch(id, &player("alice"));
    update(&mut registry, presence("alice", State::InMatch, Some(9)));
    registry.next_change(id, None);
    assert!(update(
        &mut registry,
        presence("alice", State::Online, Some(7))
    ));
    let lost = registry.next_change(id, None).unwrap();
    assert_eq!((lost.state, lost.version), (State::Online, None));
    assert_eq!(registry.known_version(&player("alice")), Some(0));
    assert!(
        !update(&mut registry, presence("alice", State::Online, Some(7))),
        "sent again after another reconnect"
    );
    assert!(update(
        &mut registry,
        presence("alice", State::Online, Some(10))
    ));
    assert_eq!(registry.next_change(id, None).unwrap().version, Some(10));
}

#[test]
fn presences_are_dropped_with_the_last_subscription() {
    let mut registry = Registry::default();
    let first = registry.open();
    let second = registry.open();
    for id in [first, second] {
        registry.watch(id, &player("alice"));
    }
    update(&mut registry, presence("alice", State::Online, Some(5)));
    assert!(
        registry
            .unwatch(first, &[player("alice"), player("bob")])
            .is_empty()
    );
    assert_eq!(
        registry.next_change(first, None),
        None,
        "a change before that is not delivered"
    );
    assert_eq!(registry.known_version(&player("alice")), Some(5));
    assert_eq!(registry.close(second), [player("alice")]);
    assert_eq!(
        (registry.known_version(&player("alice")), registry.players()),
        (None, 0)
    );
    assert!(!update(
        &mut registry,
        presence("alice", State::Away, Some(6))
    ));
    assert_eq!(registry.subscriptions(), 1);
}

#[test]
fn a_waiting_subscription_is_woken_only_by_changes_of_its_players() {
    #[derive(Default)]
    struct WakeCount(AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    let count = Arc::<WakeCount>::default();
    let mut registry = Registry::default();
    let waiting = registry.open();
    let other = registry.open();
    registry.watch(waiting, &player("alice"));
    registry.watch(other, &player("bob"));
    assert_eq!(
        registry.next_change(waiting, Some(&Waker::from(Arc::clone(&count)))),
        None
    );
    for (name, woken) in [("bob", 0), ("alice", 1)] {
        let mut wakers = Vec::new();
        registry.update(presence(name, State::Online, Some(1)), &mut wakers);
        wakers.into_iter().for_each(Waker::wake);
        assert_eq!(count.0.load(Ordering::Relaxed), woken, "{name}");
    }
}

proptest! {
    /// Whatever arrives and whenever a subscription is read, versions never decrease, and the last
    /// presence that is delivered is the last one that arrived.
    #[test]
    fn a_reader_of_any_speed_ends_with_the_newest_presence(
        steps in prop::collection::vec((0_usize..3, 0_u64..8, prop::bool::weighted(0.3)), 1..60),
    ) {
        let states = [State::Offline, State::Online, State::Away];
        let mut registry = Registry::default();
        let id = registry.open();
        registry.watch(id, &player("alice"));
        let mut last_read = None::<WatchedPresence>;
        let mut highest_version = 0;
        let mut last_arrived = None;
        let mut read = |registry: &mut Registry| {
            while let Some(next) = registry.next_change(id, None) {
                if let Some(version) = next.version {
                    prop_assert!(version >= highest_version);
                    highest_version = version;
                }
                last_read = Some(next);
            }
            Ok(())
        };
        for (state, version, is_read) in steps {
            update(&mut registry, presence("alice", states[state], (version > 0).then_some(version)));
            last_arrived = Some(states[state]);
            if is_read {
                read(&mut registry)?;
            }
        }
        read(&mut registry)?;
        prop_assert_eq!(last_read.map(|presence| presence.state), last_arrived);
    }
}
