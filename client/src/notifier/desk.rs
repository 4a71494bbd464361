//! Decides which call is made next, and when. No I/O and no clock: time is passed in.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use super::{
    Stats,
    beats::Beats,
    call::{Answer, Call, Connection, Kind, Task},
    gate::Gate,
    outcome::{Outcome, Verdict},
    players::Players,
};
use crate::{CallError, ConnectionId, PlayerId, Reason, State};

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// How often old tasks are looked for.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(5);

/// For how long a node of the service's store that did not answer is left alone: 1–2 s.
const NODE_PAUSES: ExponentialBuilder = ExponentialBuilder::new().with_min_delay(Duration::from_secs(1)).with_jitter();

/// How the heartbeats go.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// How often the service is told of an open connection. One that answers a connect with its own interval is obeyed.
    pub(super) heartbeat_interval: Duration,
    /// How long a lease lasts, likewise.
    pub(super) ttl: Duration,
    /// The most tasks of one call.
    pub(super) max_batch: usize,
}

/// What is to be told to the service.
#[derive(Debug)]
pub(super) struct Desk {
    players: Players,
    gates: [Gate; Kind::ALL.len()],
    ttl: Duration,
    max_batch: usize,
    cleaned_up_at: Instant,
    /// When the tasks are told again that the service could not see to, though to others of their calls.
    failed_again_at: Instant,
    is_draining: bool,
    stats: Stats,
}

impl Desk {
    pub(super) fn new(pace: &Pace, now: Instant) -> Self {
        Self {
            players: Players::new(Beats::new(pace.heartbeat_interval, now)),
            gates: Kind::ALL.map(|kind| Gate::new(kind.width())),
            ttl: pace.ttl,
            max_batch: pace.max_batch,
            cleaned_up_at: now,
            failed_again_at: now,
            is_draining: false,
            stats: Stats::default(),
        }
    }

    pub(super) fn connected(&mut self, player: &PlayerId, id: &ConnectionId, now: Instant) {
        if !self.is_draining {
            self.players.connected(player, id, now);
        }
    }

    pub(super) fn state_changed(&mut self, player: &PlayerId, state: State, now: Instant) {
        self.players.state_changed(player, state, now);
    }

    pub(super) fn disconnected(&mut self, player: &PlayerId, id: &ConnectionId, reason: Reason, now: Instant) {
        self.players.disconnected(player, id, reason, now);
    }

    /// Disconnects all, and takes no new connections.
    pub(super) fn drain(&mut self, reason: Reason, now: Instant) {
        self.is_draining = true;
        for Connection { player_id, connection_id } in self.players.open() {
            self.players.disconnected(&player_id, &connection_id, reason, now);
        }
    }

    /// The number of tasks that are not through yet.
    pub(super) fn undelivered(&self) -> usize {
        if self.players.is_empty() { 0 } else { self.players.count().1 }
    }

    /// A call to make now. Its answer has to be [settled](Self::settle).
    pub(super) fn next_call(&mut self, now: Instant) -> Option<Call> {
        self.give_up_old_tasks(now);
        let kind = Kind::ALL.into_iter().find(|kind| self.call_at(*kind).is_some_and(|at| at <= now))?;
        let tasks = self.players.take(kind, self.max_batch, now, &mut self.stats);
        self.gates[kind as usize].enter();
        self.stats.calls += 1;
        Some(Call { kind, tasks })
    }

    /// When to ask for the next call, if nothing happens until then.
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        Kind::ALL.into_iter().filter_map(|kind| self.call_at(kind)).min()
    }

    /// Learns from the answer to a call. Returns the connections that the service closed while the gateway has them
    /// open.
    pub(super) fn settle(&mut self, call: Call, result: Result<Answer, CallError>, now: Instant) -> Vec<Connection> {
        let outcome = Outcome::of(&call, &result);
        let mut again_at = now;
        match &result {
            Ok(answer) => {
                self.settle_success(call.kind, answer);
                again_at = self.failed_again_at(now);
            }
            Err(error) => self.settle_failure(call.kind, error, now),
        }
        if outcome.was_too_large {
            self.max_batch = self.max_batch.min(call.tasks.len() / 2).max(1);
        }
        let mut closed = Vec::new();
        for (player, task) in call.tasks {
            let verdict = outcome.verdict(&player, &task);
            self.count(&task, verdict);
            closed.extend(self.players.settle(player, &task, verdict, again_at, now));
        }
        self.stats.closed += closed.len() as u64;
        closed
    }

    pub(super) fn stats(&self) -> Stats {
        let (open, tasks) = self.players.count();
        Stats { open_connections: open as u64, queue_length: tasks as u64, ..self.stats }
    }

    fn call_at(&self, kind: Kind) -> Option<Instant> {
        self.gates[kind as usize].passes_at(self.players.ready_at(kind, self.max_batch)?)
    }

    fn count(&mut self, task: &Task, verdict: Verdict) {
        match (task, verdict) {
            (Task::Beat(_), Verdict::Done) => self.stats.beats += 1,
            (Task::Beat(_), Verdict::Again) => self.stats.retries += 1,
            (_, Verdict::Refused | Verdict::Invalid) => self.stats.dropped += 1,
            _ => {}
        }
    }

    fn settle_success(&mut self, kind: Kind, answer: &Answer) {
        let gate = &mut self.gates[kind as usize];
        if gate.is_failing() {
            tracing::info!(?kind, "presence calls work again");
        }
        gate.leave();
        if let Some(interval) = answer.heartbeat_interval() {
            self.players.beats.set_interval(interval);
        }
        if let Some(ttl) = answer.ttl() {
            self.ttl = ttl;
        }
        self.stats.restored += answer.restored.len() as u64;
    }

    fn settle_failure(&mut self, kind: Kind, error: &CallError, now: Instant) {
        self.stats.failures += 1;
        let gate = &mut self.gates[kind as usize];
        let is_news = !gate.is_failing();
        if error.is_transient() {
            gate.leave_failing(now, error.retry_after());
        } else {
            gate.leave();
        }
        match error {
            CallError::Problem(problem) if matches!(problem.status, 409 | 410) => {
                tracing::debug!(?kind, %error, "presence call refused");
            }
            error if is_news => tracing::warn!(?kind, error = error as &dyn std::error::Error, "presence call failed"),
            error => tracing::debug!(?kind, %error, "presence call failed again"),
        }
    }

    /// Twice a lease's time after a task came up, all that it could change has run out by itself: a connection that
    /// could not be closed is no longer counted; one that could not be opened is restored by its heartbeats; and a
    /// state would be set on another record than the one it was meant for.
    fn give_up_old_tasks(&mut self, now: Instant) {
        if now < self.cleaned_up_at + CLEAN_UP_INTERVAL {
            return;
        }
        self.cleaned_up_at = now;
        if let Some(oldest) = now.checked_sub(self.ttl.saturating_mul(2)) {
            self.stats.dropped += self.players.give_up(oldest, now);
        }
    }

    /// One time for all that failed of late, so that few calls are enough.
    fn failed_again_at(&mut self, now: Instant) -> Instant {
        if self.failed_again_at <= now {
            self.failed_again_at = now + NODE_PAUSES.build().next().unwrap_or_default();
        }
        self.failed_again_at
    }
}
