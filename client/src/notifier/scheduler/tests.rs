//! Calls under load, in outages and after failures.

use std::{collections::HashMap, time::Duration};

use super::{
    super::call::{Call, Task, TaskKind},
    simulation::{Fault, INTERVAL, Simulation, TTL, connection, player, problem},
};
use crate::{CallError, Reason, State};

const SECOND: Duration = Duration::from_secs(1);

fn sizes(calls: &[(Duration, usize)]) -> Vec<usize> {
    calls.iter().map(|(_, size)| *size).collect()
}

#[test]
fn heartbeats_of_ten_thousand_connections_are_ten_evenly_spread_calls_per_interval() {
    let mut simulation = Simulation::new();
    (0..10_000).for_each(|number| simulation.connect(number));
    simulation.run(40 * INTERVAL);
    let heartbeats = simulation.calls(TaskKind::Heartbeat);
    assert!(
        heartbeats.iter().all(|(_, size)| *size == 1_000),
        "{:?}",
        sizes(&heartbeats)
    );
    assert!(
        (399..=400).contains(&heartbeats.len()),
        "{}",
        heartbeats.len()
    );
    for pair in heartbeats.windows(2) {
        let gap = (pair[1].0 - pair[0].0).as_millis();
        assert!((1_490..=1_510).contains(&gap), "{gap}");
    }
    assert_eq!(
        simulation.scheduler.stats().heartbeats,
        heartbeats.len() as u64 * 1_000
    );
    assert_eq!(simulation.scheduler.stats().dropped, 0);
}

#[test]
fn a_storm_of_connects_becomes_batches() {
    let mut simulation = Simulation::new();
    (0..10_000).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    assert_eq!(sizes(&simulation.calls(TaskKind::Connect)), [1_000; 10]);
}

#[test]
fn a_single_connect_is_sent_within_a_few_milliseconds() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    assert_eq!(
        simulation.calls(TaskKind::Connect),
        [(Duration::from_millis(5), 1)]
    );
}

#[test]
fn what_could_not_be_sent_has_waited_since_it_was_reported() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_down(true);
    simulation.connect(2);
    simulation.run(10 * SECOND);
    simulation.set_down(false);
    simulation.run(20 * SECOND);
    let connects: Vec<_> = simulation
        .service
        .log
        .iter()
        .filter(|call| call.kind == TaskKind::Connect)
        .collect();
    assert_eq!(connects[0].waited, Duration::from_millis(5));
    for (call, next) in connects[1..].iter().zip(&connects[2..]) {
        assert_eq!(
            next.waited - call.waited,
            next.at - call.at,
            "all of them carry the connect of player 2"
        );
    }
    assert!(connects.last().unwrap().waited >= 10 * SECOND);
    let mut heartbeats = simulation
        .service
        .log
        .iter()
        .filter(|call| call.kind == TaskKind::Heartbeat);
    assert_eq!(
        heartbeats.next_back().unwrap().waited,
        Duration::ZERO,
        "it is on time again"
    );
}

#[test]
fn no_connection_waits_longer_than_an_interval_for_its_heartbeat_while_others_come_and_go() {
    let mut simulation = Simulation::new();
    let mut open = std::collections::VecDeque::new();
    let mut next = 0;
    for round in 0..1_200_usize {
        // Up to 3,000 connections, down to 5, and so on, in steps of half a second.
        let wanted = [3_000, 5, 1_500, 2_999, 1][round / 40 % 5];
        for _ in 0..200 {
            if open.len() < wanted {
                simulation.connect(next);
                open.push_back(next);
                next += 1;
            } else if open.len() > wanted {
                simulation.disconnect(open.pop_front().unwrap(), Reason::Quit);
            }
        }
        simulation.run(SECOND / 2);
    }
    let mut last_reports = HashMap::new();
    for call in &simulation.service.log {
        for (player, task) in &call.tasks {
            let previous_at = match task {
                Task::Disconnect(..) => last_reports.remove(player),
                _ => last_reports.insert(player.clone(), call.at),
            };
            let gap = previous_at
                .map(|previous_at| call.at - previous_at)
                .unwrap_or_default();
            assert!(gap <= INTERVAL + SECOND / 100, "{gap:?}");
        }
    }
    assert_eq!(last_reports.len(), open.len());
    let bound = 600.0 / 15.0 * (1.0 + 1.0 + 2.0 + 2.0 + 3.0);
    assert!(
        (simulation.calls(TaskKind::Heartbeat).len() as f64) < bound,
        "{}",
        simulation.calls(TaskKind::Heartbeat).len()
    );
}

#[test]
fn tasks_of_one_player_are_sent_in_order() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_state(1, State::InMatch);
    simulation.disconnect(1, Reason::Lost);
    simulation
        .scheduler
        .connected(&player(1), &connection(2), simulation.now);
    simulation.set_state(1, State::Away);
    simulation.run(SECOND);
    // The match was over before its state was sent.
    let expected = [
        Task::Connect(connection(1)),
        Task::Disconnect(connection(1), Reason::Lost),
        Task::Connect(connection(2)),
        Task::SetState(State::Away),
    ];
    assert_eq!(simulation.received(1), expected);
}

#[test]
fn a_state_that_still_waits_is_replaced_by_the_next_but_a_sign_out_is_not() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    for state in [
        State::InQueue,
        State::InMatch,
        State::Offline,
        State::Offline,
        State::Away,
        State::Online,
    ] {
        simulation.set_state(1, state);
    }
    simulation.run(SECOND);
    let expected = [
        Task::Connect(connection(1)),
        Task::SetState(State::Offline),
        Task::SetState(State::Online),
    ];
    assert_eq!(simulation.received(1), expected);
}

#[test]
fn nothing_is_sent_about_a_connection_that_closed_before_its_connect_was_sent() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.set_state(1, State::Away);
    simulation.disconnect(1, Reason::Quit);
    simulation.run(SECOND);
    assert_eq!(simulation.received(1), []);
    assert_eq!(simulation.scheduler.undelivered(), 0);
}

#[test]
fn a_connect_that_may_have_arrived_is_not_repeated_after_its_disconnect_which_is_sent() {
    let mut simulation = Simulation::new();
    simulation.set_down(true);
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_state(1, State::Away);
    simulation.disconnect(1, Reason::Quit);
    simulation.service.log.clear();
    simulation.set_down(false);
    simulation.run(10 * SECOND);
    assert_eq!(
        simulation.received(1),
        [Task::Disconnect(connection(1), Reason::Quit)]
    );
}

#[test]
fn a_connect_that_fails_while_its_disconnect_waits_is_not_repeated() {
    let mut simulation = Simulation::new();
    simulation.latency = SECOND;
    simulation.set_down(true);
    simulation.connect(1);
    simulation.run(SECOND / 2);
    simulation.set_down(false);
    simulation.set_state(1, State::Away);
    simulation.disconnect(1, Reason::Quit);
    simulation.run(10 * SECOND);
    assert_eq!(
        simulation.received(1),
        [
            Task::Connect(connection(1)),
            Task::Disconnect(connection(1), Reason::Quit)
        ]
    );
}

#[test]
fn after_hours_without_the_service_its_data_is_correct_again_and_memory_was_bounded() {
    const SOCKETS: usize = 200;
    const HOURS: usize = 2;
    let mut simulation = Simulation::new();
    (0..SOCKETS).for_each(|number| simulation.connect(number));
    simulation.run(INTERVAL);
    simulation.set_down(true);
    let mut oldest = 0;
    let mut newest = SOCKETS;
    let mut longest = 0;
    for _ in 0..HOURS * 3_600 {
        for _ in 0..2 {
            simulation.disconnect(oldest, Reason::Lost);
            simulation.connect(newest);
            simulation.set_state(newest, State::InMatch);
            oldest += 1;
            newest += 1;
        }
        simulation.run(SECOND);
        longest = longest.max(simulation.scheduler.stats().queue_length);
    }
    // Connect and state of each open connection, and the disconnects of connections that the
    // service may know.
    assert!(longest <= 4 * SOCKETS as u64, "{longest}");
    let attempts = simulation.service.log.len();
    assert!(attempts < HOURS * 3_600 * 5 / 3, "{attempts}");

    simulation.set_down(false);
    simulation.run(2 * INTERVAL);
    let stats = simulation.scheduler.stats();
    assert_eq!(
        (stats.open_connections, stats.queue_length),
        (SOCKETS as u64, 0)
    );
    let mut leases: Vec<_> = simulation
        .service
        .leases
        .keys()
        .map(|lease| lease.connection_id.clone())
        .collect();
    let mut open: Vec<_> = (oldest..newest).map(connection).collect();
    leases.sort();
    open.sort();
    assert_eq!(leases, open);
    assert_eq!(simulation.state(newest - 1), State::InMatch);
}

#[test]
fn a_disconnect_is_given_up_long_after_its_lease_expired() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_down(true);
    simulation.disconnect(1, Reason::Quit);
    simulation.run(2 * TTL - 2 * SECOND);
    assert_eq!(simulation.scheduler.undelivered(), 1);
    simulation.run(20 * SECOND);
    assert_eq!(simulation.scheduler.undelivered(), 0);
    assert_eq!(simulation.scheduler.stats().dropped, 1);
}

#[test]
fn heartbeats_make_up_for_a_connect_that_was_never_delivered() {
    let mut simulation = Simulation::new();
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::Connect).then(|| Fault::Before(problem(500, None)))
    }));
    simulation.connect(1);
    simulation.run(2 * TTL + 20 * SECOND + INTERVAL);
    assert_eq!(simulation.service.leases.len(), 1);
}

#[test]
fn a_refused_call_is_not_repeated_and_heartbeats_continue() {
    let mut simulation = Simulation::new();
    simulation.service.inject_fault = Some(Box::new(|_| Some(Fault::Before(problem(400, None)))));
    (0..3).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    (0..3).for_each(|number| simulation.set_state(number, State::Away));
    simulation.run(4 * INTERVAL);
    assert_eq!(simulation.calls(TaskKind::Connect).len(), 1);
    assert_eq!(simulation.calls(TaskKind::SetState).len(), 3);
    assert_eq!(simulation.calls(TaskKind::Heartbeat).len(), 4);
    simulation.service.inject_fault = None;
    simulation.run(INTERVAL);
    assert_eq!(simulation.service.leases.len(), 3);
}

#[test]
fn a_kind_of_call_that_keeps_failing_does_not_delay_the_others() {
    let mut simulation = Simulation::new();
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::Quit).then(|| Fault::Before(problem(500, None)))
    }));
    simulation.disconnect(0, Reason::Quit);
    simulation.disconnect(1, Reason::Lost);
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.service.leases.len(), 9);
    assert_eq!(simulation.calls(TaskKind::Heartbeat).len(), 2);
    assert!(
        !simulation
            .service
            .leases
            .keys()
            .any(|lease| lease.player_id == player(1))
    );
}

#[test]
fn an_invalid_entry_costs_one_call_and_the_other_entries_are_delivered() {
    let mut simulation = Simulation::new();
    let find_invalid = |call: &Call| call.tasks.iter().position(|(owner, _)| *owner == player(7));
    simulation.service.inject_fault = Some(Box::new(move |call| {
        let field = format!("connections[{}].player_id", find_invalid(call)?);
        Some(Fault::Before(problem(400, Some(&field))))
    }));
    (0..1_000).for_each(|number| simulation.connect(number));
    simulation.run(2 * INTERVAL);
    assert_eq!(sizes(&simulation.calls(TaskKind::Connect)), [1_000, 999]);
    assert_eq!(sizes(&simulation.calls(TaskKind::Heartbeat)), [999]);
    assert_eq!(simulation.service.leases.len(), 999);
}

#[test]
fn a_connection_whose_id_the_service_refuses_is_removed() {
    let mut simulation = Simulation::new();
    simulation.service.inject_fault = Some(Box::new(|_| {
        Some(Fault::Before(problem(400, Some("player_id"))))
    }));
    simulation.connect(1);
    simulation.run(2 * INTERVAL);
    assert_eq!(
        (
            simulation.service.log.len(),
            simulation.scheduler.next_call_at()
        ),
        (1, None)
    );
}

#[test]
fn batches_are_halved_for_a_service_that_accepts_fewer_entries() {
    let mut simulation = Simulation::new();
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.tasks.len() > 300).then(|| Fault::Before(problem(400, Some("connections"))))
    }));
    (0..1_000).for_each(|number| simulation.connect(number));
    simulation.run(2 * INTERVAL + SECOND);
    assert_eq!(
        sizes(&simulation.calls(TaskKind::Connect)),
        [1_000, 500, 500, 250, 250, 250, 250]
    );
    assert!(
        sizes(&simulation.calls(TaskKind::Heartbeat))
            .iter()
            .all(|size| *size == 250)
    );
    assert_eq!(simulation.service.leases.len(), 1_000);
}

#[test]
fn a_connection_that_the_service_closed_is_reported_once_and_gets_no_more_heartbeats() {
    let mut simulation = Simulation::new();
    (0..3).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.set_state(1, State::Offline);
    simulation.run(3 * INTERVAL);
    let closed: Vec<_> = simulation
        .closed_notices
        .iter()
        .map(|closed| closed.connection_id.clone())
        .collect();
    assert_eq!(closed, [connection(1)]);
    assert_eq!(sizes(&simulation.calls(TaskKind::Heartbeat)), [3, 2, 2]);
    simulation.disconnect(1, Reason::Lost);
    assert_eq!(simulation.scheduler.undelivered(), 0);
    assert_eq!(simulation.scheduler.stats().closed, 1);
}

#[test]
fn entries_that_a_node_of_the_store_failed_are_sent_again_in_few_calls_until_it_responds() {
    let mut simulation = Simulation::new();
    simulation.service.unavailable = (0..3_000).map(player).collect();
    (0..9_000).for_each(|number| simulation.connect(number));
    simulation.run(10 * SECOND);
    assert_eq!(simulation.service.leases.len(), 6_000);
    let calls = simulation.calls(TaskKind::Connect).len();
    assert!(calls <= 9 + 3 * 10, "{calls}");
    simulation.service.unavailable.clear();
    simulation.run(3 * SECOND);
    assert_eq!(simulation.service.leases.len(), 9_000);

    simulation.service.unavailable = (0..3_000).map(player).collect();
    simulation.service.log.clear();
    simulation.run(2 * INTERVAL);
    let heartbeats = simulation.calls(TaskKind::Heartbeat).len();
    assert!(heartbeats <= 2 * 9 + 3 * 30, "{heartbeats}");
    simulation.service.unavailable.clear();
    simulation.run(3 * SECOND);
    assert!(
        simulation
            .service
            .leases
            .values()
            .all(|expires_at| *expires_at > simulation.now + TTL - INTERVAL - SECOND)
    );
}

#[test]
fn entries_that_failed_one_by_one_are_sent_again_together() {
    let mut simulation = Simulation::new();
    simulation.service.unavailable = (0..400).map(player).collect();
    for number in 0..400 {
        simulation.connect(number);
        simulation.run(SECOND / 10);
    }
    let calls = simulation.calls(TaskKind::Connect).len();
    assert!(calls <= 400 + 40, "{calls}");
}

#[test]
fn draining_disconnects_all_in_batches_and_accepts_no_more() {
    let mut simulation = Simulation::new();
    (0..5_000).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation
        .scheduler
        .drain(Reason::Lost, 10 * SECOND, simulation.now);
    simulation.connect(5_000);
    simulation.run(SECOND);
    assert_eq!(sizes(&simulation.calls(TaskKind::Lost)), [1_000; 5]);
    assert_eq!(
        (
            simulation.service.leases.len(),
            simulation.scheduler.undelivered()
        ),
        (0, 0)
    );
    assert_eq!(simulation.scheduler.next_call_at(), None);
}

#[test]
fn a_late_response_to_a_heartbeat_does_not_bring_back_a_connection() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    let now = simulation.now + INTERVAL;
    let heartbeat = simulation.scheduler.next_call(now).unwrap();
    simulation
        .scheduler
        .disconnected(&player(1), &connection(1), Reason::Quit, now);
    assert_eq!(
        simulation
            .scheduler
            .settle(heartbeat, Err(CallError::TimedOut), now),
        []
    );
    simulation.now = now;
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.scheduler.next_call_at(), None);
    assert_eq!(simulation.service.leases.len(), 0);
}

#[test]
fn the_service_sets_the_heartbeat_interval() {
    let mut simulation = Simulation::new();
    simulation.service.heartbeat_interval = Some(SECOND);
    simulation.connect(1);
    simulation.run(INTERVAL + SECOND);
    let heartbeats: Vec<_> = simulation
        .calls(TaskKind::Heartbeat)
        .into_iter()
        .map(|(at, _)| at.as_millis())
        .collect();
    assert_eq!(heartbeats.len(), 15, "{heartbeats:?}");
    assert!(
        heartbeats.windows(2).all(|pair| pair[1] - pair[0] == 1_000),
        "{heartbeats:?}"
    );
}
