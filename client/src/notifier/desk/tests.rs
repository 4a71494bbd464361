use std::{collections::HashMap, time::Duration};

use super::{
    super::call::{Call, Kind, Task},
    simulation::{Failure, INTERVAL, Simulation, TTL, connection, player, problem},
};
use crate::{CallError, Reason, State};

const SECOND: Duration = Duration::from_secs(1);

fn sizes(calls: &[(Duration, usize)]) -> Vec<usize> {
    calls.iter().map(|(_, size)| *size).collect()
}

#[test]
fn ten_thousand_connections_are_beaten_by_ten_calls_an_interval_evenly_spread() {
    let mut simulation = Simulation::new();
    (0..10_000).for_each(|number| simulation.connect(number));
    simulation.run(40 * INTERVAL);
    let beats = simulation.calls(Kind::Beat);
    assert!(beats.iter().all(|(_, size)| *size == 1_000), "{:?}", sizes(&beats));
    assert!((399..=400).contains(&beats.len()), "{}", beats.len());
    for pair in beats.windows(2) {
        let gap = (pair[1].0 - pair[0].0).as_millis();
        assert!((1_490..=1_510).contains(&gap), "{gap}");
    }
    assert_eq!(simulation.desk.stats().beats, beats.len() as u64 * 1_000);
    assert_eq!(simulation.desk.stats().dropped, 0);
}

#[test]
fn a_storm_of_connects_becomes_batches() {
    let mut simulation = Simulation::new();
    (0..10_000).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    assert_eq!(sizes(&simulation.calls(Kind::Connect)), [1_000; 10]);
}

#[test]
fn one_connect_is_told_within_a_few_milliseconds() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    assert_eq!(simulation.calls(Kind::Connect), [(Duration::from_millis(5), 1)]);
}

#[test]
fn no_connection_waits_longer_than_an_interval_for_its_beat_while_others_come_and_go() {
    let mut simulation = Simulation::new();
    let mut open = std::collections::VecDeque::new();
    let mut next = 0;
    for round in 0..1_200_usize {
        // Up to 3,000, down to a handful, and so on, in steps of half a second.
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
    let mut heard = HashMap::new();
    for told in &simulation.service.log {
        for (player, task) in &told.tasks {
            let before = match task {
                Task::Disconnect(..) => heard.remove(player),
                _ => heard.insert(player.clone(), told.at),
            };
            let gap = before.map(|before| told.at - before).unwrap_or_default();
            assert!(gap <= INTERVAL + SECOND / 100, "{gap:?}");
        }
    }
    assert_eq!(heard.len(), open.len());
    let bound = 600.0 / 15.0 * (1.0 + 1.0 + 2.0 + 2.0 + 3.0);
    assert!((simulation.calls(Kind::Beat).len() as f64) < bound, "{}", simulation.calls(Kind::Beat).len());
}

#[test]
fn the_news_of_one_player_are_told_in_order() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_state(1, State::InMatch);
    simulation.disconnect(1, Reason::Lost);
    simulation.desk.connected(&player(1), &connection(2), simulation.now);
    simulation.set_state(1, State::Away);
    simulation.run(SECOND);
    // The match was over before it was told.
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
    for state in [State::InQueue, State::InMatch, State::Offline, State::Offline, State::Away, State::Online] {
        simulation.set_state(1, state);
    }
    simulation.run(SECOND);
    let expected = [Task::Connect(connection(1)), Task::SetState(State::Offline), Task::SetState(State::Online)];
    assert_eq!(simulation.received(1), expected);
}

#[test]
fn nothing_is_told_of_a_connection_that_closed_before_the_service_heard_of_it() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.set_state(1, State::Away);
    simulation.disconnect(1, Reason::Quit);
    simulation.run(SECOND);
    assert_eq!(simulation.received(1), []);
    assert_eq!(simulation.desk.undelivered(), 0);
}

#[test]
fn a_connect_that_may_have_been_heard_is_not_repeated_after_its_disconnect_but_that_is_told() {
    let mut simulation = Simulation::new();
    simulation.set_down(true);
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_state(1, State::Away);
    simulation.disconnect(1, Reason::Quit);
    simulation.service.log.clear();
    simulation.set_down(false);
    simulation.run(10 * SECOND);
    assert_eq!(simulation.received(1), [Task::Disconnect(connection(1), Reason::Quit)]);
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
    assert_eq!(simulation.received(1), [Task::Connect(connection(1)), Task::Disconnect(connection(1), Reason::Quit)]);
}

#[test]
fn after_hours_without_the_service_all_ends_right_and_little_was_kept() {
    const SOCKETS: usize = 200;
    const HOURS: usize = 2;
    let mut simulation = Simulation::new();
    (0..SOCKETS).for_each(|number| simulation.connect(number));
    simulation.run(INTERVAL);
    simulation.set_down(true);
    let (mut oldest, mut newest, mut longest) = (0, SOCKETS, 0);
    for _ in 0..HOURS * 3_600 {
        for _ in 0..2 {
            simulation.disconnect(oldest, Reason::Lost);
            simulation.connect(newest);
            simulation.set_state(newest, State::InMatch);
            (oldest, newest) = (oldest + 1, newest + 1);
        }
        simulation.run(SECOND);
        longest = longest.max(simulation.desk.stats().queue_length);
    }
    // A connect and a state of each that is open; and the disconnects of those that the service may have heard of.
    assert!(longest <= 4 * SOCKETS as u64, "{longest}");
    let tries = simulation.service.log.len();
    assert!(tries < HOURS * 3_600 * 5 / 3, "{tries}");

    simulation.set_down(false);
    simulation.run(2 * INTERVAL);
    let stats = simulation.desk.stats();
    assert_eq!((stats.open_connections, stats.queue_length), (SOCKETS as u64, 0));
    let mut leases: Vec<_> = simulation.service.leases.keys().map(|lease| lease.connection_id.clone()).collect();
    let mut open: Vec<_> = (oldest..newest).map(connection).collect();
    leases.sort();
    open.sort();
    assert_eq!(leases, open);
    assert_eq!(simulation.state(newest - 1), State::InMatch);
}

#[test]
fn a_disconnect_is_given_up_when_its_lease_has_run_out_for_long() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    simulation.set_down(true);
    simulation.disconnect(1, Reason::Quit);
    simulation.run(2 * TTL - 2 * SECOND);
    assert_eq!(simulation.desk.undelivered(), 1);
    simulation.run(20 * SECOND);
    assert_eq!(simulation.desk.undelivered(), 0);
    assert_eq!(simulation.desk.stats().dropped, 1);
}

#[test]
fn a_connect_that_never_came_through_is_made_up_for_by_the_heartbeats() {
    let mut simulation = Simulation::new();
    simulation.service.fails =
        Some(Box::new(|call| (call.kind == Kind::Connect).then(|| Failure::Before(problem(500, None)))));
    simulation.connect(1);
    simulation.run(2 * TTL + 20 * SECOND + INTERVAL);
    assert_eq!(simulation.service.leases.len(), 1);
}

#[test]
fn a_refused_call_is_not_repeated_and_the_heartbeats_go_on() {
    let mut simulation = Simulation::new();
    simulation.service.fails = Some(Box::new(|_| Some(Failure::Before(problem(400, None)))));
    (0..3).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    (0..3).for_each(|number| simulation.set_state(number, State::Away));
    simulation.run(4 * INTERVAL);
    assert_eq!(simulation.calls(Kind::Connect).len(), 1);
    assert_eq!(simulation.calls(Kind::SetState).len(), 3);
    assert_eq!(simulation.calls(Kind::Beat).len(), 4);
    simulation.service.fails = None;
    simulation.run(INTERVAL);
    assert_eq!(simulation.service.leases.len(), 3);
}

#[test]
fn one_kind_of_call_that_keeps_failing_does_not_hold_up_the_others() {
    let mut simulation = Simulation::new();
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.service.fails =
        Some(Box::new(|call| (call.kind == Kind::Quit).then(|| Failure::Before(problem(500, None)))));
    simulation.disconnect(0, Reason::Quit);
    simulation.disconnect(1, Reason::Lost);
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.service.leases.len(), 9);
    assert_eq!(simulation.calls(Kind::Beat).len(), 2);
    assert!(!simulation.service.leases.keys().any(|lease| lease.player_id == player(1)));
}

#[test]
fn an_entry_at_fault_costs_one_call_and_the_others_get_through() {
    let mut simulation = Simulation::new();
    let culprit = |call: &Call| call.tasks.iter().position(|(of, _)| *of == player(7));
    simulation.service.fails = Some(Box::new(move |call| {
        let field = format!("connections[{}].player_id", culprit(call)?);
        Some(Failure::Before(problem(400, Some(&field))))
    }));
    (0..1_000).for_each(|number| simulation.connect(number));
    simulation.run(2 * INTERVAL);
    assert_eq!(sizes(&simulation.calls(Kind::Connect)), [1_000, 999]);
    assert_eq!(sizes(&simulation.calls(Kind::Beat)), [999]);
    assert_eq!(simulation.service.leases.len(), 999);
}

#[test]
fn a_connection_whose_id_the_service_refuses_is_forgotten() {
    let mut simulation = Simulation::new();
    simulation.service.fails = Some(Box::new(|_| Some(Failure::Before(problem(400, Some("player_id"))))));
    simulation.connect(1);
    simulation.run(2 * INTERVAL);
    assert_eq!((simulation.service.log.len(), simulation.desk.next_call_at()), (1, None));
}

#[test]
fn a_service_that_takes_fewer_at_a_time_gets_fewer_from_then_on() {
    let mut simulation = Simulation::new();
    simulation.service.fails =
        Some(Box::new(|call| (call.tasks.len() > 300).then(|| Failure::Before(problem(400, Some("connections"))))));
    (0..1_000).for_each(|number| simulation.connect(number));
    simulation.run(2 * INTERVAL + SECOND);
    assert_eq!(sizes(&simulation.calls(Kind::Connect)), [1_000, 500, 500, 250, 250, 250, 250]);
    assert!(sizes(&simulation.calls(Kind::Beat)).iter().all(|size| *size == 250));
    assert_eq!(simulation.service.leases.len(), 1_000);
}

#[test]
fn a_connection_that_the_service_closed_is_reported_once_and_no_longer_beaten() {
    let mut simulation = Simulation::new();
    (0..3).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.set_state(1, State::Offline);
    simulation.run(3 * INTERVAL);
    let reported: Vec<_> = simulation.reported.iter().map(|closed| closed.connection_id.clone()).collect();
    assert_eq!(reported, [connection(1)]);
    assert_eq!(sizes(&simulation.calls(Kind::Beat)), [3, 2, 2]);
    simulation.disconnect(1, Reason::Lost);
    assert_eq!(simulation.desk.undelivered(), 0);
    assert_eq!(simulation.desk.stats().closed, 1);
}

#[test]
fn what_a_node_of_the_store_failed_is_told_again_by_few_calls_until_it_answers() {
    let mut simulation = Simulation::new();
    simulation.service.failing = (0..3_000).map(player).collect();
    (0..9_000).for_each(|number| simulation.connect(number));
    simulation.run(10 * SECOND);
    assert_eq!(simulation.service.leases.len(), 6_000);
    let calls = simulation.calls(Kind::Connect).len();
    assert!(calls <= 9 + 3 * 10, "{calls}");
    simulation.service.failing.clear();
    simulation.run(3 * SECOND);
    assert_eq!(simulation.service.leases.len(), 9_000);

    simulation.service.failing = (0..3_000).map(player).collect();
    simulation.service.log.clear();
    simulation.run(2 * INTERVAL);
    let beats = simulation.calls(Kind::Beat).len();
    assert!(beats <= 2 * 9 + 3 * 30, "{beats}");
    simulation.service.failing.clear();
    simulation.run(3 * SECOND);
    assert!(simulation.service.leases.values().all(|expiry| *expiry > simulation.now + TTL - INTERVAL - SECOND));
}

#[test]
fn what_failed_one_by_one_is_told_again_together() {
    let mut simulation = Simulation::new();
    simulation.service.failing = (0..400).map(player).collect();
    for number in 0..400 {
        simulation.connect(number);
        simulation.run(SECOND / 10);
    }
    let calls = simulation.calls(Kind::Connect).len();
    assert!(calls <= 400 + 40, "{calls}");
}

#[test]
fn draining_disconnects_all_in_batches_and_takes_no_more() {
    let mut simulation = Simulation::new();
    (0..5_000).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.desk.drain(Reason::Lost, 10 * SECOND, simulation.now);
    simulation.connect(5_000);
    simulation.run(SECOND);
    assert_eq!(sizes(&simulation.calls(Kind::Lost)), [1_000; 5]);
    assert_eq!((simulation.service.leases.len(), simulation.desk.undelivered()), (0, 0));
    assert_eq!(simulation.desk.next_call_at(), None);
}

#[test]
fn a_late_answer_to_a_heartbeat_does_not_bring_back_a_connection() {
    let mut simulation = Simulation::new();
    simulation.connect(1);
    simulation.run(SECOND);
    let now = simulation.now + INTERVAL;
    let beat = simulation.desk.next_call(now).unwrap();
    simulation.desk.disconnected(&player(1), &connection(1), Reason::Quit, now);
    assert_eq!(simulation.desk.settle(beat, Err(CallError::TimedOut), now), []);
    simulation.now = now;
    simulation.run(2 * INTERVAL);
    assert_eq!(simulation.desk.next_call_at(), None);
    assert_eq!(simulation.service.leases.len(), 0);
}

#[test]
fn the_service_says_how_often_it_wants_heartbeats() {
    let mut simulation = Simulation::new();
    simulation.service.heartbeat_interval = Some(SECOND);
    simulation.connect(1);
    simulation.run(INTERVAL + SECOND);
    let beats: Vec<_> = simulation.calls(Kind::Beat).into_iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(beats.len(), 15, "{beats:?}");
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "{beats:?}");
}
