//! States: they are reported again after the service lost them.

use std::time::Duration;

use super::{
    super::call::{Task, TaskKind},
    simulation::{Fault, INTERVAL, Simulation, TTL, connection, player, problem},
};
use crate::{CallError, Reason, State};

const SECOND: Duration = Duration::from_secs(1);

/// Players 0 to 4 with a connection each and the states of [`STATES`]; the state of player 0 was
/// never set.
fn with_states() -> Simulation {
    let mut simulation = Simulation::new();
    (0..5).for_each(|number| simulation.connect(number));
    for (number, state) in [
        (1, State::InMatch),
        (2, State::InQueue),
        (3, State::Away),
        (4, State::Online),
    ] {
        simulation.set_state(number, state);
    }
    simulation.run(SECOND);
    simulation
}

/// The states of players 0 to 4, according to the service.
fn states(simulation: &mut Simulation) -> Vec<State> {
    (0..5).map(|number| simulation.state(number)).collect()
}

const STATES: [State; 5] = [
    State::Online,
    State::InMatch,
    State::InQueue,
    State::Away,
    State::Online,
];

#[test]
fn states_are_reported_again_after_the_service_lost_its_data() {
    let mut simulation = with_states();
    assert_eq!(states(&mut simulation), STATES);
    simulation.service.flush();
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    assert_eq!(states(&mut simulation), STATES);
    assert_eq!(simulation.restored_notices.len(), 5);
    assert_eq!(
        simulation.received(0),
        [],
        "the state of a player whose state was never set is not reported"
    );
    assert_eq!(simulation.received(1), [Task::SetState(State::InMatch)]);
    simulation.run(2 * TTL);
    assert_eq!(simulation.received(1).len(), 1, "once for each loss");
}

#[test]
fn states_are_reported_again_after_an_outage_that_outlasts_the_leases() {
    for outage in [TTL - INTERVAL, TTL, 2 * TTL + 20 * SECOND, 20 * TTL] {
        let mut simulation = with_states();
        simulation.set_down(true);
        simulation.run(outage);
        simulation.set_down(false);
        simulation.run(2 * INTERVAL);
        assert_eq!(states(&mut simulation), STATES, "{outage:?}");
    }
}

#[test]
fn several_connections_of_a_player_report_the_state_once() {
    let mut simulation = Simulation::new();
    (1..=3).for_each(|number| {
        simulation
            .scheduler
            .connected(&player(1), &connection(number), simulation.now)
    });
    simulation.set_state(1, State::InMatch);
    simulation.run(SECOND);
    simulation.service.flush();
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    assert_eq!(
        (simulation.restored_notices.len(), simulation.received(1)),
        (3, vec![Task::SetState(State::InMatch)])
    );
}

#[test]
fn a_state_that_was_set_during_an_outage_is_the_one_that_is_reported() {
    let mut simulation = with_states();
    simulation.set_down(true);
    simulation.run(TTL);
    simulation.set_state(1, State::Away);
    simulation.set_state(2, State::Online);
    simulation.set_down(false);
    simulation.service.log.clear();
    simulation.run(2 * INTERVAL);
    assert_eq!(
        (simulation.state(1), simulation.state(2)),
        (State::Away, State::Online)
    );
    let is_old = |task: &Task| matches!(task, Task::SetState(State::InMatch));
    assert!(
        !simulation.received(1).iter().any(is_old),
        "{:?}",
        simulation.received(1)
    );
}

#[test]
fn a_state_that_the_service_rejects_before_it_knows_the_player_again_is_not_lost() {
    let mut simulation = with_states();
    simulation.service.flush();
    simulation.set_state(1, State::InQueue);
    simulation.run(INTERVAL);
    assert_eq!(simulation.state(1), State::InQueue);
    assert_eq!(simulation.scheduler.stats().dropped, 1, "the rejected one");
}

#[test]
fn a_lost_response_does_not_cost_the_state() {
    let mut simulation = with_states();
    simulation.set_down(true);
    simulation.run(TTL + INTERVAL);
    // The heartbeats restore the connections, but the responses are lost.
    simulation.service.inject_fault = Some(Box::new(|_| Some(Fault::After(CallError::TimedOut))));
    simulation.run(INTERVAL);
    simulation.set_down(false);
    simulation.run(INTERVAL);
    assert_eq!(
        (states(&mut simulation), simulation.restored_notices.len()),
        (STATES.to_vec(), 0)
    );
}

#[test]
fn a_player_who_changed_devices_in_an_outage_keeps_the_state() {
    let mut simulation = with_states();
    simulation.set_down(true);
    simulation.run(TTL);
    simulation
        .scheduler
        .connected(&player(1), &connection(10), simulation.now);
    simulation.disconnect(1, Reason::Lost);
    simulation.set_down(false);
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.state(1), State::InMatch);
}

#[test]
fn the_state_ends_with_the_last_connection() {
    let mut simulation = with_states();
    simulation.disconnect(1, Reason::Quit);
    simulation.run(SECOND);
    simulation.connect(1);
    simulation
        .scheduler
        .connected(&player(1), &connection(10), simulation.now);
    simulation.run(SECOND);
    simulation.service.flush();
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.state(1), State::Online);
}

#[test]
fn a_player_who_was_signed_out_starts_without_a_state() {
    let mut simulation = with_states();
    simulation
        .scheduler
        .connected(&player(1), &connection(10), simulation.now);
    simulation.run(SECOND);
    // The player is signed out by another caller: the gateway learns of that from `closed` in a
    // response.
    let leases = simulation.service.leases.keys();
    let signed_out: Vec<_> = leases
        .filter(|lease| lease.connection_id == connection(1))
        .cloned()
        .collect();
    simulation.service.closed.extend(signed_out);
    simulation.run(INTERVAL);
    assert_eq!(simulation.closed_notices.len(), 1);
    simulation.service.log.clear();
    simulation.service.flush();
    simulation.run(INTERVAL);
    assert_eq!(simulation.received(1), []);

    simulation.set_state(2, State::Offline);
    simulation.run(SECOND);
    simulation
        .scheduler
        .connected(&player(2), &connection(20), simulation.now);
    simulation.run(SECOND);
    simulation.service.flush();
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.state(2), State::Online);
}

#[test]
fn a_state_that_cannot_be_reported_is_kept_while_the_player_is_connected_and_delays_nothing() {
    let mut simulation = Simulation::new();
    (1..=2).for_each(|number| {
        simulation
            .scheduler
            .connected(&player(1), &connection(number), simulation.now)
    });
    simulation.run(SECOND);
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::SetState).then(|| Fault::Before(problem(500, None)))
    }));
    simulation.set_state(1, State::InMatch);
    simulation
        .scheduler
        .disconnected(&player(1), &connection(2), Reason::Quit, simulation.now);
    simulation.run(10 * TTL);
    assert_eq!(
        simulation.service.leases.len(),
        1,
        "the disconnect behind it was delivered"
    );
    assert_eq!(simulation.scheduler.stats().queue_length, 1);
    simulation.service.inject_fault = None;
    simulation.run(INTERVAL);
    assert_eq!(simulation.state(1), State::InMatch);

    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::SetState).then(|| Fault::Before(problem(500, None)))
    }));
    simulation.set_state(1, State::Away);
    simulation.run(SECOND);
    simulation
        .scheduler
        .disconnected(&player(1), &connection(1), Reason::Quit, simulation.now);
    simulation.run(2 * TTL + 20 * SECOND);
    assert_eq!(
        simulation.scheduler.stats().queue_length,
        0,
        "the state of a player who left is given up"
    );
}

#[test]
fn a_state_is_sent_after_the_connect_of_the_remaining_connection() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.set_state(1, State::InMatch);
    simulation
        .scheduler
        .connected(&player(1), &connection(10), simulation.now);
    simulation.disconnect(1, Reason::Lost);
    simulation.run(SECOND);
    assert_eq!(
        simulation.received(1),
        [
            Task::Connect(connection(10)),
            Task::SetState(State::InMatch)
        ]
    );
}
