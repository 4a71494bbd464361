//! How many calls of a kind may be under way, and the pause after one that failed.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// The pauses while a kind of call keeps failing: from 100–200 ms to 3–6 s.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(3))
    .without_max_times();

/// The longest pause, whatever the service asks for: a lease outlasts it.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Lets the calls of one kind pass: up to its width at a time, and one at a time from a failure to the next success.
#[derive(Debug)]
pub(super) struct Gate {
    width: usize,
    under_way: usize,
    pauses: ExponentialBackoff,
    opens_at: Option<Instant>,
}

impl Gate {
    pub(super) fn new(width: usize) -> Self {
        Self { width, under_way: 0, pauses: PAUSES.build(), opens_at: None }
    }

    /// When a call that is ready at `ready_at` may pass; `None` while one under way has to come back first.
    pub(super) fn passes_at(&self, ready_at: Instant) -> Option<Instant> {
        let width = if self.is_failing() { 1 } else { self.width };
        (self.under_way < width).then(|| self.opens_at.map_or(ready_at, |opens_at| ready_at.max(opens_at)))
    }

    pub(super) fn enter(&mut self) {
        self.under_way += 1;
    }

    /// A call came back, from a service that works.
    pub(super) fn leave(&mut self) {
        self.under_way -= 1;
        if self.opens_at.take().is_some() {
            self.pauses = PAUSES.build();
        }
    }

    /// A call came back, from a service that does not work.
    pub(super) fn leave_failing(&mut self, now: Instant, retry_after: Option<Duration>) {
        self.under_way -= 1;
        if self.opens_at.is_some_and(|opens_at| now < opens_at) {
            return; // under way together with the one that closed the gate
        }
        let pause = self.pauses.next().unwrap_or(LONGEST_PAUSE) + retry_after.unwrap_or_default().min(LONGEST_PAUSE);
        self.opens_at = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// Ends the pause: the next call may pass at `now`.
    pub(super) fn end_pause(&mut self, now: Instant) {
        self.opens_at = self.opens_at.map(|opens_at| opens_at.min(now));
    }

    pub(super) fn is_failing(&self) -> bool {
        self.opens_at.is_some()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_calls_as_the_gate_is_wide_are_under_way_at_a_time() {
        let now = Instant::now();
        let mut gate = Gate::new(2);
        gate.enter();
        assert_eq!(gate.passes_at(now), Some(now));
        gate.enter();
        assert_eq!(gate.passes_at(now), None);
        gate.leave();
        assert_eq!(gate.passes_at(now), Some(now));
    }

    #[test]
    fn a_failing_service_is_asked_by_one_call_at_a_time_after_pauses_that_grow_to_a_bound() {
        let start = Instant::now();
        let mut gate = Gate::new(4);
        let mut now = start;
        for attempt in 0..50 {
            gate.enter();
            gate.leave_failing(now, None);
            let opens_at = gate.passes_at(now).unwrap();
            let shortest = Duration::from_millis(100 * (1 << attempt.min(5))).min(Duration::from_secs(3));
            assert!((shortest..=2 * shortest).contains(&(opens_at - now)), "{:?}", opens_at - now);
            now = opens_at;
        }
        gate.enter();
        assert_eq!(gate.passes_at(now), None);
        gate.leave();
        assert_eq!(gate.passes_at(start), Some(start));
    }

    #[test]
    fn the_pause_is_no_shorter_than_the_service_asks_for_but_has_a_bound() {
        let now = Instant::now();
        for (asked, shortest, longest) in [(2, 2_100, 2_200), (86_400, 15_000, 15_000)] {
            let mut gate = Gate::new(4);
            gate.enter();
            gate.leave_failing(now, Some(Duration::from_secs(asked)));
            let pause = (gate.passes_at(now).unwrap() - now).as_millis();
            assert!((shortest..=longest).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_pause_that_is_ended_lets_one_call_pass_at_once() {
        let now = Instant::now();
        let mut gate = Gate::new(4);
        gate.enter();
        gate.leave_failing(now, Some(Duration::from_secs(10)));
        gate.end_pause(now);
        assert_eq!(gate.passes_at(now), Some(now));
        gate.enter();
        assert_eq!(gate.passes_at(now), None);
    }

    #[test]
    fn calls_that_fail_together_make_one_pause() {
        let now = Instant::now();
        let mut gate = Gate::new(4);
        (0..4).for_each(|_| gate.enter());
        (0..4).for_each(|_| gate.leave_failing(now, None));
        assert!(gate.passes_at(now).unwrap() - now <= Duration::from_millis(200));
    }
}
