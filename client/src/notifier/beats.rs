//! When which connections are beaten.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    agenda::{Agenda, Ticket},
    call::Connection,
};

/// No interval is shorter or longer, whatever the service says.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3_600));

/// The open connections, in the order of their next heartbeats.
///
/// Of n connections, a call beats no more than `n / calls`, where `calls` is the least number of full batches that hold
/// them all; and the calls are `interval / calls` apart. So 10,000 that were opened together are a thousand every 1.5 s
/// from then on. No connection waits longer than an interval, however fast the others come and go. Beats that failed
/// are made again beside these calls, so that they do not disturb the spread.
#[derive(Debug)]
pub(super) struct Beats {
    regular: Agenda<Connection>,
    retries: Agenda<Connection>,
    interval: Duration,
    last_call: Instant,
}

/// The next heartbeat of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beat {
    Regular(Ticket),
    Retry(Ticket),
}

impl Beats {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        let interval = interval.clamp(INTERVALS.0, INTERVALS.1);
        Self { regular: Agenda::new(), retries: Agenda::new(), interval, last_call: now }
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval.clamp(INTERVALS.0, INTERVALS.1);
    }

    /// A connection was heard of at `now`: its next beat is an interval away at most.
    pub(super) fn add(&mut self, connection: Connection, now: Instant) -> Beat {
        if self.regular.len() == 0 {
            self.last_call = now;
        }
        Beat::Regular(self.regular.add(now + self.interval, connection))
    }

    /// A connection's beat failed: it is made again at `at`.
    pub(super) fn again(&mut self, beat: Beat, connection: Connection, at: Instant) -> Beat {
        self.remove(beat);
        Beat::Retry(self.retries.add(at, connection))
    }

    pub(super) fn remove(&mut self, beat: Beat) {
        match beat {
            Beat::Regular(ticket) => self.regular.remove(ticket),
            Beat::Retry(ticket) => self.retries.remove(ticket),
        }
    }

    /// When the next call is due.
    pub(super) fn next_at(&self, max_batch: usize) -> Option<Instant> {
        [self.regular_at(max_batch), self.retries.first_at()].into_iter().flatten().min()
    }

    /// Takes out the connections to beat now; and says how many intervals in all they were late: beats that were missed.
    pub(super) fn take(&mut self, max_batch: usize, now: Instant) -> (Vec<Connection>, u64) {
        let regular_at = self.regular_at(max_batch);
        let is_retry = self.retries.first_at().is_some_and(|retry_at| regular_at.is_none_or(|at| retry_at < at));
        let (agenda, most, latest) = if is_retry {
            (&mut self.retries, max_batch, now)
        } else {
            let share = self.regular.len().div_ceil(self.calls(max_batch));
            self.last_call = now;
            (&mut self.regular, share, now + self.interval)
        };
        let due = std::iter::from_fn(|| agenda.pop(latest)).take(most);
        let mut missed = 0;
        let connections = due.map(|(due, connection)| {
            missed += (now.saturating_duration_since(due).as_nanos() / self.interval.as_nanos()) as u64;
            connection
        });
        (connections.collect(), missed)
    }

    fn regular_at(&self, max_batch: usize) -> Option<Instant> {
        let pause = self.interval / u32::try_from(self.calls(max_batch)).unwrap_or(u32::MAX);
        self.regular.first_at().map(|first| first.min(self.last_call + pause))
    }

    /// How many calls beat all connections once.
    fn calls(&self, max_batch: usize) -> usize {
        self.regular.len().div_ceil(max_batch).max(1)
    }
}
