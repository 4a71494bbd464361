//! In-flight limit of one Redis node: excess work queues in this process, not in Redis.
//!
//! Redis serves one command at a time, so work beyond what keeps it busy only waits there, where it
//! delays heartbeats and runs into the store timeout. The limit follows the measured round-trip
//! time, as congestion control does: it grows while round trips stay below a target and shrinks
//! when they exceed it. Work beyond the limit waits here, renewals of leases before everything
//! else, and is refused when its turn would come too late.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::Cmd;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::StoreError;

/// Round trips aim at this time at most: long enough to keep Redis busy, short against the time
/// until a lease expires.
const MAX_TARGET: Duration = Duration::from_millis(100);

/// The part of the store timeout that a round trip aims at. The rest covers jitter and the work of
/// other processes.
const TARGET_DIVISOR: u32 = 4;

/// The longest time that work waits for its turn: half of a request's time limit (10 s), and less
/// than presence-client's (6 s).
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The limit at the start, in entries. It doubles per round trip until the first slow one.
const INITIAL_LIMIT: f64 = 1_000.0;

/// The limit never falls below this number of entries: a call of one script is always worth
/// sending.
const MIN_LIMIT: f64 = 50.0;

/// The growth of the limit per round trip after the first slow one.
const GROWTH: f64 = 0.05;

/// The share of the limit that is left after a timeout, and after the slowest round trip.
const MAX_CUT: f64 = 0.5;

/// The time over which the rate of completed entries is averaged.
const RATE_WINDOW: Duration = Duration::from_millis(500);

/// The longest pause that a refused caller is asked for: one heartbeat interval, which a lease
/// outlasts.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15);

/// The priority of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Renewals of leases: a delay beyond the TTL would expire them.
    Renewal,
    /// Calls of players that renew nothing, and the transitions of the sweep.
    Normal,
    /// The service's own upkeep and checks: few and small commands, which never wait and are not
    /// counted.
    Exempt,
}

/// Arguments per entry of a script call, by which the work of any command is estimated. The limit
/// follows measured times, so only the proportions matter.
const ARGUMENTS_PER_ENTRY: usize = 4;

/// Limits the work in flight to one node. Clones share the limit.
#[derive(Debug, Clone)]
pub(crate) struct InFlightLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: Duration,
    store_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Entries that may be in flight.
    limit: f64,
    in_flight: usize,
    /// Whether no round trip has been slow yet.
    is_starting: bool,
    last_cut: Option<Instant>,
    last_reply: Option<Instant>,
    rate: Rate,
    renewals: Queue,
    others: Queue,
}

/// Work that waits, in order of arrival.
#[derive(Debug, Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    entries: usize,
}

#[derive(Debug)]
struct Waiter {
    entries: usize,
    turn: oneshot::Sender<Result<Permit, StoreError>>,
}

/// Entries completed per second while work waits. That measures the capacity of the node, not the
/// demand.
#[derive(Debug)]
struct Rate {
    window_start: Instant,
    completed: usize,
    /// `None` until a window has passed.
    per_second: Option<f64>,
}

/// A permit to have some entries in flight. If it is dropped without [`finish`](Self::finish), the
/// limit learns nothing from it.
#[derive(Debug)]
pub(crate) struct Permit {
    limit: InFlightLimit,
    entries: usize,
    sent_at: Instant,
}

/// The end of a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RoundTrip {
    /// The node replied.
    Replied,
    /// The node did not reply within the store timeout.
    TimedOut,
}

impl InFlightLimit {
    /// A limit for round trips that may take `store_timeout`.
    pub(crate) fn new(store_timeout: Duration) -> Self {
        let state = State {
            limit: INITIAL_LIMIT,
            in_flight: 0,
            is_starting: true,
            last_cut: None,
            last_reply: None,
            rate: Rate::starting(Instant::now()),
            renewals: Queue::default(),
            others: Queue::default(),
        };
        let target = MAX_TARGET.min(store_timeout / TARGET_DIVISOR);
        Self(Arc::new(Inner {
            target,
            store_timeout,
            state: Mutex::new(state),
        }))
    }

    /// The number of entries that may be in flight at present.
    pub(crate) fn max_entries(&self) -> usize {
        self.lock().limit as usize
    }

    /// Waits until `commands` may be sent; exempt ones need no permit.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] if their turn does not come in time; [`StoreError::Timeout`] if
    /// the node stopped replying meanwhile.
    pub(crate) async fn admit<'a>(
        &self,
        urgency: Urgency,
        commands: impl Iterator<Item = &'a Cmd>,
    ) -> Result<Option<Permit>, StoreError> {
        if urgency == Urgency::Exempt {
            return Ok(None);
        }
        let entries = commands
            .map(|command| (command.args_iter().len() / ARGUMENTS_PER_ENTRY).max(1))
            .sum();
        self.acquire(entries, urgency).await.map(Some)
    }

    async fn acquire(&self, entries: usize, urgency: Urgency) -> Result<Permit, StoreError> {
        let turn = {
            let mut state = self.lock();
            if state.has_room(entries) && state.is_next(urgency) {
                state.in_flight += entries;
                return Ok(self.permit(entries));
            }
            let wait = state.expected_wait(urgency);
            if wait > MAX_WAIT {
                return Err(overloaded(wait));
            }
            if !state.has_waiters() {
                state.rate = Rate::starting(Instant::now());
            }
            let (turn, receiver) = oneshot::channel();
            state.queue(urgency).push(Waiter { entries, turn });
            receiver
        };
        let deadline = Instant::now() + MAX_WAIT;
        match timeout_at(deadline, turn).await {
            Ok(Ok(permit)) => permit,
            // The sender outlives its waiter; a timeout is the only other end.
            Ok(Err(_)) | Err(_) => Err(overloaded(self.lock().expected_wait(urgency))),
        }
    }

    fn permit(&self, entries: usize) -> Permit {
        Permit {
            limit: self.clone(),
            entries,
            sent_at: Instant::now(),
        }
    }

    /// Takes entries out of flight, and admits waiting work in their place.
    fn release(&self, entries: usize, adapt: impl FnOnce(&mut State)) {
        let mut ready = Vec::new();
        {
            let mut state = self.lock();
            state.in_flight = state.in_flight.saturating_sub(entries);
            adapt(&mut state);
            while let Some(waiter) = state.next_waiter() {
                state.in_flight += waiter.entries;
                ready.push(waiter);
            }
        }
        // Outside the lock: a permit whose waiter has gone is dropped here, and releases again.
        for Waiter { entries, turn } in ready {
            let _ = turn.send(Ok(self.permit(entries)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Ends the round trip that had `result`; the limit learns from its time.
    pub(crate) fn finish<T>(self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => self.end(RoundTrip::Replied),
            Err(StoreError::Timeout(_)) => self.end(RoundTrip::TimedOut),
            Err(_) => {} // says nothing about the node's speed
        }
    }

    fn end(mut self, ended: RoundTrip) {
        let entries = std::mem::take(&mut self.entries); // nothing is left to release on drop
        let elapsed = self.sent_at.elapsed();
        let inner = Arc::clone(&self.limit.0);
        self.limit.release(entries, |state| match ended {
            RoundTrip::Replied => state.replied(entries, elapsed, inner.target),
            RoundTrip::TimedOut => state.timed_out(inner.store_timeout),
        });
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.entries > 0 {
            self.limit.release(self.entries, |_| {});
        }
    }
}

impl State {
    /// Whether the entries fit into the limit. A call that is larger than the limit is sent alone.
    fn has_room(&self, entries: usize) -> bool {
        self.in_flight == 0 || (self.in_flight + entries) as f64 <= self.limit
    }

    /// Whether no waiting work comes before new work of this urgency.
    fn is_next(&self, urgency: Urgency) -> bool {
        self.renewals.waiters.is_empty()
            && (urgency == Urgency::Renewal || self.others.waiters.is_empty())
    }

    fn queue(&mut self, urgency: Urgency) -> &mut Queue {
        match urgency {
            Urgency::Renewal => &mut self.renewals,
            Urgency::Normal | Urgency::Exempt => &mut self.others,
        }
    }

    /// The first waiter that has room; renewals come first.
    fn next_waiter(&mut self) -> Option<Waiter> {
        loop {
            let urgency = if self.renewals.waiters.is_empty() {
                Urgency::Normal
            } else {
                Urgency::Renewal
            };
            let entries = self.queue(urgency).waiters.front()?.entries;
            if !self.has_room(entries) {
                return None;
            }
            let waiter = self.queue(urgency).pop()?;
            if !waiter.turn.is_closed() {
                return Some(waiter);
            }
        }
    }

    /// The time until new work of this urgency would be sent; zero while the rate is unknown.
    fn expected_wait(&self, urgency: Urgency) -> Duration {
        let ahead = match urgency {
            Urgency::Renewal => self.renewals.entries,
            Urgency::Normal | Urgency::Exempt => self.renewals.entries + self.others.entries,
        };
        self.rate.per_second.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(ahead as f64 / rate)
        })
    }

    fn replied(&mut self, entries: usize, elapsed: Duration, target: Duration) {
        let now = Instant::now();
        self.last_reply = Some(now);
        self.rate.add(entries, now);
        if elapsed > target {
            let cut = target.as_secs_f64() / elapsed.as_secs_f64();
            self.cut(cut.max(MAX_CUT), elapsed);
        } else if self.is_in_use(entries) {
            // Per round trip, all entries in flight together add the limit once, or a part of it.
            self.limit += entries as f64 * if self.is_starting { 1.0 } else { GROWTH };
        }
    }

    fn timed_out(&mut self, store_timeout: Duration) {
        self.cut(MAX_CUT, store_timeout);
        let is_silent = self
            .last_reply
            .is_none_or(|last| last.elapsed() >= store_timeout);
        if is_silent {
            // The node is not busy but down, so its callers get the error now rather than after
            // their wait.
            for waiter in self.renewals.drain().chain(self.others.drain()) {
                let _ = waiter.turn.send(Err(StoreError::Timeout(store_timeout)));
            }
        }
    }

    /// Whether the limit is nearly reached. Otherwise a fast reply does not raise it.
    fn is_in_use(&self, finished: usize) -> bool {
        self.has_waiters() || (self.in_flight + finished) as f64 > self.limit / 2.0
    }

    fn has_waiters(&self) -> bool {
        !self.others.waiters.is_empty() || !self.renewals.waiters.is_empty()
    }

    /// Lowers the limit, once per round trip: calls that were slow together are one sign.
    fn cut(&mut self, share: f64, round_trip: Duration) {
        self.is_starting = false;
        if self
            .last_cut
            .is_none_or(|last| last.elapsed() >= round_trip)
        {
            self.limit = (self.limit * share).max(MIN_LIMIT);
            self.last_cut = Some(Instant::now());
        }
    }
}

impl Queue {
    fn push(&mut self, waiter: Waiter) {
        self.entries += waiter.entries;
        self.waiters.push_back(waiter);
    }

    fn pop(&mut self) -> Option<Waiter> {
        let waiter = self.waiters.pop_front()?;
        self.entries -= waiter.entries;
        Some(waiter)
    }

    fn drain(&mut self) -> impl Iterator<Item = Waiter> + '_ {
        self.entries = 0;
        self.waiters.drain(..)
    }
}

impl Rate {
    fn starting(now: Instant) -> Self {
        Self {
            window_start: now,
            completed: 0,
            per_second: None,
        }
    }

    fn add(&mut self, entries: usize, now: Instant) {
        self.completed += entries;
        let window = now - self.window_start;
        if window >= RATE_WINDOW {
            self.per_second = Some(self.completed as f64 / window.as_secs_f64());
            self.window_start = now;
            self.completed = 0;
        }
    }
}

fn overloaded(wait: Duration) -> StoreError {
    StoreError::Overloaded {
        retry_after: wait.clamp(Duration::from_secs(1), MAX_RETRY_AFTER),
    }
}

#[cfg(test)]
mod tests;
