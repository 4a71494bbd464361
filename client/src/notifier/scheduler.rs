//! Scheduler of the calls to the service: which call is made next, and when.
//!
//! This is the sans-IO core of the notifier: it does no I/O and reads no clock. The caller passes
//! the time in, sends the calls that it returns, and passes their results back. So tests run hours
//! of traffic in milliseconds.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use self::drain::Drain;
use super::{
    Stats,
    call::{Call, CallResponse, Connection, Notice, Task, TaskKind},
    failure_log::FailureLog,
    heartbeats::HeartbeatSchedule,
    lease::{GatewayLease, LeaseCall, LeaseOutcome, LeaseResponse},
    limiter::CallLimiter,
    outcome::{CallOutcome, EntryOutcome, is_final},
    players::{CallTimes, Due, Players},
};
use crate::{Activity, CallError, ConnectionId, GatewayId, PlayerId, Reason, State};

#[cfg(test)]
mod activities;
mod drain;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod random_histories;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;

/// How often the scheduler looks for tasks that are too old to matter.
const CLEAN_UP_INTERVAL: Duration = Duration::from_secs(5);

/// How long the entries of a batch wait that the service could not apply, because a node of its
/// store is down: 1–2 s.
const NODE_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_secs(1))
    .with_jitter();

/// Intervals and sizes of the calls, until the service reports its own.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    /// Interval of the heartbeats of an open connection. The interval in the response to a connect
    /// replaces it.
    pub(super) heartbeat_interval: Duration,
    /// How long the lease of a connection lasts. The TTL in the response to a connect replaces it.
    pub(super) ttl: Duration,
    /// The most tasks per call.
    pub(super) max_batch: usize,
}

/// Collects what the gateway reports, and decides which call to the service is made next.
#[derive(Debug)]
pub(super) struct CallScheduler {
    players: Players,
    /// One limiter per kind of call.
    limiters: [CallLimiter; TaskKind::ALL.len()],
    max_batch: usize,
    cleaned_up_at: Instant,
    /// When to send entries again that failed in batches of which other entries succeeded.
    failed_entries_retry_at: Instant,
    /// `None` if connections are reported without a gateway.
    lease: Option<GatewayLease>,
    drain: Drain,
    /// Disconnects and states that were refused or given up since the drain began.
    refused: usize,
    failure_log: FailureLog,
    stats: Stats,
}

impl CallScheduler {
    pub(super) fn new(timing: &Timing, gateway: Option<GatewayId>, now: Instant) -> Self {
        Self {
            players: Players::new(
                HeartbeatSchedule::new(timing.heartbeat_interval, now),
                timing.ttl,
            ),
            limiters: TaskKind::ALL.map(|kind| CallLimiter::new(kind.max_in_flight())),
            max_batch: timing.max_batch,
            cleaned_up_at: now,
            failed_entries_retry_at: now,
            lease: gateway.map(|id| GatewayLease::new(id, now)),
            drain: Drain::NotStarted,
            refused: 0,
            failure_log: FailureLog::default(),
            stats: Stats::default(),
        }
    }

    pub(super) fn connected(&mut self, player: &PlayerId, id: &ConnectionId, now: Instant) {
        if self.drain == Drain::NotStarted {
            self.players.connected(player, id, now);
        }
    }

    pub(super) fn state_changed(&mut self, player: &PlayerId, state: State, now: Instant) {
        self.players.state_changed(player, state, now);
    }

    pub(super) fn activity_changed(
        &mut self,
        player: &PlayerId,
        activity: Option<Activity>,
        now: Instant,
    ) {
        self.players.activity_changed(player, activity, now);
    }

    pub(super) fn disconnected(
        &mut self,
        player: &PlayerId,
        id: &ConnectionId,
        reason: Reason,
        now: Instant,
    ) {
        if !self.is_ended_by_leaving(reason) {
            self.players.disconnected(player, id, reason, now);
        }
    }

    /// Ends the pauses after failed calls, when there is a new reason to expect that calls succeed.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        self.limiters
            .iter_mut()
            .for_each(|limiter| limiter.end_pause(now));
        self.lease.iter_mut().for_each(|lease| lease.end_pause(now));
    }

    /// Returns a call to send now. Its result must be passed to [`settle`](Self::settle).
    pub(super) fn next_call(&mut self, now: Instant) -> Option<Call> {
        self.give_up_old_tasks(now);
        let is_due = |kind: &TaskKind| self.call_at(*kind).is_some_and(|at| at <= now);
        let kind = TaskKind::ALL.into_iter().find(is_due)?;
        let Due { tasks, due_at } = self
            .players
            .take(kind, self.max_batch, now, &mut self.stats);
        self.limiters[kind as usize].record_start();
        self.stats.calls += 1;
        let lease = self.lease.as_ref().filter(|_| kind.may_name_gateway());
        let gateway = lease.and_then(|lease| lease.id_for_calls(now));
        Some(Call {
            kind,
            tasks,
            gateway,
            due_at,
            sent_at: now,
        })
    }

    /// When to ask for the next call, if nothing happens until then.
    pub(super) fn next_call_at(&self) -> Option<Instant> {
        TaskKind::ALL
            .into_iter()
            .filter_map(|kind| self.call_at(kind))
            .chain(self.lease_call_at())
            .min()
    }

    /// Returns a call about the gateway's lease to send now. Its result must be passed to
    /// [`settle_lease`](Self::settle_lease).
    pub(super) fn next_lease_call(&mut self, now: Instant) -> Option<LeaseCall> {
        self.lease_call_at().filter(|at| *at <= now)?;
        match self.reason_to_leave(now) {
            Some(reason) => self.leave(reason, now),
            None => self.lease.as_mut().map(|lease| lease.renew(now)),
        }
    }

    /// Applies the result of a call about the gateway's lease.
    pub(super) fn settle_lease(
        &mut self,
        call: &LeaseCall,
        result: &Result<LeaseResponse, CallError>,
        now: Instant,
    ) {
        let Some(lease) = &mut self.lease else { return };
        match lease.settle(call, result, now) {
            LeaseOutcome::Continues if lease.can_leave() => {}
            LeaseOutcome::Continues | LeaseOutcome::CannotLeave => {
                self.disconnect_instead_of_leaving(now)
            }
            LeaseOutcome::GatewayUnknown => self.players.heartbeats.announce_all(now),
            LeaseOutcome::Left { connections } => self.left(connections, now),
        }
    }

    /// The gateway whose lease is kept.
    pub(super) fn gateway_id(&self) -> Option<&GatewayId> {
        self.lease.as_ref().map(GatewayLease::id)
    }

    /// Applies the result of a call. Returns what the gateway has to be notified of.
    pub(super) fn settle(
        &mut self,
        call: Call,
        result: Result<CallResponse, CallError>,
        now: Instant,
    ) -> Vec<Notice> {
        let call_outcome = CallOutcome::new(&call, &result);
        let mut times = CallTimes {
            sent_at: call.sent_at,
            now,
            retry_at: now,
        };
        match &result {
            Ok(response) => {
                self.record_success(call.kind, response);
                times.retry_at = self.failed_entries_retry_at(now);
            }
            // The limiter delays the retries.
            Err(error) => self.record_failure(call.kind, error, now),
        }
        if call_outcome.was_gateway_id_refused {
            self.lease
                .iter_mut()
                .for_each(|lease| lease.id_was_refused(now));
        }
        if call_outcome.was_too_large {
            self.max_batch = self.max_batch.min(call.tasks.len() / 2).max(1);
        }
        let mut notices = Vec::new();
        for (player, task) in call.tasks {
            let outcome = call_outcome.entry(&player, &task);
            self.count(&task, outcome);
            notices.extend(self.players.settle(player, &task, outcome, times));
        }
        self.stats.closed += notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Closed(_)))
            .count() as u64;
        notices
    }

    pub(super) fn stats(&self) -> Stats {
        let (open, tasks) = self.players.count();
        Stats {
            open_connections: open as u64,
            queue_length: tasks as u64,
            ..self.stats
        }
    }

    fn call_at(&self, kind: TaskKind) -> Option<Instant> {
        // A late heartbeat would restore a connection whose lease was ended.
        if kind == TaskKind::Heartbeat && self.is_leaving() {
            return None;
        }
        let due_at = self.players.ready_at(kind, self.max_batch)?;
        self.limiters[kind as usize].ready_at(due_at)
    }

    fn count(&mut self, task: &Task, outcome: EntryOutcome) {
        match (task, outcome) {
            (Task::Heartbeat(_), EntryOutcome::Applied | EntryOutcome::Restored) => {
                self.stats.heartbeats += 1
            }
            (Task::Heartbeat(_), EntryOutcome::Retry) => self.stats.retries += 1,
            (_, EntryOutcome::NotAllowed | EntryOutcome::Refused | EntryOutcome::Invalid) => {
                self.stats.dropped += 1
            }
            _ => {}
        }
        let was_refused = matches!(outcome, EntryOutcome::Refused | EntryOutcome::Invalid);
        if was_refused && matches!(task, Task::Disconnect(..) | Task::SetState(_)) {
            self.refused += 1;
        }
    }

    fn record_success(&mut self, kind: TaskKind, response: &CallResponse) {
        self.limiters[kind as usize].record_success();
        if TaskKind::ALL.into_iter().all(|kind| self.is_healthy(kind)) {
            self.failure_log.record_recovery();
        }
        if let Some(interval) = response.heartbeat_interval() {
            self.players.heartbeats.set_interval(interval);
        }
        if let Some(ttl) = response.ttl() {
            self.players.ttl = ttl;
        }
        self.stats.restored += response.restored.len() as u64;
    }

    fn record_failure(&mut self, kind: TaskKind, error: &CallError, now: Instant) {
        self.stats.failures += 1;
        self.failure_log.record_failure(kind, error);
        let limiter = &mut self.limiters[kind as usize];
        match error {
            // The service works: it refuses this call only.
            CallError::Problem(problem) if is_final(problem) => limiter.record_success(),
            error => limiter.record_failure(now, error.retry_after()),
        }
    }

    /// Whether calls of the kind succeed, or no call of the kind is left to make.
    fn is_healthy(&self, kind: TaskKind) -> bool {
        let limiter = &self.limiters[kind as usize];
        let has_calls = !limiter.is_idle() || self.players.ready_at(kind, self.max_batch).is_some();
        !limiter.is_failing() || !has_calls
    }

    /// Gives up tasks that were queued more than two TTLs ago. By then, everything that they could
    /// change has expired: a connection that could not be closed no longer counts, and one that
    /// could not be opened is restored by its heartbeats. The state of a player who is no longer
    /// connected would be set on a later record than the one it was meant for. The state of a
    /// connected player is kept.
    fn give_up_old_tasks(&mut self, now: Instant) {
        if now < self.cleaned_up_at + CLEAN_UP_INTERVAL {
            return;
        }
        self.cleaned_up_at = now;
        self.players.remove_rate_limited(now);
        if let Some(oldest) = now.checked_sub(self.players.ttl.saturating_mul(2)) {
            let given_up = self.players.give_up(oldest, now);
            self.stats.dropped += given_up;
            self.refused += given_up as usize;
        }
    }

    /// When to send the failed entries of a batch again: one time for all recent ones, so that few
    /// calls are enough.
    fn failed_entries_retry_at(&mut self, now: Instant) -> Instant {
        if self.failed_entries_retry_at <= now {
            self.failed_entries_retry_at = now + NODE_BACKOFF.build().next().unwrap_or_default();
        }
        self.failed_entries_retry_at
    }
}
