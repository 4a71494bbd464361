//! Random histories: whatever fails in between, gateway and service agree in the end.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    super::{
        activity::MIN_INTERVAL,
        call::{Connection, Task},
    },
    simulation::{Fault, INTERVAL, Simulation, TTL, player, problem},
};
use crate::{Activity, CallError, ConnectionId, Reason, State};

/// One step of a history. Players are numbered from 0 to 5.
#[derive(Debug, Clone)]
enum Step {
    Open(usize),
    /// Closes the player's oldest connection.
    Close(usize, Reason),
    SetState(usize, State),
    SetActivity(usize, Option<u16>),
    Wait(Duration),
    /// Sets the faults of the following calls.
    Faults(Faults),
}

/// Faults of the network and of the service's store.
#[derive(Debug, Clone, Copy)]
enum Faults {
    Healthy,
    /// No call arrives.
    CallsLost,
    /// All calls take effect, but no response arrives.
    ResponsesLost,
    /// All calls take effect, but only every other response arrives.
    HalfTheResponsesLost,
    /// The store's node of the even players is down.
    HalfTheStoreDown,
}

const FAULTS: &[Faults] = &[
    Faults::Healthy,
    Faults::CallsLost,
    Faults::ResponsesLost,
    Faults::HalfTheResponsesLost,
    Faults::HalfTheStoreDown,
];

fn step() -> impl Strategy<Value = Step> {
    let states = [
        State::Online,
        State::Away,
        State::InQueue,
        State::InMatch,
        State::Offline,
    ]
    .to_vec();
    let state = prop::sample::select(states);
    let reason = prop_oneof![Just(Reason::Quit), Just(Reason::Lost)];
    let pause = prop_oneof![0..50_u64, 0..3_000_u64, 0..60_000_u64];
    prop_oneof![
        4 => (0..6_usize).prop_map(Step::Open),
        3 => (0..6_usize, reason).prop_map(|(player, reason)| Step::Close(player, reason)),
        2 => (0..6_usize, state).prop_map(|(player, state)| Step::SetState(player, state)),
        2 => (0..6_usize, prop::option::of(0..3_u16)).prop_map(|(player, size)| Step::SetActivity(player, size)),
        3 => pause.prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        2 => prop::sample::select(FAULTS).prop_map(Step::Faults),
    ]
}

fn set_faults(simulation: &mut Simulation, faults: Faults) {
    let mut calls = 0;
    simulation.service.unavailable = match faults {
        Faults::HalfTheStoreDown => [0, 2, 4].map(player).into(),
        _ => HashSet::new(),
    };
    simulation.service.inject_fault = Some(Box::new(move |_| {
        calls += 1;
        match faults {
            Faults::CallsLost => Some(Fault::Before(problem(503, None))),
            Faults::ResponsesLost => Some(Fault::After(CallError::TimedOut)),
            Faults::HalfTheResponsesLost if calls % 2 == 0 => {
                Some(Fault::After(CallError::TimedOut))
            }
            _ => None,
        }
    }));
}

/// The data of the gateway at the end of a history, which the service must have as well.
struct Expected {
    open: HashSet<Connection>,
    /// The last state that was set while a connection was open, of players who never signed out.
    states: HashMap<usize, State>,
    /// The last activity that was set while a connection was open, of the same players. It ends
    /// with the last connection.
    activities: HashMap<usize, Option<Activity>>,
}

fn activity(number: u16) -> Activity {
    Activity {
        details: Some(number.to_string()),
        ..Activity::default()
    }
}

fn apply_steps(simulation: &mut Simulation, steps: Vec<Step>) -> Expected {
    let mut open: Vec<Connection> = Vec::new();
    let mut states = HashMap::new();
    let mut activities = HashMap::new();
    let mut unchecked = HashSet::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Open(player_number) => {
                let connection_id = ConnectionId::parse(&format!("c{number}")).unwrap();
                let connection = Connection {
                    player_id: player(player_number),
                    connection_id,
                };
                simulation.scheduler.connected(
                    &connection.player_id,
                    &connection.connection_id,
                    simulation.now,
                );
                if !open
                    .iter()
                    .any(|open| open.player_id == connection.player_id)
                {
                    states.remove(&player_number);
                }
                open.push(connection);
            }
            Step::Close(player_number, reason) => {
                if let Some(index) = open
                    .iter()
                    .position(|open| open.player_id == player(player_number))
                {
                    let Connection {
                        player_id,
                        connection_id,
                    } = open.remove(index);
                    simulation.scheduler.disconnected(
                        &player_id,
                        &connection_id,
                        reason,
                        simulation.now,
                    );
                    if !open.iter().any(|open| open.player_id == player_id) {
                        activities.remove(&player_number);
                    }
                }
            }
            Step::SetState(player_number, state) => {
                simulation.set_state(player_number, state);
                states.insert(player_number, state);
                // A state without a connection has no owner: its fate is not checked here.
                if state == State::Offline
                    || !open
                        .iter()
                        .any(|open| open.player_id == player(player_number))
                {
                    unchecked.insert(player_number);
                }
            }
            Step::SetActivity(player_number, number) => {
                simulation.set_activity(player_number, number.map(activity));
                if open
                    .iter()
                    .any(|open| open.player_id == player(player_number))
                {
                    activities.insert(player_number, number.map(activity));
                }
            }
            Step::Wait(time) => simulation.run(time),
            Step::Faults(faults) => set_faults(simulation, faults),
        }
    }
    states.retain(|number, _| !unchecked.contains(number));
    activities.retain(|number, _| !unchecked.contains(number));
    Expected {
        open: open.into_iter().collect(),
        states,
        activities,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_fails_the_service_ends_with_the_connections_that_are_open(
        steps in prop::collection::vec(step(), 1..120),
        latency in prop::sample::select(&[2_u64, 700, 3_000]),
    ) {
        let mut simulation = Simulation::new();
        simulation.latency = Duration::from_millis(latency);
        let Expected { open, states, activities } = apply_steps(&mut simulation, steps);
        set_faults(&mut simulation, Faults::Healthy);
        simulation.run(2 * TTL + 2 * INTERVAL);

        let closed: HashSet<_> = simulation.closed_notices.iter().cloned().collect();
        prop_assert_eq!(closed.len(), simulation.closed_notices.len());
        let expected: HashSet<_> = open.difference(&closed).cloned().collect();
        let leases: HashSet<_> = simulation.service.leases.keys().cloned().collect();
        prop_assert_eq!(&leases, &expected);
        let stats = simulation.scheduler.stats();
        prop_assert_eq!((stats.open_connections as usize, stats.queue_length), (expected.len(), 0));
        for number in 0..6 {
            let is_open = expected.iter().any(|open| open.player_id == player(number));
            let state = if is_open { states.get(&number).copied() } else { Some(State::Offline) };
            prop_assert_eq!(simulation.state(number), state.unwrap_or_else(|| simulation.state(number)));
            let activity = if is_open { activities.get(&number).cloned() } else { Some(None) };
            prop_assert_eq!(simulation.activity(number), activity.unwrap_or_else(|| simulation.activity(number)));
            prop_assert!(simulation.activity_calls(number).is_sorted_by(|one, next| *one + MIN_INTERVAL <= *next));
        }
        prop_assert_eq!(order_violations(&simulation), vec![]);
    }
}

/// The connects that arrived after the disconnect of the same connection.
fn order_violations(simulation: &Simulation) -> Vec<Task> {
    let mut closed = HashSet::new();
    let mut violations = Vec::new();
    for call in &simulation.service.log {
        for (_, task) in &call.tasks {
            match task {
                Task::Disconnect(id, _) => _ = closed.insert(id),
                Task::Connect(id) if closed.contains(id) => violations.push(task.clone()),
                _ => {}
            }
        }
    }
    violations
}
