//! Exhaustive check of the protocol: every state of the model is visited.

use presence_protocol::{Bounds, GatewayBounds, Mutation, Protocol, properties as property};
use stateright::{Checker as _, HasDiscoveries, Model as _};

/// The smallest bounds in which each rule makes a difference.
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

/// The smallest bounds in which each rule of watching makes a difference.
const WATCHED: Bounds = Bounds {
    ticks: 2,
    has_matches: false,
    is_network_reliable: true,
    is_watched: true,
    interruptions: 1,
    ..SMALL
};

/// The smallest bounds in which each rule of gateways that hold leases makes a difference. Leases
/// of connections do not expire within the bounds, like those with a long TTL.
const WITH_GATEWAYS: Bounds = Bounds {
    ticks: 3,
    ttl: 7,
    sweepers: 0,
    relays: 0,
    has_matches: false,
    is_network_reliable: true,
    gateways: GatewayBounds {
        gateways: 1,
        sweepers: 1,
        have_deaths: true,
        have_closing: true,
        ..GatewayBounds::NONE
    },
    ..SMALL
};

/// The smallest bounds in which connections pass to another gateway.
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

/// The smallest bounds in which a player moves from one gateway to another.
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

/// The smallest bounds in which the sweeps hold.
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

/// The smallest bounds in which each rule of activities makes a difference.
const WITH_ACTIVITIES: Bounds = Bounds {
    ticks: 3,
    activities: 2,
    is_network_reliable: true,
    ..SMALL
};

/// Checks every state. Fails with the path to the first state that violates a property.
fn hold_in_every_state(bounds: Bounds) {
    let checker = Protocol {
        bounds,
        mutation: None,
    }
    .checker()
    .threads(2)
    .spawn_bfs()
    .join();
    eprintln!(
        "{} states, at most {} steps away",
        checker.unique_state_count(),
        checker.max_depth()
    );
    assert!(
        checker.is_done(),
        "every state within the bounds was visited"
    );
    checker.assert_properties();
}

#[test]
fn all_properties_hold_for_two_connections() {
    hold_in_every_state(Bounds {
        connections: 2,
        relays: 0,
        has_matches: false,
        ..SMALL
    });
}

#[test]
fn all_properties_hold_in_a_grace() {
    hold_in_every_state(Bounds {
        grace: 1,
        relays: 0,
        ticks: 6,
        ..SMALL
    });
}

#[test]
fn all_properties_hold_with_two_sweepers() {
    hold_in_every_state(Bounds {
        sweepers: 2,
        relays: 0,
        ticks: 6,
        ..SMALL
    });
}

#[test]
fn all_properties_hold_with_two_relays() {
    hold_in_every_state(Bounds {
        relays: 2,
        has_matches: false,
        ..SMALL
    });
}

#[test]
fn all_properties_hold_when_redis_is_flushed() {
    hold_in_every_state(Bounds {
        flushes: 1,
        has_matches: false,
        ticks: 5,
        ..SMALL
    });
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
    hold_in_every_state(Bounds {
        flushes: 1,
        interruptions: 1,
        ..WATCHED
    });
}

#[test]
fn all_properties_hold_for_a_gateway_that_dies_leaves_and_returns() {
    let gateways = GatewayBounds {
        have_leaving: true,
        have_restarts: true,
        ..WITH_GATEWAYS.gateways
    };
    hold_in_every_state(Bounds {
        gateways,
        sweepers: 1,
        ..WITH_GATEWAYS
    });
}

#[test]
fn all_properties_hold_for_a_gateway_whose_calls_are_late_lost_and_duplicated() {
    hold_in_every_state(Bounds {
        is_network_reliable: false,
        ..WITH_GATEWAYS
    });
}

#[test]
fn all_properties_hold_for_a_gateway_when_redis_is_flushed() {
    hold_in_every_state(Bounds {
        flushes: 1,
        ..WITH_GATEWAYS
    });
}

#[test]
fn all_properties_hold_for_two_sweepers_of_gateways() {
    let gateways = GatewayBounds {
        sweepers: 2,
        ..WITH_GATEWAYS.gateways
    };
    hold_in_every_state(Bounds {
        gateways,
        ..WITH_GATEWAYS
    });
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
    hold_in_every_state(WITH_ACTIVITIES);
}

#[test]
fn all_properties_hold_for_activities_in_a_grace() {
    hold_in_every_state(Bounds {
        grace: 1,
        relays: 0,
        ..WITH_ACTIVITIES
    });
}

#[test]
fn all_properties_hold_for_a_watcher_of_activities() {
    hold_in_every_state(Bounds {
        activities: 2,
        interruptions: 0,
        ..WATCHED
    });
}

/// Checks that a property fails without this rule of the protocol.
fn fails_without(mutation: Mutation, property: &'static str, bounds: Bounds) {
    let builder = Protocol {
        bounds,
        mutation: Some(mutation),
    }
    .checker()
    .threads(2);
    let checker = builder
        .finish_when(HasDiscoveries::AllOf([property].into()))
        .spawn_bfs()
        .join();
    assert!(
        checker.discovery(property).is_some(),
        "{mutation:?} is not detected by: {property}"
    );
}

#[test]
fn each_rule_that_is_left_out_is_detected() {
    for (mutation, property) in [
        (Mutation::SetStateRenews, property::NO_GHOST),
        (Mutation::NotIndexed, property::FOUND),
        (Mutation::SweepTrustsItsPage, property::ONE_END),
        (Mutation::MissedOfflineIsOmitted, property::ONE_END),
        (Mutation::VersionIgnoresTheClock, property::VERSIONS),
        (Mutation::RemovedBeforeAck, property::NO_LOSS),
        (Mutation::NoMessageId, property::NO_DOUBLE),
        (Mutation::NoTombstone, property::CLOSED),
        (Mutation::HeartbeatLeavesTheRecord, property::NO_FALSE_END),
        (Mutation::SetStateIsSilent, property::TRUTH),
    ] {
        let flushes = u8::from(mutation == Mutation::VersionIgnoresTheClock);
        fails_without(mutation, property, Bounds { flushes, ..SMALL });
    }
}

#[test]
fn each_rule_of_activities_that_is_left_out_is_detected() {
    let watched = Bounds {
        activities: 1,
        interruptions: 0,
        ..WATCHED
    };
    for (mutation, property, bounds) in [
        (Mutation::ActivityIsSilent, property::TRUTH, WITH_ACTIVITIES),
        (Mutation::ActivityIsSilent, property::WATCHER_TRUTH, watched),
        (
            Mutation::OnlyItsOwnEventsCarryTheActivity,
            property::TRUTH,
            WITH_ACTIVITIES,
        ),
        (
            Mutation::OnlyItsOwnEventsCarryTheActivity,
            property::WATCHER_TRUTH,
            Bounds {
                has_matches: true,
                ..watched
            },
        ),
        (
            Mutation::ActivityOutlivesOffline,
            property::ACTIVITY_ENDS,
            WITH_ACTIVITIES,
        ),
    ] {
        fails_without(mutation, property, bounds);
    }
}

#[test]
fn each_rule_of_watching_that_is_left_out_is_detected() {
    let flushed = Bounds {
        flushes: 1,
        interruptions: 0,
        ..WATCHED
    };
    for (mutation, property, bounds) in [
        (
            Mutation::SnapshotBeforeSubscription,
            property::WATCHER_TRUTH,
            WATCHED,
        ),
        (
            Mutation::KnownIsTrusted,
            property::WATCHER_SNAPSHOT,
            WATCHED,
        ),
        (
            Mutation::EventsAreNotCompared,
            property::WATCHER_VERSIONS,
            Bounds {
                connections: 2,
                relays: 2,
                ..flushed
            },
        ),
        (
            Mutation::OldEventsAreAccepted,
            property::WATCHER_TRUTH,
            flushed,
        ),
        (
            Mutation::ReadsUndoEvents,
            property::WATCHER_VERSIONS,
            WATCHED,
        ),
        (
            Mutation::AgreementIsIgnored,
            property::WATCHER_TRUTH,
            Bounds {
                interruptions: 1,
                ..flushed
            },
        ),
        (Mutation::DoubtIsIgnored, property::WATCHER_TRUTH, WATCHED),
        (
            Mutation::LostEventsAreIgnored,
            property::WATCHER_TRUTH,
            WATCHED,
        ),
        (Mutation::FlushIsIgnored, property::WATCHER_TRUTH, flushed),
    ] {
        fails_without(mutation, property, bounds);
    }
}

#[test]
fn each_rule_of_gateways_that_is_left_out_is_detected() {
    let moving = Bounds {
        connections: 1,
        ..MOVING
    };
    for (mutation, property, bounds) in [
        (
            Mutation::ConnectLeavesTheOwners,
            property::DEAD_GATEWAY,
            WITH_GATEWAYS,
        ),
        (
            Mutation::DisconnectLeavesTheOwners,
            property::OWNERS,
            WITH_GATEWAYS,
        ),
        (
            Mutation::UnnamedHeartbeatDropsTheGateway,
            property::DEAD_GATEWAY,
            WITH_TWO_GATEWAYS,
        ),
        (
            Mutation::RenewalIsNeverNew,
            property::LIVE_GATEWAY,
            WITH_GATEWAYS,
        ),
        (
            Mutation::LossIsNotRecorded,
            property::DEAD_GATEWAY,
            WITH_GATEWAYS,
        ),
        (
            Mutation::EndsLeasesOfOtherGateways,
            property::NO_FALSE_END,
            WITH_TWO_GATEWAYS,
        ),
        (
            Mutation::EndsRenewedLeases,
            property::NO_FALSE_END,
            WITH_GATEWAYS,
        ),
        (
            Mutation::EndIgnoresOtherDevices,
            property::NO_FALSE_END,
            WITH_TWO_GATEWAYS,
        ),
        (
            Mutation::EndedIsClosed,
            property::NOT_REFUSED,
            WITH_GATEWAYS,
        ),
        (Mutation::MovingHasNoGrace, property::MOVE, moving),
        (Mutation::NoHold, property::HELD, WITH_THREE_GATEWAYS),
        (
            Mutation::NoHold,
            property::NO_FALSE_END,
            WITH_THREE_GATEWAYS,
        ),
        (
            Mutation::HoldIsProlonged,
            property::NOT_PROLONGED,
            WITH_THREE_GATEWAYS,
        ),
    ] {
        fails_without(mutation, property, bounds);
    }
}
