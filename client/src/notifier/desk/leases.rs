//! The gateway's lease: pace, announcements, and the end by one call.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use super::{
    super::{
        call::{Call, Connection, Kind},
        lease::{LeaseAnswer, LeaseCall, LeaseStatus},
    },
    simulation::{Failure, INTERVAL, Service, Simulation, TTL, connection, player, problem},
};
use crate::{CallError, Reason, State};

const SECOND: Duration = Duration::from_secs(1);
const GATEWAY_TTL: Duration = Duration::from_millis(7_500);
const RENEWAL_INTERVAL: Duration = Duration::from_millis(2_500);
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A service's leases of gateways, of which it knows one at most.
#[derive(Default)]
pub(super) struct Gateways {
    /// The expiry of the gateway's lease.
    expires_at: Option<Instant>,
    /// The connections that belong to it.
    owned: HashSet<Connection>,
    /// The calls: how long after the start, and why the gateway leaves if it does.
    log: Vec<(Duration, Option<Reason>)>,
    /// Answers the next calls in the service's place; `true` if they take effect all the same.
    failures: Vec<(CallError, bool)>,
    /// Calls of connections that name a gateway are refused: of two servers, one is an old one.
    refuses_names: bool,
}

impl Gateways {
    pub(super) fn flush(&mut self) {
        self.expires_at = None;
        self.owned.clear();
    }
}

impl Service {
    pub(super) fn answer_lease_call(
        &mut self,
        call: &LeaseCall,
        now: Instant,
        since_start: Duration,
    ) -> Result<LeaseAnswer, CallError> {
        self.expire(now);
        let Some(gateways) = &mut self.gateways else { return Err(problem(404, None)) };
        gateways.log.push((since_start, call.leaving()));
        let failure = gateways.failures.pop();
        if let Some((error, false)) = failure {
            return Err(error);
        }
        let answer = match call.leaving() {
            None => self.renew_gateway(now),
            Some(_) => self.leave(),
        };
        failure.map_or(Ok(answer), |(error, _)| Err(error))
    }

    fn renew_gateway(&mut self, now: Instant) -> LeaseAnswer {
        let before = self.gateways.as_mut().and_then(|gateways| gateways.expires_at.replace(now + GATEWAY_TTL));
        LeaseAnswer {
            status: if before.is_some() { LeaseStatus::Alive } else { LeaseStatus::New },
            ttl_ms: Some(GATEWAY_TTL.as_millis() as u64),
            heartbeat_interval_ms: Some(RENEWAL_INTERVAL.as_millis() as u64),
            connections: 0,
        }
    }

    fn leave(&mut self) -> LeaseAnswer {
        let connections = self.end_owned();
        LeaseAnswer { status: LeaseStatus::Left, connections, ..LeaseAnswer::default() }
    }

    /// Ends the gateway's lease and those of its connections.
    fn end_owned(&mut self) -> u64 {
        let Some(gateways) = &mut self.gateways else { return 0 };
        gateways.expires_at = None;
        let owned = std::mem::take(&mut gateways.owned);
        let ended = owned.into_iter().filter(|connection| self.leases.remove(connection).is_some()).count();
        self.end_records();
        ended as u64
    }

    pub(super) fn expire_gateway(&mut self, now: Instant) {
        let gateways = self.gateways.as_ref();
        if gateways.and_then(|gateways| gateways.expires_at).is_some_and(|expires_at| expires_at < now) {
            self.end_owned();
        }
    }

    /// Notes which connections belong to the gateway.
    pub(super) fn take_name(&mut self, call: &Call) -> Result<(), CallError> {
        if call.gateway.is_none() {
            return Ok(());
        }
        let Some(gateways) = self.gateways.as_mut().filter(|gateways| !gateways.refuses_names) else {
            return Err(problem(400, Some("gateway_id")));
        };
        gateways.owned.extend(call.tasks.iter().filter_map(|(player, task)| task.connection(player)));
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
        self.gateways().log.iter().filter_map(|(_, leaving)| *leaving).collect()
    }

    fn drain(&mut self, reason: Reason) {
        self.desk.drain(reason, DRAIN_LIMIT, self.now);
    }

    fn with_connections(connections: usize) -> Self {
        let mut simulation = Self::with_lease();
        (0..connections).for_each(|number| simulation.connect(number));
        simulation.run(SECOND);
        simulation
    }
}

#[test]
fn the_lease_is_renewed_at_the_interval_that_the_service_asks_for() {
    let mut simulation = Simulation::with_connections(10);
    simulation.run(58 * SECOND);
    let calls = simulation.lease_calls();
    assert_eq!((calls.len(), calls[0]), (24, Duration::ZERO));
    assert!(calls.windows(2).all(|pair| pair[1] - pair[0] == RENEWAL_INTERVAL), "{calls:?}");
    assert!(simulation.service.log.iter().all(|received| received.is_owned));
    assert_eq!(simulation.desk.stats().restored, 0);
}

#[test]
fn a_renewal_that_fails_is_made_again_well_before_the_lease_expires() {
    let mut simulation = Simulation::with_connections(10);
    simulation.gateways().failures = (0..3).map(|_| (problem(503, None), false)).collect();
    simulation.run(20 * SECOND);
    assert_eq!(simulation.service.leases.len(), 10);
    assert_eq!(simulation.desk.stats().restored, 0);
    let calls = simulation.lease_calls();
    let pauses: Vec<_> = calls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let retries = (RENEWAL_INTERVAL / 5)..=(RENEWAL_INTERVAL * 2 / 5 + SECOND / 100);
    assert!(pauses[1..4].iter().all(|pause| retries.contains(pause)), "{pauses:?}");
}

#[test]
fn all_connections_are_announced_within_seconds_after_the_service_lost_its_data_and_not_all_at_once() {
    let mut simulation = Simulation::with_connections(10_000);
    simulation.run(2 * INTERVAL);
    simulation.service.log.clear();
    simulation.service.flush();
    simulation.run(RENEWAL_INTERVAL + 5 * SECOND);
    assert_eq!(simulation.service.leases.len(), 10_000);
    let calls = simulation.calls(Kind::Beat);
    assert!(calls.iter().all(|(_, size)| *size <= 1_000), "{calls:?}");
    assert!(calls.len() <= 10 + 6, "the announcement, and the regular heartbeats until then: {calls:?}");
    // No connection is announced twice: from here on the pace is as it was.
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    let calls = simulation.calls(Kind::Beat);
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
    // The renewal after the flush is answered before the connect.
    simulation.latency = SECOND / 10;
    simulation.run(RENEWAL_INTERVAL + 4 * SECOND);
    assert!(simulation.service.leases.contains_key(&Connection::new(&player(2), &connection(2))));
}

#[test]
fn players_of_a_gateway_that_was_thought_dead_return_with_their_states() {
    let mut simulation = Simulation::with_connections(100);
    simulation.set_state(1, State::InMatch);
    simulation.run(2 * SECOND);
    // The whole process stands still.
    simulation.now += 30 * SECOND;
    let now = simulation.now;
    simulation.service.expire(now);
    assert_eq!(simulation.service.leases.len(), 0);
    simulation.run(SECOND);
    assert_eq!(simulation.service.leases.len(), 100);
    assert_eq!(simulation.state(1), State::InMatch);
}

#[test]
fn an_old_service_gets_the_same_calls_as_without_a_lease_and_is_asked_again_ever_less_often() {
    let mut simulation = Simulation::with_lease();
    simulation.service.gateways = None;
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(600 * SECOND);
    assert_eq!(simulation.service.leases.len(), 10);
    assert_eq!(simulation.desk.stats().dropped, 0);
    simulation.service.gateways = Some(Gateways::default());
    simulation.run(61 * SECOND + INTERVAL);
    let owned = simulation.gateways().owned.len();
    assert_eq!(owned, 10, "after the service was replaced by a new one");
    simulation.service.log.clear();
    simulation.run(INTERVAL);
    assert!(simulation.service.log.iter().all(|received| received.is_owned));
}

#[test]
fn a_connect_that_an_old_service_refuses_for_its_gateway_is_sent_again_without_at_once() {
    let mut simulation = Simulation::with_lease();
    simulation.gateways().refuses_names = true;
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    assert_eq!(simulation.service.leases.len(), 10);
    assert_eq!(simulation.calls(Kind::Connect).len(), 2);
    simulation.run(60 * SECOND);
    let refused = simulation.service.log.iter().filter(|received| received.is_owned).count();
    assert!(refused <= 2, "{refused}");
    assert_eq!(simulation.desk.stats().dropped, 0);
}

#[test]
fn draining_ends_everything_in_one_call() {
    let mut simulation = Simulation::with_connections(10_000);
    simulation.run(INTERVAL);
    simulation.service.log.clear();
    simulation.drain(Reason::Moving);
    (0..5_000).for_each(|number| simulation.disconnect(number, Reason::Lost)); // their sockets are closed
    simulation.run(SECOND);
    assert_eq!(simulation.leave_calls(), [Reason::Moving]);
    assert_eq!(simulation.service.log.len(), 0);
    assert_eq!((simulation.service.leases.len(), simulation.desk.undelivered()), (0, 0));
    (5_000..10_000).for_each(|number| simulation.disconnect(number, Reason::Lost));
    simulation.run(10 * INTERVAL);
    assert_eq!((simulation.service.log.len(), simulation.desk.next_call_at()), (0, None), "nothing follows");
}

#[test]
fn what_waits_is_delivered_before_the_lease_ends() {
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
    assert_eq!((simulation.received(1).len(), simulation.received(11).len()), (2, 0));
    let closed: Vec<_> = (0..12).filter(|n| simulation.service.closed.contains(&of(*n))).collect();
    assert_eq!(closed, [2, 3], "both before the drain, and by players who quit");
    assert_eq!(simulation.leave_calls(), [Reason::Moving]);
    assert_eq!(simulation.desk.undelivered(), 0);
}

#[test]
fn no_heartbeat_is_in_flight_when_the_lease_ends_nor_sent_later() {
    let mut simulation = Simulation::with_connections(3_000);
    simulation.latency = SECOND;
    simulation.run(INTERVAL);
    let calls = simulation.calls(Kind::Beat).len();
    simulation.drain(Reason::Moving);
    simulation.run(5 * SECOND);
    assert_eq!(simulation.calls(Kind::Beat).len(), calls);
    let (left_at, _) = *simulation.gateways().log.last().unwrap();
    let (last_at, _) = *simulation.calls(Kind::Beat).last().unwrap();
    assert!(left_at >= last_at + SECOND, "{left_at:?} {last_at:?}");
    assert_eq!(simulation.service.leases.len(), 0);
}

#[test]
fn an_end_that_failed_is_repeated_and_connections_that_it_may_have_missed_are_disconnected() {
    for took_effect in [false, true] {
        let mut simulation = Simulation::with_connections(10);
        simulation.gateways().failures = vec![(CallError::TimedOut, took_effect)];
        simulation.drain(Reason::Moving);
        simulation.run(2 * SECOND);
        assert_eq!(simulation.leave_calls(), [Reason::Moving; 2], "{took_effect}");
        assert_eq!((simulation.service.leases.len(), simulation.desk.undelivered()), (0, 0));
        // The second call ends no lease: the notifier cannot know that the first one did.
        assert_eq!(simulation.calls(Kind::Moving).len(), usize::from(took_effect));
    }
}

#[test]
fn connections_that_the_service_does_not_count_to_the_gateway_are_disconnected() {
    let mut simulation = Simulation::with_connections(10);
    simulation.gateways().owned.remove(&of(7));
    simulation.drain(Reason::Moving);
    simulation.run(SECOND);
    assert_eq!(simulation.service.leases.len(), 0);
    assert_eq!(simulation.calls(Kind::Moving).len(), 1);
}

#[test]
fn a_service_that_fails_other_calls_does_not_keep_the_lease_from_ending_in_time() {
    let mut simulation = Simulation::with_connections(10);
    simulation.service.fails =
        Some(Box::new(|call| (call.kind == Kind::SetState).then(|| Failure::Before(problem(503, None)))));
    simulation.set_state(1, State::Away);
    simulation.run(SECOND);
    simulation.drain(Reason::Moving);
    simulation.run(DRAIN_LIMIT / 2 + SECOND);
    assert_eq!(simulation.leave_calls(), [Reason::Moving]);
    assert_eq!(simulation.service.leases.len(), 0);
    assert_eq!(simulation.desk.undelivered(), 2, "the state, and the disconnect behind it");
}

#[test]
fn draining_by_an_old_service_disconnects_with_a_reason_that_it_knows() {
    let mut simulation = Simulation::with_lease();
    simulation.service.gateways = None;
    simulation.latency = SECOND / 10;
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND / 50);
    simulation.drain(Reason::Moving); // before the first answer
    simulation.run(SECOND);
    assert_eq!((simulation.calls(Kind::Lost).len(), simulation.calls(Kind::Moving).len()), (1, 0));
    assert_eq!((simulation.service.leases.len(), simulation.desk.undelivered()), (0, 0));
}

#[test]
fn draining_without_a_lease_says_moving_in_each_disconnect() {
    let mut simulation = Simulation::new();
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.drain(Reason::Moving);
    simulation.run(SECOND);
    assert_eq!(simulation.calls(Kind::Moving).len(), 1);
    assert_eq!(simulation.service.leases.len(), 0);
}

#[test]
fn a_gateway_without_connections_leaves_as_well() {
    let mut simulation = Simulation::with_lease();
    simulation.run(SECOND);
    simulation.drain(Reason::Quit);
    assert_eq!(simulation.desk.undelivered(), 1);
    simulation.run(SECOND);
    assert_eq!((simulation.leave_calls(), simulation.desk.undelivered()), (vec![Reason::Quit], 0));
}

#[test]
fn connections_outlast_a_lease_that_cannot_be_renewed() {
    let mut simulation = Simulation::with_connections(10);
    let (start, end) = (simulation.now, simulation.now + 2 * TTL);
    simulation.gateways().failures = (0..200).map(|_| (CallError::TimedOut, false)).collect();
    while simulation.now < end {
        simulation.run(INTERVAL);
        assert_eq!(simulation.service.leases.len(), 10, "heartbeats restore them: {:?}", simulation.now - start);
    }
}

fn of(number: usize) -> Connection {
    Connection::new(&player(number), &connection(number))
}
