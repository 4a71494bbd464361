//! A desk and a model of the service, in a time of their own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::call::{Answer, Call, Connection, Kind, Task},
    Desk, Pace,
};
use crate::{CallError, ConnectionId, PlayerId, Problem, Reason, State};

pub(super) const INTERVAL: Duration = Duration::from_secs(15);
pub(super) const TTL: Duration = Duration::from_secs(45);

pub(super) struct Simulation {
    pub(super) desk: Desk,
    pub(super) service: Service,
    pub(super) now: Instant,
    pub(super) reported: Vec<Connection>,
    start: Instant,
    pub(super) latency: Duration,
    under_way: BTreeMap<(Instant, u64), (Call, Answered)>,
    calls: u64,
}

/// The service, as far as its rules about connections go.
#[derive(Default)]
pub(super) struct Service {
    pub(super) leases: HashMap<Connection, Instant>,
    pub(super) closed: HashSet<Connection>,
    pub(super) states: HashMap<PlayerId, State>,
    pub(super) log: Vec<Told>,
    /// Fails a call as a whole: before it took effect, or after.
    pub(super) fails: Option<Box<Fails>>,
    /// Its store's node for these does not answer.
    pub(super) failing: HashSet<PlayerId>,
}

/// A call that arrived, and how long after the start.
pub(super) struct Told {
    pub(super) at: Duration,
    pub(super) kind: Kind,
    pub(super) tasks: Vec<(PlayerId, Task)>,
}

type Answered = Result<Answer, CallError>;
type Fails = dyn FnMut(&Call) -> Option<Failure>;

pub(super) enum Failure {
    Before(CallError),
    After(CallError),
}

impl Simulation {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let pace = Pace { heartbeat_interval: INTERVAL, ttl: TTL, max_batch: 1_000 };
        Self {
            desk: Desk::new(&pace, now),
            service: Service::default(),
            now,
            reported: Vec::new(),
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

    /// Lets so much time go by.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while let Some(call) = self.desk.next_call(self.now) {
                let result = self.service.answer(&call, self.now, self.now - self.start);
                self.calls += 1;
                self.under_way.insert((self.now + self.latency, self.calls), (call, result));
            }
            let answer_at = self.under_way.first_key_value().map(|((at, _), _)| *at);
            let next = [answer_at, self.desk.next_call_at()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if answer_at.is_some_and(|at| at <= self.now)
                && let Some((_, (call, result))) = self.under_way.pop_first()
            {
                self.reported.extend(self.desk.settle(call, result, self.now));
            }
        }
        self.now = end;
    }

    /// The times of the calls of a kind since the start, and how many tasks they had.
    pub(super) fn calls(&self, kind: Kind) -> Vec<(Duration, usize)> {
        let calls = self.service.log.iter().filter(|told| told.kind == kind);
        calls.map(|told| (told.at, told.tasks.len())).collect()
    }

    /// What was told about one player, heartbeats apart.
    pub(super) fn told(&self, number: usize) -> Vec<Task> {
        let tasks = self.service.log.iter().flat_map(|told| &told.tasks);
        let tasks = tasks.filter(|(of, task)| *of == player(number) && task.kind() != Kind::Beat);
        tasks.map(|(_, task)| task.clone()).collect()
    }

    /// Makes the service unreachable, or reachable again.
    pub(super) fn set_down(&mut self, is_down: bool) {
        self.service.fails = is_down.then(|| Box::new(|_: &Call| Some(Failure::Before(CallError::TimedOut))) as Box<_>);
    }
}

impl Service {
    fn answer(&mut self, call: &Call, now: Instant, since_start: Duration) -> Answered {
        self.log.push(Told { at: since_start, kind: call.kind, tasks: call.tasks.clone() });
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

    fn apply(&mut self, call: &Call, now: Instant) -> Answered {
        self.leases.retain(|_, expiry| *expiry > now);
        let mut answer = Answer::default();
        for (player, task) in &call.tasks {
            match (task.connection(player), task) {
                (Some(connection), _) if self.failing.contains(player) => answer.failed.push(connection),
                (Some(connection), Task::Disconnect(..)) => {
                    self.leases.remove(&connection);
                    self.closed.insert(connection);
                }
                (Some(connection), _) if self.closed.contains(&connection) => answer.closed.push(connection),
                (Some(connection), _) => {
                    self.leases.insert(connection, now + TTL);
                }
                (None, Task::SetState(State::Offline)) => {
                    let (gone, left) = self.leases.drain().partition(|(lease, _)| lease.player_id == *player);
                    self.leases = left;
                    self.closed.extend(HashMap::into_keys(gone));
                }
                (None, Task::SetState(state)) => {
                    let is_online = self.leases.keys().any(|lease| lease.player_id == *player);
                    if !is_online && matches!(state, State::InMatch | State::InQueue) {
                        return Err(problem(409, None));
                    }
                    self.states.insert(player.clone(), *state);
                }
                (None, _) => {}
            }
        }
        Ok(answer)
    }
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
