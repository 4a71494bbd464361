//! The checker looks at every state of the model.

use presence_protocol::{Bounds, Flaw, GatewayBounds, Protocol, properties as property};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// The smallest world in which each rule can be seen to matter.
const SMALL: Bounds = Bounds {
    connections: 1,
    ticks: 4,
    ttl: 2,
    grace: 0,
    sweepers: 1,
    relays: 1,
    flushes: 0,
    has_matches: true,
    activities: 0,
    is_network_reliable: false,
    is_watched: false,
    interruptions: 0,
    gateways: GatewayBounds::NONE,
};

/// The smallest world in which each rule of watching matters.
const WATCHED: Bounds =
    Bounds { ticks: 2, has_matches: false, is_network_reliable: true, is_watched: true, interruptions: 1, ..SMALL };

/// The smallest world in which each rule of gateways that hold leases matters. Leases of connections last longer than
/// time does, as those of players with a long TTL.
const WITH_GATEWAYS: Bounds = Bounds {
    ticks: 3,
    ttl: 7,
    sweepers: 0,
    relays: 0,
    has_matches: false,
    is_network_reliable: true,
    gateways: GatewayBounds { gateways: 1, sweepers: 1, have_deaths: true, have_closing: true, ..GatewayBounds::NONE },
    ..SMALL
};

/// The smallest world in which connections belong to another gateway by now.
const WITH_TWO_GATEWAYS: Bounds = Bounds {
    connections: 2,
    ticks: 1,
    gateways: GatewayBounds {
        gateways: 2,
        have_closing: false,
        have_leaving: true,
        have_handovers: true,
        ..WITH_GATEWAYS.gateways
    },
    ..WITH_GATEWAYS
};

/// The smallest world in which a player moves from one gateway to another.
const MOVING: Bounds = Bounds {
    sweepers: 1,
    gateways: GatewayBounds {
        have_deaths: false,
        have_handovers: false,
        have_leaving: true,
        ..WITH_TWO_GATEWAYS.gateways
    },
    ..WITH_TWO_GATEWAYS
};

/// The smallest world in which nothing is ended for a while.
const WITH_THREE_GATEWAYS: Bounds = Bounds {
    gateways: GatewayBounds {
        gateways: 3,
        outages: 1,
        have_deaths: false,
        have_closing: false,
        ..WITH_GATEWAYS.gateways
    },
    ..WITH_GATEWAYS
};

/// The smallest world in which each rule of activities matters.
const DOING: Bounds = Bounds { ticks: 3, activities: 2, is_network_reliable: true, ..SMALL };

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

#[test]
fn all_properties_hold_for_a_gateway_that_dies_leaves_and_returns() {
    let gateways = GatewayBounds { have_leaving: true, have_restarts: true, ..WITH_GATEWAYS.gateways };
    hold_in_every_state(Bounds { gateways, sweepers: 1, ..WITH_GATEWAYS });
}

#[test]
fn all_properties_hold_for_a_gateway_whose_calls_are_late_lost_and_doubled() {
    hold_in_every_state(Bounds { is_network_reliable: false, ..WITH_GATEWAYS });
}

#[test]
fn all_properties_hold_for_a_gateway_when_redis_is_flushed() {
    hold_in_every_state(Bounds { flushes: 1, ..WITH_GATEWAYS });
}

#[test]
fn all_properties_hold_for_two_sweepers_of_gateways() {
    let gateways = GatewayBounds { sweepers: 2, ..WITH_GATEWAYS.gateways };
    hold_in_every_state(Bounds { gateways, ..WITH_GATEWAYS });
}

#[test]
fn all_properties_hold_for_two_devices_on_two_gateways() {
    hold_in_every_state(WITH_TWO_GATEWAYS);
}

#[test]
fn all_properties_hold_for_a_player_who_moves_between_gateways() {
    hold_in_every_state(MOVING);
}

#[test]
fn all_properties_hold_when_half_of_the_gateways_expire_and_when_redis_hangs() {
    hold_in_every_state(WITH_THREE_GATEWAYS);
}

#[test]
fn all_properties_hold_for_activities() {
    hold_in_every_state(DOING);
}

#[test]
fn all_properties_hold_for_activities_in_a_grace() {
    hold_in_every_state(Bounds { grace: 1, relays: 0, ..DOING });
}

#[test]
fn all_properties_hold_for_a_watcher_of_activities() {
    hold_in_every_state(Bounds { activities: 2, interruptions: 0, ..WATCHED });
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
fn each_rule_of_activities_that_is_left_out_is_noticed() {
    let watched = Bounds { activities: 1, interruptions: 0, ..WATCHED };
    for (flaw, property, bounds) in [
        (Flaw::ActivityIsSilent, property::TRUTH, DOING),
        (Flaw::ActivityIsSilent, property::WATCHER_TRUTH, watched),
        (Flaw::OnlyItsOwnEventsCarryTheActivity, property::TRUTH, DOING),
        (Flaw::OnlyItsOwnEventsCarryTheActivity, property::WATCHER_TRUTH, Bounds { has_matches: true, ..watched }),
        (Flaw::ActivityOutlivesOffline, property::ACTIVITY_ENDS, DOING),
    ] {
        fails_without(flaw, property, bounds);
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

#[test]
fn each_rule_of_gateways_that_is_left_out_is_noticed() {
    let moving = Bounds { connections: 1, ..MOVING };
    for (flaw, property, bounds) in [
        (Flaw::ConnectLeavesTheOwners, property::DEAD_GATEWAY, WITH_GATEWAYS),
        (Flaw::DisconnectLeavesTheOwners, property::OWNERS, WITH_GATEWAYS),
        (Flaw::UnnamedHeartbeatDropsTheGateway, property::DEAD_GATEWAY, WITH_TWO_GATEWAYS),
        (Flaw::RenewalIsNeverNew, property::LIVE_GATEWAY, WITH_GATEWAYS),
        (Flaw::LossIsNotNoted, property::DEAD_GATEWAY, WITH_GATEWAYS),
        (Flaw::EndsWhatAnotherGatewayHas, property::NO_FALSE_END, WITH_TWO_GATEWAYS),
        (Flaw::EndsWhatReturned, property::NO_FALSE_END, WITH_GATEWAYS),
        (Flaw::EndIgnoresOtherDevices, property::NO_FALSE_END, WITH_TWO_GATEWAYS),
        (Flaw::EndedIsClosed, property::NOT_REFUSED, WITH_GATEWAYS),
        (Flaw::MovingHasNoGrace, property::MOVE, moving),
        (Flaw::NothingIsHeld, property::HELD, WITH_THREE_GATEWAYS),
        (Flaw::NothingIsHeld, property::NO_FALSE_END, WITH_THREE_GATEWAYS),
        (Flaw::HoldIsProlonged, property::NOT_PROLONGED, WITH_THREE_GATEWAYS),
    ] {
        fails_without(flaw, property, bounds);
    }
}
