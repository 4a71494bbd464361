//! The checker looks at every state of servers that take turns.

use presence_protocol::turns::{ONE_PASS, SWEPT_IN_TIME, TurnBounds, TurnFlaw, Turns};
use stateright::{Checker as _, HasDiscoveries, Model as _};

const BOUNDS: TurnBounds = TurnBounds { servers: 2, stalls: 1, flushes: 0 };

fn hold_in_every_state(bounds: TurnBounds) {
    let checker = Turns { bounds, flaw: None }.checker().threads(2).spawn_bfs().join();
    eprintln!("{} states, at most {} steps away", checker.unique_state_count(), checker.max_depth());
    assert!(checker.is_done(), "the whole space was looked at");
    checker.assert_properties();
}

#[test]
fn expired_players_are_swept_in_time_though_a_server_dies_with_its_turn() {
    hold_in_every_state(BOUNDS);
}

#[test]
fn expired_players_are_swept_in_time_though_two_servers_die_one_after_the_other() {
    hold_in_every_state(TurnBounds { servers: 3, stalls: 2, ..BOUNDS });
}

#[test]
fn expired_players_are_swept_in_time_when_redis_is_flushed() {
    hold_in_every_state(TurnBounds { flushes: 2, ..BOUNDS });
}

#[test]
fn servers_that_do_not_stall_make_one_pass_together() {
    hold_in_every_state(TurnBounds { servers: 3, stalls: 0, ..BOUNDS });
}

#[test]
fn each_rule_of_turns_that_is_left_out_is_noticed() {
    for (flaw, property, bounds) in [
        (TurnFlaw::DeadPassesKeepTheirTurn, SWEPT_IN_TIME, BOUNDS),
        (TurnFlaw::EndIsNotedFirst, SWEPT_IN_TIME, BOUNDS),
        (TurnFlaw::AnswerIsIgnored, SWEPT_IN_TIME, BOUNDS),
        (TurnFlaw::EndIsNotNoted, ONE_PASS, TurnBounds { stalls: 0, ..BOUNDS }),
    ] {
        let checker = Turns { bounds, flaw: Some(flaw) }.checker().threads(2);
        let checker = checker.finish_when(HasDiscoveries::AllOf([property].into())).spawn_bfs().join();
        assert!(checker.discovery(property).is_some(), "{flaw:?} goes unnoticed by: {property}");
    }
}
