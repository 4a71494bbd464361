//! A desk and a model of the service, in a time of their own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{
        call::{Answer, Call, Connection, Kind, Notice, Task},
        lease::{LeaseAnswer, LeaseCall},
    },
    Desk, Pace,
    leases::Gateways,
};
use crate::{Activity, CallError, ConnectionId, GatewayId, PlayerId, Problem, Reason, State};

pub(super) const INTERVAL: Duration = Duration::from_secs(15);
pub(super) const TTL: Duration = Duration::from_secs(45);

pub(super) struct Simulation {
    pub(super) desk: Desk,
    pub(super) service: Service,
    pub(super) now: Instant,
    /// The connections of which the gateway heard that they are closed, or restored.
    pub(super) reported: Vec<Connection>,
    pub(super) restored: Vec<Connection>,
    start: Instant,
    pub(super) latency: Duration,
    under_way: BTreeMap<(Instant, u64), Answered>,
    calls: u64,
}

/// A call whose answer is on its way.
enum Answered {
    Call(Call, Result<Answer, CallError>),
    LeaseCall(LeaseCall, Result<LeaseAnswer, CallError>),
}

/// The service, as far as its rules about connections go.
#[derive(Default)]
pub(super) struct Service {
    pub(super) leases: HashMap<Connection, Instant>,
    pub(super) closed: HashSet<Connection>,
    /// The players who are not OFFLINE, each with the end of the record.
    records: HashMap<PlayerId, (State, Instant)>,
    /// Of players who are not OFFLINE.
    activities: HashMap<PlayerId, Activity>,
    /// Leases of gateways, if the service has them.
    pub(super) gateways: Option<Gateways>,
    /// Added to each answer of a batch.
    pub(super) heartbeat_interval: Option<Duration>,
    pub(super) log: Vec<SentCall>,
    /// Fails a call as a whole: before it took effect, or after.
    pub(super) fails: Option<Box<Fails>>,
    /// Its store's node for these does not answer.
    pub(super) failing: HashSet<PlayerId>,
}

/// A call that arrived, and how long after the start.
pub(super) struct SentCall {
    pub(super) at: Duration,
    pub(super) kind: Kind,
    pub(super) tasks: Vec<(PlayerId, Task)>,
    pub(super) is_owned: bool,
}

type Fails = dyn FnMut(&Call) -> Option<Failure>;

pub(super) enum Failure {
    Before(CallError),
    After(CallError),
}

impl Simulation {
    pub(super) fn new() -> Self {
        Self::of_gateway(None)
    }

    /// A desk that keeps a gateway's lease.
    pub(super) fn with_lease() -> Self {
        let mut simulation = Self::of_gateway(Some(GatewayId::parse("g1").unwrap()));
        simulation.service.gateways = Some(Gateways::default());
        simulation
    }

    fn of_gateway(gateway: Option<GatewayId>) -> Self {
        let now = Instant::now();
        let pace = Pace { heartbeat_interval: INTERVAL, ttl: TTL, max_batch: 1_000 };
        Self {
            desk: Desk::new(&pace, gateway, now),
            service: Service::default(),
            now,
            reported: Vec::new(),
            restored: Vec::new(),
            start: now,
            latency: Duration::from_millis(2),
            under_way: BTreeMap::new(),
            calls: 0,
        }
    }

    pub(super) fn connect(&mut self, number: usize) {
        self.desk.connected(&player(number), &connection(number), self.now);
    }

    pub(super) fn disconnect(&mut self, number: usize, reason: Reason) {
        self.desk.disconnected(&player(number), &connection(number), reason, self.now);
    }

    pub(super) fn set_state(&mut self, number: usize, state: State) {
        self.desk.state_changed(&player(number), state, self.now);
    }

    pub(super) fn set_activity(&mut self, number: usize, activity: Option<Activity>) {
        self.desk.activity_changed(&player(number), activity, self.now);
    }

    /// A player's activity by the service.
    pub(super) fn activity(&mut self, number: usize) -> Option<Activity> {
        self.service.expire(self.now);
        self.service.activities.get(&player(number)).cloned()
    }

    /// Lets so much time go by.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(answered) = self.next_call() {
                self.calls += 1;
                self.under_way.insert((self.now + self.latency, self.calls), answered);
            }
            let answer_at = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let next = [answer_at, self.desk.next_call_at()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if answer_at.is_some_and(|at| at <= self.now)
                && let Some((_, answered)) = self.under_way.pop_first()
            {
                self.settle(answered);
            }
        }
        self.now = end;
    }

    fn next_call(&mut self) -> Option<Answered> {
        let since_start = self.now - self.start;
        if let Some(call) = self.desk.next_lease_call(self.now) {
            let result = self.service.answer_lease_call(&call, self.now, since_start);
            return Some(Answered::LeaseCall(call, result));
        }
        let call = self.desk.next_call(self.now)?;
        let result = self.service.answer(&call, self.now, since_start);
        Some(Answered::Call(call, result))
    }

    fn settle(&mut self, answered: Answered) {
        match answered {
            Answered::LeaseCall(call, result) => self.desk.settle_lease(&call, &result, self.now),
            Answered::Call(call, result) => {
                let notices = self.desk.settle(call, result, self.now);
                self.take(notices);
            }
        }
    }

    fn take(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Closed(connection) => self.reported.push(connection),
                Notice::Restored(connection) => self.restored.push(connection),
            }
        }
    }

    /// The times of the calls of a kind since the start, and how many tasks they had.
    pub(super) fn calls(&self, kind: Kind) -> Vec<(Duration, usize)> {
        let calls = self.service.log.iter().filter(|received| received.kind == kind);
        calls.map(|received| (received.at, received.tasks.len())).collect()
    }

    /// What the service received about one player, except heartbeats.
    pub(super) fn received(&self, number: usize) -> Vec<Task> {
        let tasks = self.service.log.iter().flat_map(|received| &received.tasks);
        let tasks = tasks.filter(|(of, task)| *of == player(number) && task.kind() != Kind::Beat);
        tasks.map(|(_, task)| task.clone()).collect()
    }

    /// When a player's activity was sent, as times since the start.
    pub(super) fn activity_calls(&self, number: usize) -> Vec<Duration> {
        let calls = self.service.log.iter().filter(|received| received.kind == Kind::SetActivity);
        calls.filter(|received| received.tasks[0].0 == player(number)).map(|received| received.at).collect()
    }

    /// A player's state by the service.
    pub(super) fn state(&mut self, number: usize) -> State {
        self.service.expire(self.now);
        self.service.records.get(&player(number)).map_or(State::Offline, |(state, _)| *state)
    }

    /// Makes the service unreachable, or reachable again.
    pub(super) fn set_down(&mut self, is_down: bool) {
        self.service.fails = is_down.then(|| Box::new(|_: &Call| Some(Failure::Before(CallError::TimedOut))) as Box<_>);
    }
}

impl Service {
    fn answer(&mut self, call: &Call, now: Instant, since_start: Duration) -> Result<Answer, CallError> {
        let is_owned = call.gateway.is_some();
        self.log.push(SentCall { at: since_start, kind: call.kind, tasks: call.tasks.clone(), is_owned });
        match self.fails.as_mut().and_then(|fails| fails(call)) {
            Some(Failure::Before(error)) => return Err(error),
            Some(Failure::After(error)) => {
                let _ = self.apply(call, now);
                return Err(error);
            }
            None => {}
        }
        self.apply(call, now)
    }

    /// Loses all data, as a store does that was flushed.
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

    /// Ends the records of players without a lease.
    pub(super) fn end_records(&mut self) {
        let connected: HashSet<_> = self.leases.keys().map(|lease| lease.player_id.clone()).collect();
        self.records.retain(|player, _| connected.contains(player));
    }

    fn end_activities(&mut self) {
        self.activities.retain(|player, _| self.records.contains_key(player));
    }

    fn apply(&mut self, call: &Call, now: Instant) -> Result<Answer, CallError> {
        self.expire(now);
        self.take_name(call)?;
        let mut answer = Answer { heartbeat_interval_ms: self.heartbeat_interval.map(ms), ..Answer::default() };
        for (player, task) in &call.tasks {
            match (task.connection(player), task) {
                (Some(connection), _) if self.failing.contains(player) => answer.failed.push(connection),
                (Some(connection), Task::Disconnect(..)) => self.disconnect(connection),
                (Some(connection), _) if self.closed.contains(&connection) => answer.closed.push(connection),
                (Some(connection), _) => {
                    if self.renew(connection.clone(), now) && matches!(task, Task::Beat(_)) {
                        answer.restored.push(connection);
                    }
                }
                (None, Task::SetState(state)) => self.set_state(player, *state, now)?,
                (None, Task::SetActivity(activity)) => self.set_activity(player, activity.clone())?,
                (None, _) => {}
            }
            self.end_activities();
        }
        Ok(answer)
    }

    /// Says whether the lease is a new one.
    fn renew(&mut self, connection: Connection, now: Instant) -> bool {
        let record = self.records.entry(connection.player_id.clone()).or_insert((State::Online, now));
        record.1 = now + TTL;
        self.leases.insert(connection, now + TTL).is_none()
    }

    fn disconnect(&mut self, connection: Connection) {
        let had_lease = self.leases.remove(&connection).is_some();
        let left = self.leases.iter().filter(|(lease, _)| lease.player_id == connection.player_id);
        let longest = left.map(|(_, expires_at)| *expires_at).max();
        match (had_lease, longest, self.records.get_mut(&connection.player_id)) {
            (true, Some(longest), Some((_, expires_at))) => *expires_at = longest,
            (true, None, _) => _ = self.records.remove(&connection.player_id),
            _ => {}
        }
        self.closed.insert(connection);
    }

    fn set_state(&mut self, player: &PlayerId, state: State, now: Instant) -> Result<(), CallError> {
        match (state, self.records.get_mut(player)) {
            (State::Offline, _) => {
                let (gone, left) = self.leases.drain().partition(|(lease, _)| lease.player_id == *player);
                self.leases = left;
                self.closed.extend(HashMap::into_keys(gone));
                self.records.remove(player);
            }
            (state, Some(record)) => record.0 = state,
            (State::InMatch | State::InQueue, None) => return Err(problem(409, None)),
            (state, None) => _ = self.records.insert(player.clone(), (state, now + TTL)),
        }
        Ok(())
    }
}

impl Service {
    fn set_activity(&mut self, player: &PlayerId, activity: Option<Activity>) -> Result<(), CallError> {
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
    let mut answer = http::Response::new(body.to_string().into());
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    Problem::from_answer(&answer).into()
}
