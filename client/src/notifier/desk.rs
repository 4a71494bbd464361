//! Decides which call is made next, and when. No I/O and no clock: time is passed in.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use self::drain::Drain;
use super::{
    Stats,
    beats::Beats,
    call::{Answer, Call, Connection, Kind, Notice, Task},
    episode::Episode,
    gate::Gate,
    lease::{GatewayLease, LeaseAnswer, LeaseCall, LeaseOutcome},
    outcome::{Outcome, Verdict, is_final},
    players::{Players, Settlement},
};
use crate::{Activity, CallError, ConnectionId, GatewayId, PlayerId, Reason, State};

#[cfg(test)]
mod activities;
#[cfg(test)]
mod chaos;
mod drain;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod states;
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
    max_batch: usize,
    cleaned_up_at: Instant,
    /// When the tasks are told again that the service could not see to, though to others of their calls.
    failed_again_at: Instant,
    /// `None` if connections are reported without a gateway.
    lease: Option<GatewayLease>,
    drain: Drain,
    /// Disconnects and states that were refused or given up since the drain began.
    refused: usize,
    episode: Episode,
    stats: Stats,
}

impl Desk {
    pub(super) fn new(pace: &Pace, gateway: Option<GatewayId>, now: Instant) -> Self {
        Self {
            players: Players::new(Beats::new(pace.heartbeat_interval, now), pace.ttl),
            gates: Kind::ALL.map(|kind| Gate::new(kind.width())),
            max_batch: pace.max_batch,
            cleaned_up_at: now,
            failed_again_at: now,
            lease: gateway.map(|id| GatewayLease::new(id, now)),
            drain: Drain::No,
            refused: 0,
            episode: Episode::default(),
            stats: Stats::default(),
        }
    }

    pub(super) fn connected(&mut self, player: &PlayerId, id: &ConnectionId, now: Instant) {
        if self.drain == Drain::No {
            self.players.connected(player, id, now);
        }
    }

    pub(super) fn state_changed(&mut self, player: &PlayerId, state: State, now: Instant) {
        self.players.state_changed(player, state, now);
    }

    pub(super) fn activity_changed(&mut self, player: &PlayerId, activity: Option<Activity>, now: Instant) {
        self.players.activity_changed(player, activity, now);
    }

    pub(super) fn disconnected(&mut self, player: &PlayerId, id: &ConnectionId, reason: Reason, now: Instant) {
        if !self.is_ended_by_leaving(reason) {
            self.players.disconnected(player, id, reason, now);
        }
    }

    /// Ends the pauses after calls that failed, as there is a new reason to expect that they succeed.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        self.gates.iter_mut().for_each(|gate| gate.end_pause(now));
        self.lease.iter_mut().for_each(|lease| lease.end_pause(now));
    }

    /// A call to make now. Its answer has to be [settled](Self::settle).
    pub(super) fn next_call(&mut self, now: Instant) -> Option<Call> {
        self.give_up_old_tasks(now);
        let kind = Kind::ALL.into_iter().find(|kind| self.call_at(*kind).is_some_and(|at| at <= now))?;
        let tasks = self.players.take(kind, self.max_batch, now, &mut self.stats);
        self.gates[kind as usize].enter();
        self.stats.calls += 1;
        let gateway = self.lease.as_ref().filter(|_| kind.names_gateway()).and_then(|lease| lease.name(now));
        Some(Call { kind, tasks, gateway, sent_at: now })
    }

    /// When to ask for the next call, if nothing happens until then.
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        Kind::ALL.into_iter().filter_map(|kind| self.call_at(kind)).chain(self.lease_call_at()).min()
    }

    /// A call about the gateway's lease to make now. Its answer has to be [settled](Self::settle_lease).
    pub(super) fn next_lease_call(&mut self, now: Instant) -> Option<LeaseCall> {
        self.lease_call_at().filter(|at| *at <= now)?;
        match self.reason_to_leave(now) {
            Some(reason) => self.leave(reason, now),
            None => self.lease.as_mut().map(|lease| lease.renew(now)),
        }
    }

    /// Learns from the answer to a call about the gateway's lease.
    pub(super) fn settle_lease(&mut self, call: &LeaseCall, result: &Result<LeaseAnswer, CallError>, now: Instant) {
        let Some(lease) = &mut self.lease else { return };
        match lease.settle(call, result, now) {
            LeaseOutcome::Continues if lease.can_leave() => {}
            LeaseOutcome::Continues | LeaseOutcome::CannotLeave => self.leave_otherwise(now),
            LeaseOutcome::Unknown => self.players.beats.announce(now),
            LeaseOutcome::Left { connections } => self.left(connections, now),
        }
    }

    /// The gateway whose lease is kept.
    pub(super) fn gateway_id(&self) -> Option<&GatewayId> {
        self.lease.as_ref().map(GatewayLease::id)
    }

    /// Learns from the answer to a call. Returns what the gateway is to be notified of.
    pub(super) fn settle(&mut self, call: Call, result: Result<Answer, CallError>, now: Instant) -> Vec<Notice> {
        let outcome = Outcome::of(&call, &result);
        let mut at = Settlement { sent_at: call.sent_at, now, again_at: now };
        match &result {
            Ok(answer) => {
                self.settle_success(call.kind, answer);
                at.again_at = self.failed_again_at(now);
            }
            Err(error) => self.settle_failure(call.kind, error, now),
        }
        if outcome.was_name_refused {
            self.lease.iter_mut().for_each(|lease| lease.name_was_refused(now));
        }
        if outcome.was_too_large {
            self.max_batch = self.max_batch.min(call.tasks.len() / 2).max(1);
        }
        let mut notices = Vec::new();
        for (player, task) in call.tasks {
            let verdict = outcome.verdict(&player, &task);
            self.count(&task, verdict);
            notices.extend(self.players.settle(player, &task, verdict, at));
        }
        self.stats.closed += notices.iter().filter(|notice| matches!(notice, Notice::Closed(_))).count() as u64;
        notices
    }

    pub(super) fn stats(&self) -> Stats {
        let (open, tasks) = self.players.count();
        Stats { open_connections: open as u64, queue_length: tasks as u64, ..self.stats }
    }

    fn call_at(&self, kind: Kind) -> Option<Instant> {
        if kind == Kind::Beat && self.is_leaving() {
            return None; // a late heartbeat would bring a connection back whose lease was ended
        }
        self.gates[kind as usize].passes_at(self.players.ready_at(kind, self.max_batch)?)
    }

    fn count(&mut self, task: &Task, verdict: Verdict) {
        match (task, verdict) {
            (Task::Beat(_), Verdict::Done | Verdict::Restored) => self.stats.beats += 1,
            (Task::Beat(_), Verdict::Again) => self.stats.retries += 1,
            (_, Verdict::Rejected | Verdict::Refused | Verdict::Invalid) => self.stats.dropped += 1,
            _ => {}
        }
        let is_lost = matches!(verdict, Verdict::Refused | Verdict::Invalid);
        if is_lost && matches!(task, Task::Disconnect(..) | Task::SetState(_)) {
            self.refused += 1;
        }
    }

    fn settle_success(&mut self, kind: Kind, answer: &Answer) {
        self.gates[kind as usize].leave();
        if Kind::ALL.into_iter().all(|kind| self.is_well(kind)) {
            self.episode.end();
        }
        if let Some(interval) = answer.heartbeat_interval() {
            self.players.beats.set_interval(interval);
        }
        if let Some(ttl) = answer.ttl() {
            self.players.ttl = ttl;
        }
        self.stats.restored += answer.restored.len() as u64;
    }

    fn settle_failure(&mut self, kind: Kind, error: &CallError, now: Instant) {
        self.stats.failures += 1;
        self.episode.note(kind, error);
        let gate = &mut self.gates[kind as usize];
        match error {
            CallError::Problem(problem) if is_final(problem) => gate.leave(),
            error => gate.leave_failing(now, error.retry_after()),
        }
    }

    /// Whether calls of the kind do not fail, or there are none to make.
    fn is_well(&self, kind: Kind) -> bool {
        let gate = &self.gates[kind as usize];
        !gate.is_failing() || (gate.is_idle() && self.players.ready_at(kind, self.max_batch).is_none())
    }

    /// Twice a lease's time after a task came up, all that it could change has run out by itself: a connection that
    /// could not be closed is no longer counted; one that could not be opened is restored by its heartbeats; and the
    /// state of a player who is no longer connected would be set on another record than the one it was meant for. That
    /// of a player who is connected is kept.
    fn give_up_old_tasks(&mut self, now: Instant) {
        if now < self.cleaned_up_at + CLEAN_UP_INTERVAL {
            return;
        }
        self.cleaned_up_at = now;
        self.players.forget_leaving(now);
        if let Some(oldest) = now.checked_sub(self.players.ttl.saturating_mul(2)) {
            let given_up = self.players.give_up(oldest, now);
            self.stats.dropped += given_up;
            self.refused += given_up as usize;
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
