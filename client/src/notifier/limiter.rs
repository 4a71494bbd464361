//! Concurrency limit and circuit breaker for one kind of call.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// Pauses while a kind of call keeps failing: from 100–200 ms to 3–6 s.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(3))
    .without_max_times();

/// The longest pause, whatever `Retry-After` says: shorter than a lease.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// Limits the calls of one kind: at most `max_in_flight` at a time. After a failure it is a circuit
/// breaker: a pause, then one call at a time, until one succeeds.
#[derive(Debug)]
pub(super) struct CallLimiter {
    max_in_flight: usize,
    in_flight: usize,
    backoff: ExponentialBackoff,
    /// The end of the pause after a failure. `None` while calls succeed.
    retry_at: Option<Instant>,
}

impl CallLimiter {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self {
            max_in_flight,
            in_flight: 0,
            backoff: BACKOFF.build(),
            retry_at: None,
        }
    }

    /// The earliest time for a call whose tasks are due at `due_at`. `None` while a call in flight
    /// has to end first.
    pub(super) fn ready_at(&self, due_at: Instant) -> Option<Instant> {
        let limit = if self.is_failing() {
            1
        } else {
            self.max_in_flight
        };
        let earliest = self
            .retry_at
            .map_or(due_at, |retry_at| due_at.max(retry_at));
        (self.in_flight < limit).then_some(earliest)
    }

    /// Records that a call was sent.
    pub(super) fn record_start(&mut self) {
        self.in_flight += 1;
    }

    /// Records a response from a service that works, including one that refuses the content of the
    /// call.
    pub(super) fn record_success(&mut self) {
        self.in_flight -= 1;
        if self.retry_at.take().is_some() {
            self.backoff = BACKOFF.build();
        }
    }

    /// Records a call that failed because the service is unavailable or does not accept calls.
    pub(super) fn record_failure(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.in_flight -= 1;
        // A call that was in flight when another one failed does not extend the pause.
        if self.retry_at.is_some_and(|retry_at| now < retry_at) {
            return;
        }
        let backoff = self.backoff.next().unwrap_or(MAX_PAUSE);
        let requested = retry_after.unwrap_or_default().min(MAX_PAUSE);
        self.retry_at = Some(now + (backoff + requested).min(MAX_PAUSE));
    }

    /// Ends the pause after a failure: the next call may be sent at `now`.
    pub(super) fn end_pause(&mut self, now: Instant) {
        self.retry_at = self.retry_at.map(|retry_at| retry_at.min(now));
    }

    /// Whether the last call failed.
    pub(super) fn is_failing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Whether no call is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_max_in_flight_calls_are_sent_at_a_time() {
        let now = Instant::now();
        let mut limiter = CallLimiter::new(2);
        limiter.record_start();
        assert_eq!(limiter.ready_at(now), Some(now));
        limiter.record_start();
        assert_eq!(limiter.ready_at(now), None);
        limiter.record_success();
        assert_eq!(limiter.ready_at(now), Some(now));
    }

    #[test]
    fn a_failing_service_gets_one_call_at_a_time_after_pauses_that_grow_to_a_bound() {
        let start = Instant::now();
        let mut limiter = CallLimiter::new(4);
        let mut now = start;
        for attempt in 0..50 {
            limiter.record_start();
            limiter.record_failure(now, None);
            let retry_at = limiter.ready_at(now).unwrap();
            let shortest =
                Duration::from_millis(100 * (1 << attempt.min(5))).min(Duration::from_secs(3));
            assert!(
                (shortest..=2 * shortest).contains(&(retry_at - now)),
                "{:?}",
                retry_at - now
            );
            now = retry_at;
        }
        limiter.record_start();
        assert_eq!(limiter.ready_at(now), None);
        limiter.record_success();
        assert_eq!(limiter.ready_at(start), Some(start));
    }

    #[test]
    fn the_pause_is_at_least_the_requested_one_up_to_a_bound() {
        let now = Instant::now();
        for (requested, shortest, longest) in [(2, 2_100, 2_200), (86_400, 15_000, 15_000)] {
            let mut limiter = CallLimiter::new(4);
            limiter.record_start();
            limiter.record_failure(now, Some(Duration::from_secs(requested)));
            let pause = (limiter.ready_at(now).unwrap() - now).as_millis();
            assert!((shortest..=longest).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn after_the_pause_was_ended_one_call_is_sent_at_once() {
        let now = Instant::now();
        let mut limiter = CallLimiter::new(4);
        limiter.record_start();
        limiter.record_failure(now, Some(Duration::from_secs(10)));
        limiter.end_pause(now);
        assert_eq!(limiter.ready_at(now), Some(now));
        limiter.record_start();
        assert_eq!(limiter.ready_at(now), None);
    }

    #[test]
    fn calls_that_fail_together_cause_one_pause() {
        let now = Instant::now();
        let mut limiter = CallLimiter::new(4);
        (0..4).for_each(|_| limiter.record_start());
        (0..4).for_each(|_| limiter.record_failure(now, None));
        assert!(limiter.ready_at(now).unwrap() - now <= Duration::from_millis(200));
    }
}
