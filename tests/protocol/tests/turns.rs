//! Exhaustive check of turns: every state of the model is visited.

use presence_protocol::turns::{ONE_PASS, SWEPT_IN_TIME, TurnBounds, TurnMutation, Turns};
use stateright::{Checker as _, HasDiscoveries, Model as _};

const BOUNDS: TurnBounds = TurnBounds {
    servers: 2,
    stalls: 1,
    flushes: 0,
};

fn hold_in_every_state(bounds: TurnBounds) {
    let checker = Turns {
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
    assert!(checker.is_done(), "every state was visited");
    checker.assert_properties();
}

#[test]
fn expired_players_are_swept_in_time_though_a_server_dies_with_its_turn() {
    hold_in_every_state(BOUNDS);
}

#[test]
fn expired_players_are_swept_in_time_though_two_servers_die_one_after_the_other() {
    hold_in_every_state(TurnBounds {
        servers: 3,
        stalls: 2,
        ..BOUNDS
    });
}

#[test]
fn expired_players_are_swept_in_time_when_redis_is_flushed() {
    hold_in_every_state(TurnBounds {
        flushes: 2,
        ..BOUNDS
    });
}

#[test]
fn servers_that_do_not_stall_make_one_pass_together() {
    hold_in_every_state(TurnBounds {
        servers: 3,
        stalls: 0,
        ..BOUNDS
    });
}

#[test]
fn each_rule_of_turns_that_is_left_out_is_detected() {
    for (mutation, property, bounds) in [
        (TurnMutation::DeadPassesKeepTheirTurn, SWEPT_IN_TIME, BOUNDS),
        (TurnMutation::EndIsRecordedFirst, SWEPT_IN_TIME, BOUNDS),
        (TurnMutation::ReplyIsIgnored, SWEPT_IN_TIME, BOUNDS),
        (
            TurnMutation::EndIsNotRecorded,
            ONE_PASS,
            TurnBounds {
                stalls: 0,
                ..BOUNDS
            },
        ),
    ] {
        let builder = Turns {
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
}
