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
/// are made again beside these calls, so that they do not disturb the spread. So are announcements: heartbeats that are
/// sent earlier, because the service does not know the gateway.
#[derive(Debug)]
pub(super) struct Beats {
    regular: Agenda<Connection>,
    retries: Agenda<Connection>,
    /// These have tickets of `regular`.
    announcements: Agenda<Connection>,
    interval: Duration,
    last_call: Instant,
    last_announcement: Option<Instant>,
    /// The service does not know what it was sent before, by its own account.
    forgotten_at: Option<Instant>,
}

/// The least pause between two calls that announce connections: 10,000 are announced within 5 s, and 100 such gateways make
/// no more than 200 calls per second.
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_millis(500);

/// The next heartbeat of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beat {
    Regular(Ticket),
    Retry(Ticket),
}

impl Beats {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        let interval = interval.clamp(INTERVALS.0, INTERVALS.1);
        Self {
            regular: Agenda::new(),
            retries: Agenda::new(),
            announcements: Agenda::new(),
            interval,
            last_call: now,
            last_announcement: None,
            forgotten_at: None,
        }
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval.clamp(INTERVALS.0, INTERVALS.1);
    }

    /// A connection was reported by a call that was sent at `sent_at`: its next beat is an interval away at most.
    pub(super) fn add(&mut self, connection: Connection, sent_at: Instant, now: Instant) -> Beat {
        if self.regular.len() == 0 {
            self.last_call = now;
        }
        let ticket = self.regular.add(now + self.interval, connection);
        if self.forgotten_at.is_some_and(|forgotten_at| sent_at < forgotten_at) {
            self.announcements.take_from(&mut self.regular, ticket);
        }
        Beat::Regular(ticket)
    }

    /// The service does not know the gateway: all connections are announced, at their own pace.
    pub(super) fn announce(&mut self, now: Instant) {
        self.forgotten_at = Some(now);
        self.announcements.append(&mut self.regular);
    }

    /// A connection's beat failed: it is made again at `at`.
    pub(super) fn again(&mut self, beat: Beat, connection: Connection, at: Instant) -> Beat {
        self.remove(beat);
        Beat::Retry(self.retries.add(at, connection))
    }

    pub(super) fn remove(&mut self, beat: Beat) {
        match beat {
            Beat::Regular(ticket) => {
                self.regular.remove(ticket);
                self.announcements.remove(ticket);
            }
            Beat::Retry(ticket) => self.retries.remove(ticket),
        }
    }

    /// When the next call is due.
    pub(super) fn next_at(&self, max_batch: usize) -> Option<Instant> {
        let times = [self.regular_at(max_batch), self.retries.first_at(), self.announcement_at(max_batch)];
        times.into_iter().flatten().min()
    }

    /// Takes out the connections to beat now; and says how many intervals in all they were late: beats that were missed.
    pub(super) fn take(&mut self, max_batch: usize, now: Instant) -> (Vec<Connection>, u64) {
        let (agenda, most, latest) = self.next_agenda(max_batch, now);
        let due = std::iter::from_fn(|| agenda.pop(latest)).take(most);
        let due: Vec<_> = due.collect();
        let late = |due: &Instant| (now.saturating_duration_since(*due).as_nanos() / self.interval.as_nanos()) as u64;
        let missed = due.iter().map(|(due, _)| late(due)).sum();
        (due.into_iter().map(|(_, connection)| connection).collect(), missed)
    }

    /// The agenda whose call is next, the most connections of that call, and the latest time for which they may be due.
    fn next_agenda(&mut self, max_batch: usize, now: Instant) -> (&mut Agenda<Connection>, usize, Instant) {
        let later = |at: Option<Instant>| at.unwrap_or(now + self.interval);
        let regular_at = later(self.regular_at(max_batch));
        let retry_at = later(self.retries.first_at());
        let announcement_at = later(self.announcement_at(max_batch));
        if retry_at < regular_at.min(announcement_at) {
            return (&mut self.retries, max_batch, now);
        }
        if announcement_at < regular_at {
            self.last_announcement = Some(now);
            return (&mut self.announcements, max_batch, now + self.interval);
        }
        let share = self.regular.len().div_ceil(self.calls(max_batch));
        self.last_call = now;
        (&mut self.regular, share, now + self.interval)
    }

    /// When the next call with announcements is due: never later than without the announcement.
    fn announcement_at(&self, max_batch: usize) -> Option<Instant> {
        let due_at = self.announcements.first_at()?;
        let calls = self.announcements.len().div_ceil(max_batch).max(1);
        let pause = ANNOUNCEMENT_INTERVAL.min(self.interval / u32::try_from(calls).unwrap_or(u32::MAX));
        let earliest = self.last_announcement.map_or(self.forgotten_at, |last| Some(last + pause));
        Some(due_at.min(earliest.unwrap_or(due_at)))
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
