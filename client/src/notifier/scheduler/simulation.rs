//! Simulation for the tests: a scheduler and a model of the service, in simulated time.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{
        call::{Call, CallResponse, Connection, Notice, Task, TaskKind},
        lease::{LeaseCall, LeaseResponse},
    },
    CallScheduler, Timing,
    leases::Gateways,
};
use crate::{Activity, CallError, ConnectionId, GatewayId, PlayerId, Problem, Reason, State};

pub(super) const INTERVAL: Duration = Duration::from_secs(15);
pub(super) const TTL: Duration = Duration::from_secs(45);

pub(super) struct Simulation {
    pub(super) scheduler: CallScheduler,
    pub(super) service: Service,
    pub(super) now: Instant,
    /// The connections that the gateway was notified of as closed.
    pub(super) closed_notices: Vec<Connection>,
    /// The connections that the gateway was notified of as restored.
    pub(super) restored_notices: Vec<Connection>,
    start: Instant,
    /// The time between a call and its response.
    pub(super) latency: Duration,
    /// By the time at which the response arrives; calls with the same time are numbered.
    in_flight: BTreeMap<(Instant, u64), PendingResponse>,
    calls: u64,
}

/// A call whose response has not arrived yet.
enum PendingResponse {
    Call(Call, Result<CallResponse, CallError>),
    LeaseCall(LeaseCall, Result<LeaseResponse, CallError>),
}

/// Model of the service: its rules about connections, states and activities.
#[derive(Default)]
pub(super) struct Service {
    pub(super) leases: HashMap<Connection, Instant>,
    pub(super) closed: HashSet<Connection>,
    /// State and expiry of the players who are not OFFLINE.
    records: HashMap<PlayerId, (State, Instant)>,
    /// The activities of players who are not OFFLINE.
    activities: HashMap<PlayerId, Activity>,
    /// Leases of gateways, if the service supports them.
    pub(super) gateways: Option<Gateways>,
    /// Returned in each response.
    pub(super) heartbeat_interval: Option<Duration>,
    pub(super) log: Vec<ReceivedCall>,
    /// Decides whether a call fails as a whole.
    pub(super) inject_fault: Option<Box<InjectFault>>,
    /// Players whose node of the store does not respond.
    pub(super) unavailable: HashSet<PlayerId>,
}

/// A call that the service received.
pub(super) struct ReceivedCall {
    /// The time since the start.
    pub(super) at: Duration,
    pub(super) kind: TaskKind,
    pub(super) tasks: Vec<(PlayerId, Task)>,
    pub(super) names_gateway: bool,
    /// How long the task that had been due longest waited.
    pub(super) waited: Duration,
}

type InjectFault = dyn FnMut(&Call) -> Option<Fault>;

/// Failure of a call.
pub(super) enum Fault {
    /// The call does not take effect.
    Before(CallError),
    /// The call takes effect, but its response is lost.
    After(CallError),
}

impl Simulation {
    pub(super) fn new() -> Self {
        Self::with_gateway(None)
    }

    /// A simulation with a gateway's lease.
    pub(super) fn with_lease() -> Self {
        let mut simulation = Self::with_gateway(Some(GatewayId::parse("g1").unwrap()));
        simulation.service.gateways = Some(Gateways::default());
        simulation
    }

    fn with_gateway(gateway: Option<GatewayId>) -> Self {
        let now = Instant::now();
        let timing = Timing {
            heartbeat_interval: INTERVAL,
            ttl: TTL,
            max_batch: 1_000,
        };
        Self {
            scheduler: CallScheduler::new(&timing, gateway, now),
            service: Service::default(),
            now,
            closed_notices: Vec::new(),
            restored_notices: Vec::new(),
            start: now,
            latency: Duration::from_millis(2),
            in_flight: BTreeMap::new(),
            calls: 0,
        }
    }

    pub(super) fn connect(&mut self, number: usize) {
        self.scheduler
            .connected(&player(number), &connection(number), self.now);
    }

    pub(super) fn disconnect(&mut self, number: usize, reason: Reason) {
        self.scheduler
            .disconnected(&player(number), &connection(number), reason, self.now);
    }

    pub(super) fn set_state(&mut self, number: usize, state: State) {
        self.scheduler
            .state_changed(&player(number), state, self.now);
    }

    pub(super) fn set_activity(&mut self, number: usize, activity: Option<Activity>) {
        self.scheduler
            .activity_changed(&player(number), activity, self.now);
    }

    /// The activity of a player, according to the service.
    pub(super) fn activity(&mut self, number: usize) -> Option<Activity> {
        self.service.expire(self.now);
        self.service.activities.get(&player(number)).cloned()
    }

    /// Runs the simulation for this long.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(pending) = self.next_call() {
                self.calls += 1;
                self.in_flight
                    .insert((self.now + self.latency, self.calls), pending);
            }
            let response_at = self.in_flight.first_key_value().map(|((at, _), _)| *at);
            let next = [response_at, self.scheduler.next_call_at()]
                .into_iter()
                .flatten()
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if response_at.is_some_and(|at| at <= self.now)
                && let Some((_, pending)) = self.in_flight.pop_first()
            {
                self.settle(pending);
            }
        }
        self.now = end;
    }

    fn next_call(&mut self) -> Option<PendingResponse> {
        let since_start = self.now - self.start;
        if let Some(call) = self.scheduler.next_lease_call(self.now) {
            let result = self
                .service
                .respond_to_lease_call(&call, self.now, since_start);
            return Some(PendingResponse::LeaseCall(call, result));
        }
        let call = self.scheduler.next_call(self.now)?;
        let result = self.service.respond(&call, self.now, since_start);
        Some(PendingResponse::Call(call, result))
    }

    fn settle(&mut self, pending: PendingResponse) {
        match pending {
            PendingResponse::LeaseCall(call, result) => {
                self.scheduler.settle_lease(&call, &result, self.now)
            }
            PendingResponse::Call(call, result) => {
                let notices = self.scheduler.settle(call, result, self.now);
                self.record_notices(notices);
            }
        }
    }

    fn record_notices(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Closed(connection) => self.closed_notices.push(connection),
                Notice::Restored(connection) => self.restored_notices.push(connection),
            }
        }
    }

    /// The calls of a kind: the time since the start, and the number of tasks.
    pub(super) fn calls(&self, kind: TaskKind) -> Vec<(Duration, usize)> {
        let calls = self
            .service
            .log
            .iter()
            .filter(|received| received.kind == kind);
        calls
            .map(|received| (received.at, received.tasks.len()))
            .collect()
    }

    /// The tasks of one player that the service received, except heartbeats.
    pub(super) fn received(&self, number: usize) -> Vec<Task> {
        let all_tasks = self.service.log.iter().flat_map(|received| &received.tasks);
        let tasks_of_player = all_tasks
            .filter(|(owner, task)| *owner == player(number) && task.kind() != TaskKind::Heartbeat);
        tasks_of_player.map(|(_, task)| task.clone()).collect()
    }

    /// The times since the start at which a player's activity was sent.
    pub(super) fn activity_calls(&self, number: usize) -> Vec<Duration> {
        let calls = self
            .service
            .log
            .iter()
            .filter(|received| received.kind == TaskKind::SetActivity);
        calls
            .filter(|received| received.tasks[0].0 == player(number))
            .map(|received| received.at)
            .collect()
    }

    /// The state of a player, according to the service.
    pub(super) fn state(&mut self, number: usize) -> State {
        self.service.expire(self.now);
        self.service
            .records
            .get(&player(number))
            .map_or(State::Offline, |(state, _)| *state)
    }

    /// Makes the service unreachable, or reachable again.
    pub(super) fn set_down(&mut self, is_down: bool) {
        let fail = |_: &Call| Some(Fault::Before(CallError::TimedOut));
        self.service.inject_fault = is_down.then(|| Box::new(fail) as Box<_>);
    }
}

impl Service {
    fn respond(
        &mut self,
        call: &Call,
        now: Instant,
        since_start: Duration,
    ) -> Result<CallResponse, CallError> {
        let names_gateway = call.gateway.is_some();
        let waited = call.sent_at - call.due_at;
        let tasks = call.tasks.clone();
        self.log.push(ReceivedCall {
            at: since_start,
            kind: call.kind,
            tasks,
            names_gateway,
            waited,
        });
        match self
            .inject_fault
            .as_mut()
            .and_then(|inject_fault| inject_fault(call))
        {
            Some(Fault::Before(error)) => return Err(error),
            Some(Fault::After(error)) => {
                let _ = self.apply(call, now);
                return Err(error);
            }
            None => {}
        }
        self.apply(call, now)
    }

    /// Loses all data, like a store that was flushed.
    pub(super) fn flush(&mut self) {
        self.leases.clear();
        self.closed.clear();
        self.records.clear();
        self.activities.clear();
        self.gateways.iter_mut().for_each(Gateways::flush);
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.expire_gateway(now);
        self.leases.retain(|_, expires_at| *expires_at > now);
        self.records.retain(|_, (_, expires_at)| *expires_at > now);
        self.end_activities();
    }

    /// Removes the records of players without a lease.
    pub(super) fn end_records(&mut self) {
        let connected: HashSet<_> = self
            .leases
            .keys()
            .map(|lease| lease.player_id.clone())
            .collect();
        self.records.retain(|player, _| connected.contains(player));
    }

    fn end_activities(&mut self) {
        self.activities
            .retain(|player, _| self.records.contains_key(player));
    }

    fn apply(&mut self, call: &Call, now: Instant) -> Result<CallResponse, CallError> {
        self.expire(now);
        self.record_owner(call)?;
        let mut response = CallResponse {
            heartbeat_interval_ms: self.heartbeat_interval.map(ms),
            ..CallResponse::default()
        };
        for (player, task) in &call.tasks {
            match (task.connection(player), task) {
                (Some(connection), _) if self.unavailable.contains(player) => {
                    response.failed.push(connection)
                }
                (Some(connection), Task::Disconnect(..)) => self.disconnect(connection),
                (Some(connection), _) if self.closed.contains(&connection) => {
                    response.closed.push(connection)
                }
                (Some(connection), _) => {
                    if self.renew(connection.clone(), now) && matches!(task, Task::Heartbeat(_)) {
                        response.restored.push(connection);
                    }
                }
                (None, Task::SetState(state)) => self.set_state(player, *state, now)?,
                (None, Task::SetActivity(activity)) => {
                    self.set_activity(player, activity.clone())?
                }
                (None, _) => {}
            }
            self.end_activities();
        }
        Ok(response)
    }

    /// Renews a connection's lease. Returns whether the lease is new.
    fn renew(&mut self, connection: Connection, now: Instant) -> bool {
        let record = self
            .records
            .entry(connection.player_id.clone())
            .or_insert((State::Online, now));
        record.1 = now + TTL;
        self.leases.insert(connection, now + TTL).is_none()
    }

    fn disconnect(&mut self, connection: Connection) {
        let had_lease = self.leases.remove(&connection).is_some();
        let remaining = self
            .leases
            .iter()
            .filter(|(lease, _)| lease.player_id == connection.player_id);
        let last_expiry = remaining.map(|(_, expires_at)| *expires_at).max();
        match (
            had_lease,
            last_expiry,
            self.records.get_mut(&connection.player_id),
        ) {
            (true, Some(last_expiry), Some((_, expires_at))) => *expires_at = last_expiry,
            (true, None, _) => _ = self.records.remove(&connection.player_id),
            _ => {}
        }
        self.closed.insert(connection);
    }

    fn set_state(
        &mut self,
        player: &PlayerId,
        state: State,
        now: Instant,
    ) -> Result<(), CallError> {
        match (state, self.records.get_mut(player)) {
            (State::Offline, _) => {
                let (closed, remaining) = self
                    .leases
                    .drain()
                    .partition(|(lease, _)| lease.player_id == *player);
                self.leases = remaining;
                self.closed.extend(HashMap::into_keys(closed));
                self.records.remove(player);
            }
            (state, Some(record)) => record.0 = state,
            (State::InMatch | State::InQueue, None) => return Err(problem(409, None)),
            (state, None) => _ = self.records.insert(player.clone(), (state, now + TTL)),
        }
        Ok(())
    }

    fn set_activity(
        &mut self,
        player: &PlayerId,
        activity: Option<Activity>,
    ) -> Result<(), CallError> {
        match activity {
            Some(_) if !self.records.contains_key(player) => return Err(problem(409, None)),
            Some(activity) => _ = self.activities.insert(player.clone(), activity),
            None => _ = self.activities.remove(player),
        }
        Ok(())
    }
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

pub(super) fn player(number: usize) -> PlayerId {
    PlayerId::parse(&format!("p{number}")).unwrap()
}

pub(super) fn connection(number: usize) -> ConnectionId {
    ConnectionId::parse(&format!("c{number}")).unwrap()
}

pub(super) fn problem(status: u16, field: Option<&str>) -> CallError {
    let body = serde_json::json!({ "type": "urn:presence:test", "field": field });
    let mut response = http::Response::new(body.to_string().into());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    Problem::from_response(&response).into()
}
