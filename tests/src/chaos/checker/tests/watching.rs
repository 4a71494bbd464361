//! Presences that a watcher may hold.

use super::*;
use crate::chaos::history::{Delivery, Snapshot, WatchStream};

/// The history of [`valid`], with a watcher, and with responses long after the end.
fn watched() -> History {
    let mut history = valid();
    history.streams = vec![stream(400)];
    history.deliveries = vec![
        delivery(450, State::Offline, None),
        delivery(1_010, State::Online, Some(1_001)),
        delivery(3_510, State::Away, Some(3_501)),
        delivery(5_010, State::Offline, Some(5_001)),
    ];
    history
        .reads
        .extend([9_000, 10_000].map(|as_of| read(as_of, State::Offline, 0, Some(5_001))));
    history
}

fn stream(sent: Millis) -> WatchStream {
    let snapshots = vec![Snapshot {
        first: 0,
        end: 10,
        sent,
        completed: sent + 60,
    }];
    WatchStream {
        watcher: 0,
        server: 0,
        opened: sent,
        knows_nothing: true,
        snapshots,
        ended: None,
    }
}

fn delivery(at: Millis, state: State, version: Option<u64>) -> Delivery {
    Delivery {
        stream: 0,
        player: 7,
        at,
        state,
        version,
    }
}

fn violated_when_watched(change: impl FnOnce(&mut History)) -> Vec<Invariant> {
    violated(|history| {
        *history = watched();
        change(history);
    })
}

#[test]
fn a_watcher_that_sees_everything_violates_nothing() {
    assert_eq!(violated_when_watched(|_| {}), []);
    let counts = check(&watched()).counts;
    assert!(
        counts["comparisons of a watcher with Redis"] > 0,
        "{counts:?}"
    );
}

#[test]
fn a_version_that_falls_on_a_stream_is_noticed() {
    let falls = |history: &mut History| {
        history
            .deliveries
            .insert(3, delivery(3_600, State::Online, Some(1_001)))
    };
    assert_eq!(violated_when_watched(falls), [Invariant::RisingOnStream]);
    let is_another_stream = |history: &mut History| {
        history.streams[0].ended = Some(5_020);
        history.streams.push(stream(5_500));
        history.deliveries.push(Delivery {
            stream: 1,
            ..delivery(5_550, State::Offline, Some(5_001))
        });
    };
    assert_eq!(violated_when_watched(is_another_stream), []);
}

#[test]
fn a_snapshot_that_is_older_than_its_request_is_noticed() {
    let is_late = |history: &mut History| {
        history.streams = vec![stream(3_550)];
        history.deliveries = vec![
            delivery(3_600, State::Online, Some(1_001)),
            delivery(5_010, State::Offline, Some(5_001)),
        ];
    };
    assert_eq!(violated_when_watched(is_late), [Invariant::FreshSnapshot]);
    assert_eq!(
        violated_when_watched(|history| history.streams[0] = stream(3_550)),
        []
    );
}

#[test]
fn what_the_watcher_holds_from_an_earlier_stream_counts_unless_it_was_forgotten() {
    let returns = |knows_nothing| {
        violated_when_watched(|history| {
            history.streams[0].ended = Some(5_020);
            history.streams.push(WatchStream {
                knows_nothing,
                ..stream(5_500)
            });
        })
    };
    assert_eq!(returns(false), []);
    assert_eq!(
        returns(true),
        [Invariant::FreshSnapshot, Invariant::WatcherTruth]
    );
}

#[test]
fn a_change_that_never_arrives_is_noticed() {
    let misses = |history: &mut History| _ = history.deliveries.pop();
    assert_eq!(violated_when_watched(misses), [Invariant::WatcherTruth]);
    // During a fault, it may.
    for part in [Part::Redis, Part::Nats, Part::Server(0), Part::Watcher(0)] {
        let excused = violated_when_watched(|history| {
            misses(history);
            history
                .faults
                .push(fault(part, FaultKind::Freeze, 4_000, 9_500));
        });
        assert!(!excused.contains(&Invariant::WatcherTruth), "{part:?}");
    }
    for part in [Part::Server(1), Part::Gateway(0), Part::Watcher(1)] {
        let found = violated_when_watched(|history| {
            misses(history);
            history
                .faults
                .push(fault(part, FaultKind::Freeze, 4_000, 9_500));
        });
        assert!(found.contains(&Invariant::WatcherTruth), "{part:?}");
    }
}

#[test]
fn a_flush_that_the_watcher_is_not_sent_is_noticed() {
    let check_flush = |deliveries: Vec<Delivery>| {
        violated_when_watched(|history| {
            history
                .faults
                .push(fault(Part::Redis, FaultKind::Flush, 5_600, 5_610));
            history.reads = vec![
                read(5_700, State::Offline, 0, None),
                read(10_000, State::Offline, 0, None),
            ];
            history.deliveries.extend(deliveries);
        })
    };
    assert_eq!(check_flush(Vec::new()), [Invariant::WatcherTruth]);
    assert_eq!(check_flush(vec![delivery(6_000, State::Offline, None)]), []);
}

#[test]
fn a_state_that_no_event_has_is_noticed() {
    let invent_state = |history: &mut History| history.deliveries[2].state = State::InMatch;
    assert_eq!(
        violated_when_watched(invent_state),
        [Invariant::NoTransitionWithoutEvent]
    );
}
