//! Schedule of the heartbeats.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    call::Connection,
    timer_queue::{TimerKey, TimerQueue},
};

/// Bounds of the heartbeat interval, whatever the service requests.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

/// The shortest time between two calls that announce connections: 10,000 are announced within 5 s,
/// and 100 such gateways make no more than 200 calls per second.
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_millis(500);

/// The open connections, in the order of their next heartbeats.
///
/// Regular heartbeats are spread evenly. `calls` is the smallest number of full batches that hold
/// all n connections: a call has no more than `n / calls` of them, and calls are `interval / calls`
/// apart. So 10,000 connections that were opened together are one call of a thousand every 1.5 s.
/// No connection waits longer than one interval, however fast the others come and go.
///
/// Two other kinds of heartbeats have queues of their own, so that they do not disturb the spread:
/// retries of heartbeats that failed; and announcements, which are sent early because the service
/// does not know the gateway.
#[derive(Debug)]
pub(super) struct HeartbeatSchedule {
    regular: TimerQueue<Connection>,
    retries: TimerQueue<Connection>,
    /// These connections were moved here from `regular` and have kept their keys.
    announcements: TimerQueue<Connection>,
    interval: Duration,
    last_call_at: Instant,
    last_announcement_at: Option<Instant>,
    /// When the service last reported that it does not know the gateway. What it was sent before
    /// may be lost.
    gateway_unknown_at: Option<Instant>,
}

/// The next heartbeat of one connection: where it is scheduled.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heartbeat {
    /// In the queue of regular heartbeats, or of announcements.
    Regular(TimerKey),
    Retry(TimerKey),
}

impl HeartbeatSchedule {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            regular: TimerQueue::new(),
            retries: TimerQueue::new(),
            announcements: TimerQueue::new(),
            interval: interval.clamp(MIN_INTERVAL, MAX_INTERVAL),
            last_call_at: now,
            last_announcement_at: None,
            gateway_unknown_at: None,
        }
    }

    pub(super) fn set_interval(&mut self, interval: Duration) {
        self.interval = interval.clamp(MIN_INTERVAL, MAX_INTERVAL);
    }

    /// Schedules the next heartbeat of a connection that was reported by a call sent at `sent_at`.
    /// It is due within one interval.
    pub(super) fn schedule(
        &mut self,
        connection: Connection,
        sent_at: Instant,
        now: Instant,
    ) -> Heartbeat {
        if self.regular.is_empty() {
            self.last_call_at = now;
        }
        let key = self.regular.insert(now + self.interval, connection);
        // The service may have lost what this call reported.
        if self
            .gateway_unknown_at
            .is_some_and(|unknown_at| sent_at < unknown_at)
        {
            self.announcements.take_from(&mut self.regular, key);
        }
        Heartbeat::Regular(key)
    }

    /// Announces all connections, since the service does not know the gateway.
    pub(super) fn announce_all(&mut self, now: Instant) {
        self.gateway_unknown_at = Some(now);
        self.announcements.append(&mut self.regular);
    }

    /// Schedules a retry at `retry_at` in place of a heartbeat that failed.
    pub(super) fn retry(
        &mut self,
        failed: Heartbeat,
        connection: Connection,
        retry_at: Instant,
    ) -> Heartbeat {
        self.cancel(failed);
        Heartbeat::Retry(self.retries.insert(retry_at, connection))
    }

    pub(super) fn cancel(&mut self, heartbeat: Heartbeat) {
        match heartbeat {
            // The key is in one of the two queues.
            Heartbeat::Regular(key) => {
                self.regular.remove(key);
                self.announcements.remove(key);
            }
            Heartbeat::Retry(key) => self.retries.remove(key),
        }
    }

    /// When the next call is due.
    pub(super) fn next_at(&self, max_batch: usize) -> Option<Instant> {
        let times = [
            self.regular_at(max_batch),
            self.retries.next_at(),
            self.announcement_at(max_batch),
        ];
        times.into_iter().flatten().min()
    }

    /// Takes the connections of the call that is due now. Also returns how many heartbeats were
    /// missed: the whole intervals by which those of the call are late, added up.
    pub(super) fn take_due(&mut self, max_batch: usize, now: Instant) -> (Vec<Connection>, u64) {
        let (queue, limit, latest) = self.next_queue(max_batch, now);
        let due: Vec<_> = std::iter::from_fn(|| queue.pop(latest))
            .take(limit)
            .collect();
        let count_missed = |due_at: Instant| {
            let late = now.saturating_duration_since(due_at);
            (late.as_nanos() / self.interval.as_nanos()) as u64
        };
        let missed = due.iter().map(|(due_at, _)| count_missed(*due_at)).sum();
        let connections = due.into_iter().map(|(_, connection)| connection).collect();
        (connections, missed)
    }

    /// The queue whose call is next, the most connections of that call, and the latest due time
    /// that it may include.
    fn next_queue(
        &mut self,
        max_batch: usize,
        now: Instant,
    ) -> (&mut TimerQueue<Connection>, usize, Instant) {
        let interval_end = now + self.interval;
        let regular_at = self.regular_at(max_batch).unwrap_or(interval_end);
        let retry_at = self.retries.next_at().unwrap_or(interval_end);
        let announcement_at = self.announcement_at(max_batch).unwrap_or(interval_end);
        if retry_at < regular_at.min(announcement_at) {
            return (&mut self.retries, max_batch, now);
        }
        if announcement_at < regular_at {
            self.last_announcement_at = Some(now);
            return (&mut self.announcements, max_batch, interval_end);
        }
        let share = self
            .regular
            .len()
            .div_ceil(self.calls_per_interval(max_batch));
        self.last_call_at = now;
        (&mut self.regular, share, interval_end)
    }

    /// When the next call with announcements is due: at the latest when its first connection is due
    /// anyway.
    fn announcement_at(&self, max_batch: usize) -> Option<Instant> {
        let due_at = self.announcements.next_at()?;
        let calls = self.announcements.len().div_ceil(max_batch).max(1);
        // All announcements fit into one interval, even if that needs calls that are closer
        // together.
        let pause = ANNOUNCEMENT_INTERVAL.min(divide(self.interval, calls));
        let earliest = self
            .last_announcement_at
            .map_or(self.gateway_unknown_at, |last| Some(last + pause));
        Some(due_at.min(earliest.unwrap_or(due_at)))
    }

    /// When the next call with regular heartbeats is due: one share of the interval after the last
    /// one, or when its first connection is due, if that is earlier.
    fn regular_at(&self, max_batch: usize) -> Option<Instant> {
        let pause = divide(self.interval, self.calls_per_interval(max_batch));
        let due_at = self.regular.next_at()?;
        Some(due_at.min(self.last_call_at + pause))
    }

    /// How many calls are needed for one heartbeat of each connection.
    fn calls_per_interval(&self, max_batch: usize) -> usize {
        self.regular.len().div_ceil(max_batch).max(1)
    }
}

fn divide(interval: Duration, calls: usize) -> Duration {
    interval / u32::try_from(calls).unwrap_or(u32::MAX)
}
