//! The checker looks at every state of the model.

use presence_protocol::{Bounds, Flaw, Protocol, properties as property};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// The smallest world in which each rule can be seen to matter.
const SMALL: Bounds = Bounds {
    connections: 1,
    ticks: 4,
    grace: 0,
    sweepers: 1,
    relays: 1,
    flushes: 0,
    has_matches: true,
    is_network_reliable: false,
    is_watched: false,
    interruptions: 0,
};

/// The smallest world in which each rule of watching matters.
const WATCHED: Bounds =
    Bounds { ticks: 2, has_matches: false, is_network_reliable: true, is_watched: true, interruptions: 1, ..SMALL };

/// Looks at every state, and fails with the way to the first one that must not be.
fn hold_in_every_state(bounds: Bounds) {
    let checker = Protocol { bounds, flaw: None }.checker().threads(2).spawn_bfs().join();
    eprintln!("{} states, at most {} steps away", checker.unique_state_count(), checker.max_depth());
    assert!(checker.is_done(), "the whole of the bounded space was looked at");
    checker.assert_properties();
}

#[test]
fn all_properties_hold_for_two_connections() {
    hold_in_every_state(Bounds { connections: 2, relays: 0, has_matches: false, ..SMALL });
}

#[test]
fn all_properties_hold_in_a_grace() {
    hold_in_every_state(Bounds { grace: 1, relays: 0, ticks: 6, ..SMALL });
}

#[test]
fn all_properties_hold_with_two_sweepers() {
    hold_in_every_state(Bounds { sweepers: 2, relays: 0, ticks: 6, ..SMALL });
}

#[test]
fn all_properties_hold_with_two_relays() {
    hold_in_every_state(Bounds { relays: 2, has_matches: false, ..SMALL });
}

#[test]
fn all_properties_hold_when_redis_is_flushed() {
    hold_in_every_state(Bounds { flushes: 1, has_matches: false, ticks: 5, ..SMALL });
}

#[test]
fn all_properties_hold_with_one_of_each() {
    hold_in_every_state(SMALL);
}

#[test]
fn all_properties_hold_for_a_watcher_whose_streams_break() {
    hold_in_every_state(WATCHED);
}

#[test]
fn all_properties_hold_for_a_watcher_when_redis_is_flushed() {
    hold_in_every_state(Bounds { flushes: 1, interruptions: 1, ..WATCHED });
}

/// Each property can fail: without this rule of the protocol it does.
fn fails_without(flaw: Flaw, property: &'static str, bounds: Bounds) {
    let checker = Protocol { bounds, flaw: Some(flaw) }.checker().threads(2);
    let checker = checker.finish_when(HasDiscoveries::AllOf([property].into())).spawn_bfs().join();
    assert!(checker.discovery(property).is_some(), "{flaw:?} goes unnoticed by: {property}");
}

#[test]
fn each_rule_that_is_left_out_is_noticed() {
    for (flaw, property) in [
        (Flaw::SetStateRenews, property::NO_GHOST),
        (Flaw::NotFiled, property::FOUND),
        (Flaw::SweepTrustsItsPage, property::ONE_END),
        (Flaw::MissedEndIsForgotten, property::ONE_END),
        (Flaw::VersionIgnoresTheClock, property::VERSIONS),
        (Flaw::StruckBeforeAck, property::NO_LOSS),
        (Flaw::NoMessageId, property::NO_DOUBLE),
        (Flaw::ClosedIsForgotten, property::CLOSED),
        (Flaw::HeartbeatLeavesTheRecord, property::NO_FALSE_END),
        (Flaw::SetStateIsSilent, property::TRUTH),
    ] {
        let flushes = u8::from(flaw == Flaw::VersionIgnoresTheClock);
        fails_without(flaw, property, Bounds { flushes, ..SMALL });
    }
}

#[test]
fn each_rule_of_watching_that_is_left_out_is_noticed() {
    let flushed = Bounds { flushes: 1, interruptions: 0, ..WATCHED };
    for (flaw, property, bounds) in [
        (Flaw::SnapshotBeforeInterest, property::WATCHER_TRUTH, WATCHED),
        (Flaw::KnownIsTrusted, property::WATCHER_SNAPSHOT, WATCHED),
        (Flaw::EventsAreNotCompared, property::WATCHER_VERSIONS, Bounds { connections: 2, relays: 2, ..flushed }),
        (Flaw::OldEventsAreBelieved, property::WATCHER_TRUTH, flushed),
        (Flaw::ReadsUndoEvents, property::WATCHER_VERSIONS, WATCHED),
        (Flaw::AgreementIsIgnored, property::WATCHER_TRUTH, Bounds { interruptions: 1, ..flushed }),
        (Flaw::DoubtsAreDropped, property::WATCHER_TRUTH, WATCHED),
        (Flaw::LostEventsAreForgotten, property::WATCHER_TRUTH, WATCHED),
        (Flaw::FlushIsOverlooked, property::WATCHER_TRUTH, flushed),
    ] {
        fails_without(flaw, property, bounds);
    }
}
