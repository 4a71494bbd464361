//! Activities: the latest one is sent, at most once per second, and again after a loss of data.

use std::time::Duration;

use super::{
    super::call::{Task, TaskKind},
    simulation::{Fault, INTERVAL, Simulation, TTL, connection, player, problem},
};
use crate::{Activity, CallError, Reason, State};

const SECOND: Duration = Duration::from_secs(1);

fn activity(details: impl ToString) -> Activity {
    Activity {
        details: Some(details.to_string()),
        ..Activity::default()
    }
}

/// A simulation in which the service knows player 1 with one connection.
fn connected() -> Simulation {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.service.log.clear();
    simulation
}

#[test]
fn the_first_change_is_sent_at_once_and_then_the_latest_once_per_second() {
    let mut simulation = connected();
    for number in 0..50 {
        simulation.set_activity(1, Some(activity(number)));
        simulation.run(SECOND / 20);
    }
    simulation.run(2 * SECOND);
    assert_eq!(simulation.activity(1), Some(activity(49)));
    let calls = simulation.activity_calls(1);
    let begin = calls[0];
    assert!(begin < SECOND + SECOND / 10, "at once: {begin:?}");
    let after: Vec<_> = calls.iter().map(|at| *at - begin).collect();
    assert_eq!(after, [Duration::ZERO, SECOND, 2 * SECOND, 3 * SECOND]);
    assert_eq!(
        simulation.received(1)[0],
        Task::SetActivity(Some(activity(0)))
    );
}

#[test]
fn a_player_who_reconnects_within_a_second_has_no_second_change_in_it() {
    let mut simulation = connected();
    let mut id = connection(1);
    for number in 0..20 {
        simulation.set_activity(1, Some(activity(number)));
        simulation.run(SECOND / 20);
        simulation
            .scheduler
            .disconnected(&player(1), &id, Reason::Quit, simulation.now);
        simulation.run(SECOND / 20);
        id = connection(100 + number);
        simulation
            .scheduler
            .connected(&player(1), &id, simulation.now);
        simulation.run(SECOND / 20);
    }
    simulation.set_activity(1, Some(activity("last")));
    simulation.run(2 * SECOND);
    assert_eq!(simulation.activity(1), Some(activity("last")));
    let calls = simulation.activity_calls(1);
    assert!(
        calls.is_sorted_by(|one, next| *one + SECOND <= *next),
        "{calls:?}"
    );

    simulation.set_activity(1, None);
    simulation
        .scheduler
        .disconnected(&player(1), &id, Reason::Quit, simulation.now);
    simulation.connect(2); // so that further calls are made
    simulation.run(2 * INTERVAL);
    simulation.disconnect(2, Reason::Quit);
    simulation.run(SECOND);
    assert!(
        simulation.scheduler.players.is_empty(),
        "nothing is kept for players who left"
    );
}

#[test]
fn an_activity_is_sent_after_the_connect_and_delays_no_state() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.set_activity(1, Some(activity("a")));
    simulation.set_activity(1, None);
    simulation.set_activity(1, Some(activity("b")));
    simulation.set_state(1, State::InMatch);
    simulation.run(SECOND / 10);
    let first = [
        Task::Connect(connection(1)),
        Task::SetState(State::InMatch),
        Task::SetActivity(Some(activity("b"))),
    ];
    assert_eq!(simulation.received(1), first);
    simulation.set_activity(1, None);
    simulation.set_state(1, State::Away);
    simulation.run(SECOND / 10);
    assert_eq!(
        simulation.received(1)[3..],
        [Task::SetState(State::Away)],
        "the activity waits for the next second"
    );
    simulation.run(SECOND);
    assert_eq!(simulation.received(1)[4..], [Task::SetActivity(None)]);
    assert_eq!(
        (simulation.state(1), simulation.activity(1)),
        (State::Away, None)
    );
}

#[test]
fn activities_are_reported_again_after_the_service_lost_its_data() {
    let mut simulation = connected();
    simulation.connect(2);
    simulation.connect(3);
    simulation.set_state(1, State::InMatch);
    simulation.set_activity(1, Some(activity("a")));
    simulation.set_activity(2, Some(activity("b")));
    simulation.run(SECOND);
    simulation.set_activity(2, None);
    simulation.run(2 * SECOND);
    simulation.service.flush();
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    assert_eq!(
        simulation.received(1),
        [
            Task::SetState(State::InMatch),
            Task::SetActivity(Some(activity("a")))
        ]
    );
    assert_eq!(
        (simulation.received(2), simulation.received(3)),
        (vec![], vec![]),
        "there is nothing to report"
    );
    assert_eq!(simulation.activity(1), Some(activity("a")));
    simulation.run(2 * TTL);
    assert_eq!(simulation.received(1).len(), 2, "once for each loss");
}

#[test]
fn activities_are_reported_again_after_an_outage_that_outlasts_the_leases() {
    for outage in [TTL - INTERVAL, TTL, 2 * TTL + 20 * SECOND, 20 * TTL] {
        let mut simulation = connected();
        simulation.set_activity(1, Some(activity("a")));
        simulation.run(SECOND);
        simulation.set_down(true);
        simulation.run(outage / 2);
        simulation.set_activity(1, Some(activity("b")));
        simulation.run(outage / 2);
        simulation.set_down(false);
        simulation.run(2 * INTERVAL);
        assert_eq!(simulation.activity(1), Some(activity("b")), "{outage:?}");
    }
}

#[test]
fn an_activity_that_the_service_rejects_before_it_knows_the_player_again_is_not_lost() {
    let mut simulation = connected();
    simulation.service.flush();
    simulation.set_activity(1, Some(activity("a")));
    simulation.run(INTERVAL + SECOND);
    assert_eq!(simulation.activity(1), Some(activity("a")));
    assert_eq!(simulation.scheduler.stats().dropped, 1, "the rejected one");
}

#[test]
fn an_activity_that_the_service_refuses_is_not_sent_again() {
    let mut simulation = connected();
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::SetActivity)
            .then(|| Fault::Before(problem(400, Some("activity.details"))))
    }));
    simulation.set_activity(1, Some(activity("")));
    simulation.run(SECOND);
    simulation.service.flush();
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.activity_calls(1).len(), 1);
    assert_eq!(simulation.scheduler.stats().queue_length, 0);
}

#[test]
fn the_activity_ends_with_the_last_connection_and_with_a_sign_out() {
    let mut simulation = connected();
    simulation
        .scheduler
        .connected(&player(1), &connection(10), simulation.now);
    simulation.set_activity(1, Some(activity("a")));
    simulation.run(SECOND);
    simulation.disconnect(1, Reason::Quit);
    simulation.run(SECOND);
    assert_eq!(
        simulation.activity(1),
        Some(activity("a")),
        "with the last one"
    );
    simulation.set_activity(1, Some(activity("b")));
    simulation
        .scheduler
        .disconnected(&player(1), &connection(10), Reason::Quit, simulation.now);
    simulation.set_activity(1, Some(activity("c")));
    simulation.run(SECOND);
    assert_eq!(simulation.scheduler.stats().queue_length, 0);
    simulation
        .scheduler
        .connected(&player(1), &connection(11), simulation.now);
    simulation.run(2 * SECOND);
    assert_eq!(simulation.activity(1), None, "the activity has ended");

    simulation.set_activity(1, Some(activity("d")));
    simulation.run(SECOND);
    simulation.set_state(1, State::Offline);
    simulation.run(SECOND);
    simulation
        .scheduler
        .connected(&player(1), &connection(12), simulation.now);
    simulation.run(2 * SECOND);
    assert_eq!(
        (simulation.state(1), simulation.activity(1)),
        (State::Online, None)
    );
}

#[test]
fn an_activity_that_cannot_be_reported_delays_nothing_and_is_reported_later() {
    let mut simulation = connected();
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::SetActivity).then(|| Fault::Before(CallError::TimedOut))
    }));
    simulation.set_activity(1, Some(activity("a")));
    simulation.run(SECOND);
    simulation.set_state(1, State::InMatch);
    simulation.set_activity(1, Some(activity("b")));
    simulation.run(10 * TTL);
    assert_eq!(
        (simulation.state(1), simulation.activity(1)),
        (State::InMatch, None)
    );
    simulation.service.inject_fault = None;
    simulation.run(INTERVAL);
    assert_eq!(simulation.activity(1), Some(activity("b")));
}
