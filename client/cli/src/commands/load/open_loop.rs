//! Open-loop schedules: the clock alone decides what is due, not the speed of the service.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// The time between two ticks.
const TICK: Duration = Duration::from_millis(10);

/// Ticks at even distances. None is skipped, even after a delay.
pub(super) fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

/// A schedule of events at an even rate, and how many of them were due so far.
#[derive(Debug)]
pub(super) struct RateSchedule {
    per_second: f64,
    started_at: Instant,
    done: u64,
}

impl RateSchedule {
    pub(super) fn new(per_second: f64, started_at: Instant) -> Self {
        Self {
            per_second,
            started_at,
            done: 0,
        }
    }

    /// The number that is due at `at` and was not before.
    pub(super) fn due(&mut self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.started_at).as_secs_f64();
        let total = (elapsed * self.per_second) as u64;
        let due = total.saturating_sub(self.done);
        self.done += due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_tick_is_made_up_for_by_the_next_one() {
        let start = Instant::now();
        let mut schedule = RateSchedule::new(250.0, start);
        assert_eq!(schedule.due(start), 0);
        assert_eq!(schedule.due(start + TICK), 2);
        assert_eq!(schedule.due(start + 2 * TICK), 3);
        assert_eq!(schedule.due(start + Duration::from_secs(2)), 495);
        assert_eq!(schedule.due(start + Duration::from_secs(1)), 0);
        assert_eq!(
            RateSchedule::new(0.0, start).due(start + Duration::from_secs(3_600)),
            0
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_tick_returns_when_it_was_due() {
        let mut ticks = ticks();
        let start = ticks.tick().await;
        tokio::time::advance(10 * TICK).await;
        for number in 1..=10 {
            assert_eq!(ticks.tick().await, start + number * TICK);
        }
    }
}
