//! Lease of the gateway: renewal, announcements, and its end in one call.

use std::{collections::HashSet, time::Duration};

use presence_types::GatewayStatus;
use tokio::time::Instant;

use super::{
    super::{
        call::{Call, Connection, TaskKind},
        lease::{LeaseCall, LeaseResponse},
    },
    simulation::{Fault, INTERVAL, Service, Simulation, TTL, connection, player, problem},
};
use crate::{CallError, Reason, State};

const SECOND: Duration = Duration::from_secs(1);
const GATEWAY_TTL: Duration = Duration::from_millis(7_500);
const RENEWAL_INTERVAL: Duration = Duration::from_millis(2_500);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Model of the service's leases of gateways. It knows at most one gateway.
#[derive(Default)]
pub(super) struct Gateways {
    /// The expiry of the gateway's lease.
    expires_at: Option<Instant>,
    /// The connections that belong to it.
    owned: HashSet<Connection>,
    /// The calls: the time since the start, and the reason of a call that ends the lease.
    log: Vec<(Duration, Option<Reason>)>,
    /// Errors for the next calls, and whether these calls take effect all the same.
    failures: Vec<(CallError, bool)>,
    /// Whether calls about connections that name a gateway are refused, as if one of two servers
    /// were an older one.
    refuses_gateway_ids: bool,
}

impl Gateways {
    pub(super) fn flush(&mut self) {
        self.expires_at = None;
        self.owned.clear();
    }
}

impl Service {
    pub(super) fn respond_to_lease_call(
        &mut self,
        call: &LeaseCall,
        now: Instant,
        since_start: Duration,
    ) -> Result<LeaseResponse, CallError> {
        self.expire(now);
        let Some(gateways) = &mut self.gateways else {
            return Err(problem(404, None));
        };
        gateways.log.push((since_start, call.leaving()));
        let failure = gateways.failures.pop();
        if let Some((error, false)) = failure {
            return Err(error);
        }
        let response = match call.leaving() {
            None => self.renew_gateway(now),
            Some(_) => self.leave(),
        };
        failure.map_or(Ok(response), |(error, _)| Err(error))
    }

    fn renew_gateway(&mut self, now: Instant) -> LeaseResponse {
        let gateways = self.gateways.as_mut();
        let previous_expiry =
            gateways.and_then(|gateways| gateways.expires_at.replace(now + GATEWAY_TTL));
        LeaseResponse {
            status: if previous_expiry.is_some() {
                GatewayStatus::Alive
            } else {
                GatewayStatus::New
            },
            ttl_ms: Some(GATEWAY_TTL.as_millis() as u64),
            heartbeat_interval_ms: Some(RENEWAL_INTERVAL.as_millis() as u64),
            connections: 0,
        }
    }

    fn leave(&mut self) -> LeaseResponse {
        let connections = self.end_owned();
        LeaseResponse {
            status: GatewayStatus::Left,
            connections,
            ..LeaseResponse::default()
        }
    }

    /// Ends the gateway's lease and those of its connections.
    fn end_owned(&mut self) -> u64 {
        let Some(gateways) = &mut self.gateways else {
            return 0;
        };
        gateways.expires_at = None;
        let owned = std::mem::take(&mut gateways.owned);
        let ended = owned
            .into_iter()
            .filter(|connection| self.leases.remove(connection).is_some())
            .count();
        self.end_records();
        ended as u64
    }

    pub(super) fn expire_gateway(&mut self, now: Instant) {
        let gateways = self.gateways.as_ref();
        if gateways
            .and_then(|gateways| gateways.expires_at)
            .is_some_and(|expires_at| expires_at < now)
        {
            self.end_owned();
        }
    }

    /// Records which connections belong to the gateway that a call names.
    pub(super) fn record_owner(&mut self, call: &Call) -> Result<(), CallError> {
        if call.gateway.is_none() {
            return Ok(());
        }
        let Some(gateways) = self
            .gateways
            .as_mut()
            .filter(|gateways| !gateways.refuses_gateway_ids)
        else {
            return Err(problem(400, Some("gateway_id")));
        };
        gateways.owned.extend(
            call.tasks
                .iter()
                .filter_map(|(player, task)| task.connection(player)),
        );
        Ok(())
    }
}

impl Simulation {
    fn gateways(&mut self) -> &mut Gateways {
        self.service.gateways.as_mut().unwrap()
    }

    /// The times of the calls about the lease since the start.
    fn lease_calls(&mut self) -> Vec<Duration> {
        self.gateways().log.iter().map(|(at, _)| *at).collect()
    }

    /// The reasons of the calls that end the lease.
    fn leave_calls(&mut self) -> Vec<Reason> {
        self.gateways()
            .log
            .iter()
            .filter_map(|(_, leaving)| *leaving)
            .collect()
    }

    fn drain(&mut self, reason: Reason) {
        self.scheduler.drain(reason, DRAIN_TIMEOUT, self.now);
    }

    /// A simulation with a gateway's lease and connections that the service knows.
    fn with_connections(connections: usize) -> Self {
        let mut simulation = Self::with_lease();
        (0..connections).for_each(|number| simulation.connect(number));
        simulation.run(SECOND);
        simulation
    }
}

#[test]
fn the_lease_is_renewed_at_the_interval_that_the_service_requests() {
    let mut simulation = Simulation::with_connections(10);
    simulation.run(58 * SECOND);
    let calls = simulation.lease_calls();
    assert_eq!((calls.len(), calls[0]), (24, Duration::ZERO));
    assert!(
        calls
            .windows(2)
            .all(|pair| pair[1] - pair[0] == RENEWAL_INTERVAL),
        "{calls:?}"
    );
    assert!(
        simulation
            .service
            .log
            .iter()
            .all(|received| received.names_gateway)
    );
    assert_eq!(simulation.scheduler.stats().restored, 0);
}

#[test]
fn a_failed_renewal_is_repeated_well_before_the_lease_expires() {
    let mut simulation = Simulation::with_connections(10);
    simulation.gateways().failures = (0..3).map(|_| (problem(503, None), false)).collect();
    simulation.run(20 * SECOND);
    assert_eq!(simulation.service.leases.len(), 10);
    assert_eq!(simulation.scheduler.stats().restored, 0);
    let calls = simulation.lease_calls();
    let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let retries = (RENEWAL_INTERVAL / 5)..=(RENEWAL_INTERVAL * 2 / 5 + SECOND / 100);
    assert!(
        pauses[1..4].iter().all(|pause| retries.contains(pause)),
        "{pauses:?}"
    );
}

#[test]
fn all_connections_are_announced_within_seconds_after_the_service_lost_its_data_but_not_at_once() {
    let mut simulation = Simulation::with_connections(10_000);
    simulation.run(2 * INTERVAL);
    simulation.service.log.clear();
    simulation.service.flush();
    simulation.run(RENEWAL_INTERVAL + 5 * SECOND);
    assert_eq!(simulation.service.leases.len(), 10_000);
    let calls = simulation.calls(TaskKind::Heartbeat);
    assert!(calls.iter().all(|(_, size)| *size <= 1_000), "{calls:?}");
    assert!(
        calls.len() <= 10 + 6,
        "the announcement, and the regular heartbeats until then: {calls:?}"
    );
    // No connection is announced twice: from here on, heartbeats are spread as before.
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    let calls = simulation.calls(TaskKind::Heartbeat);
    assert!((10..=13).contains(&calls.len()), "{calls:?}");
}

#[test]
fn a_connect_that_was_in_flight_while_the_service_lost_its_data_is_announced_too() {
    let mut simulation = Simulation::with_connections(1);
    simulation.latency = 3 * SECOND;
    simulation.run(SECOND);
    simulation.connect(2);
    simulation.run(SECOND / 10);
    simulation.service.flush();
    // The response to the renewal after the flush comes before that of the connect.
    simulation.latency = SECOND / 10;
    simulation.run(RENEWAL_INTERVAL + 4 * SECOND);
    assert!(
        simulation
            .service
            .leases
            .contains_key(&Connection::new(&player(2), &connection(2)))
    );
}

#[test]
fn players_of_a_gateway_that_was_considered_lost_return_with_their_states() {
    let mut simulation = Simulation::with_connections(100);
    simulation.set_state(1, State::InMatch);
    simulation.run(2 * SECOND);
    // The whole process is suspended.
    simulation.now += 30 * SECOND;
    let now = simulation.now;
    simulation.service.expire(now);
    assert_eq!(simulation.service.leases.len(), 0);
    simulation.run(SECOND);
    assert_eq!(simulation.service.leases.len(), 100);
    assert_eq!(simulation.state(1), State::InMatch);
}

#[test]
fn an_older_service_gets_the_same_calls_as_without_a_lease_and_fewer_and_fewer_renewals() {
    let mut simulation = Simulation::with_lease();
    simulation.service.gateways = None;
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(600 * SECOND);
    assert_eq!(simulation.service.leases.len(), 10);
    assert_eq!(simulation.scheduler.stats().dropped, 0);
    simulation.service.gateways = Some(Gateways::default());
    simulation.run(61 * SECOND + INTERVAL);
    let owned = simulation.gateways().owned.len();
    assert_eq!(owned, 10, "after the service was replaced by a newer one");
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    assert!(
        simulation
            .service
            .log
            .iter()
            .all(|received| received.names_gateway)
    );
}

#[test]
fn a_connect_that_an_older_service_refuses_for_its_gateway_id_is_sent_again_without_it_at_once() {
    let mut simulation = Simulation::with_lease();
    simulation.gateways().refuses_gateway_ids = true;
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    assert_eq!(simulation.service.leases.len(), 10);
    assert_eq!(simulation.calls(TaskKind::Connect).len(), 2);
    simulation.run(60 * SECOND);
    let refused = simulation
        .service
        .log
        .iter()
        .filter(|received| received.names_gateway)
        .count();
    assert!(refused <= 2, "{refused}");
    assert_eq!(simulation.scheduler.stats().dropped, 0);
}

#[test]
fn draining_ends_everything_in_one_call() {
    let mut simulation = Simulation::with_connections(10_000);
    simulation.run(INTERVAL);
    simulation.service.log.clear();
    simulation.drain(Reason::Moving);
    (0..5_000).for_each(|number| simulation.disconnect(number, Reason::Lost)); // their sockets were closed
    simulation.run(SECOND);
    assert_eq!(simulation.leave_calls(), [Reason::Moving]);
    assert_eq!(simulation.service.log.len(), 0);
    assert_eq!(
        (
            simulation.service.leases.len(),
            simulation.scheduler.undelivered()
        ),
        (0, 0)
    );
    (5_000..10_000).for_each(|number| simulation.disconnect(number, Reason::Lost));
    simulation.run(10 * INTERVAL);
    assert_eq!(
        (
            simulation.service.log.len(),
            simulation.scheduler.next_call_at()
        ),
        (0, None),
        "nothing follows"
    );
}

#[test]
fn waiting_tasks_are_delivered_before_the_lease_ends() {
    let mut simulation = Simulation::with_connections(10);
    simulation.connect(10);
    simulation.set_state(10, State::InMatch);
    simulation.set_state(1, State::Away);
    simulation.disconnect(2, Reason::Lost);
    simulation.drain(Reason::Moving);
    simulation.disconnect(3, Reason::Quit);
    simulation.connect(11);
    simulation.run(SECOND);
    assert_eq!(simulation.received(10).len(), 2);
    assert_eq!(
        (simulation.received(1).len(), simulation.received(11).len()),
        (2, 0)
    );
    let closed: Vec<_> = (0..12)
        .filter(|n| simulation.service.closed.contains(&connection_of(*n)))
        .collect();
    assert_eq!(
        closed,
        [2, 3],
        "one disconnect before the drain, one of a player who quit"
    );
    assert_eq!(simulation.leave_calls(), [Reason::Moving]);
    assert_eq!(simulation.scheduler.undelivered(), 0);
}

#[test]
fn no_heartbeat_is_in_flight_when_the_lease_ends_nor_sent_later() {
    let mut simulation = Simulation::with_connections(3_000);
    simulation.latency = SECOND;
    simulation.run(INTERVAL);
    let calls = simulation.calls(TaskKind::Heartbeat).len();
    simulation.drain(Reason::Moving);
    simulation.run(5 * SECOND);
    assert_eq!(simulation.calls(TaskKind::Heartbeat).len(), calls);
    let (left_at, _) = *simulation.gateways().log.last().unwrap();
    let (last_at, _) = *simulation.calls(TaskKind::Heartbeat).last().unwrap();
    assert!(left_at >= last_at + SECOND, "{left_at:?} {last_at:?}");
    assert_eq!(simulation.service.leases.len(), 0);
}

#[test]
fn a_failed_call_that_ends_the_lease_is_repeated_and_connections_that_it_may_have_missed_are_disconnected()
 {
    for took_effect in [false, true] {
        let mut simulation = Simulation::with_connections(10);
        simulation.gateways().failures = vec![(CallError::TimedOut, took_effect)];
        simulation.drain(Reason::Moving);
        simulation.run(2 * SECOND);
        assert_eq!(
            simulation.leave_calls(),
            [Reason::Moving; 2],
            "{took_effect}"
        );
        assert_eq!(
            (
                simulation.service.leases.len(),
                simulation.scheduler.undelivered()
            ),
            (0, 0)
        );
        // The second call ends no lease of a connection: the notifier cannot know that the first
        // one did.
        assert_eq!(
            simulation.calls(TaskKind::Moving).len(),
            usize::from(took_effect)
        );
    }
}

#[test]
fn connections_that_the_service_does_not_assign_to_the_gateway_are_disconnected() {
    let mut simulation = Simulation::with_connections(10);
    simulation.gateways().owned.remove(&connection_of(7));
    simulation.drain(Reason::Moving);
    simulation.run(SECOND);
    assert_eq!(simulation.service.leases.len(), 0);
    assert_eq!(simulation.calls(TaskKind::Moving).len(), 1);
}

#[test]
fn the_lease_ends_in_time_even_if_other_calls_fail() {
    let mut simulation = Simulation::with_connections(10);
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::SetState).then(|| Fault::Before(problem(503, None)))
    }));
    simulation.set_state(1, State::Away);
    simulation.run(SECOND);
    simulation.drain(Reason::Moving);
    simulation.run(DRAIN_TIMEOUT / 2 + SECOND);
    assert_eq!(simulation.leave_calls(), [Reason::Moving]);
    assert_eq!(simulation.service.leases.len(), 0);
    assert_eq!(
        simulation.scheduler.undelivered(),
        2,
        "the state, and the disconnect behind it"
    );
}

#[test]
fn draining_with_an_older_service_disconnects_with_a_reason_that_it_knows() {
    let mut simulation = Simulation::with_lease();
    simulation.service.gateways = None;
    simulation.latency = SECOND / 10;
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND / 50);
    simulation.drain(Reason::Moving); // before the first response
    simulation.run(SECOND);
    assert_eq!(
        (
            simulation.calls(TaskKind::Lost).len(),
            simulation.calls(TaskKind::Moving).len()
        ),
        (1, 0)
    );
    assert_eq!(
        (
            simulation.service.leases.len(),
            simulation.scheduler.undelivered()
        ),
        (0, 0)
    );
}

#[test]
fn draining_without_a_lease_disconnects_with_the_reason_moving() {
    let mut simulation = Simulation::new();
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.drain(Reason::Moving);
    simulation.run(SECOND);
    assert_eq!(simulation.calls(TaskKind::Moving).len(), 1);
    assert_eq!(simulation.service.leases.len(), 0);
}

#[test]
fn a_gateway_without_connections_leaves_as_well() {
    let mut simulation = Simulation::with_lease();
    simulation.run(SECOND);
    simulation.drain(Reason::Quit);
    assert_eq!(simulation.scheduler.undelivered(), 1);
    simulation.run(SECOND);
    assert_eq!(
        (simulation.leave_calls(), simulation.scheduler.undelivered()),
        (vec![Reason::Quit], 0)
    );
}

#[test]
fn connections_outlast_a_lease_that_cannot_be_renewed() {
    let mut simulation = Simulation::with_connections(10);
    let start = simulation.now;
    let end = start + 2 * TTL;
    simulation.gateways().failures = (0..200).map(|_| (CallError::TimedOut, false)).collect();
    while simulation.now < end {
        simulation.run(INTERVAL);
        assert_eq!(
            simulation.service.leases.len(),
            10,
            "heartbeats restore them: {:?}",
            simulation.now - start
        );
    }
}

fn connection_of(number: usize) -> Connection {
    Connection::new(&player(number), &connection(number))
}
