//! The circuit breaker of publishing: after a failure, callers stop waiting for NATS for a while.

use std::{
    error::Error,
    iter::successors,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Remembers the last failure until something is published, or NATS is connected again.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failed_at: Option<Instant>,
    /// What was logged last. An episode of one failure is one line, however many attempts it lasts.
    logged: Option<String>,
}

impl Breaker {
    /// Whether the last failure, if there is one, is at least `cool_down` ago.
    pub(super) fn is_closed(&self, cool_down: Duration) -> bool {
        self.state().failed_at.is_none_or(|failed_at| failed_at.elapsed() >= cool_down)
    }

    /// Notes a failed attempt. Returns whether it is the first one with this `reason` since something was published.
    pub(super) fn open(&self, reason: &str) -> bool {
        let mut state = self.state();
        state.failed_at = Some(Instant::now());
        let is_new = state.logged.as_deref() != Some(reason);
        state.logged = Some(reason.to_owned());
        is_new
    }

    /// Notes a failed attempt, and logs the first one of each kind.
    pub(super) fn report<'a>(&self, error: &'a (dyn Error + 'static), message: &'static str) {
        let causes = successors(Some(error), |error| (*error).source());
        let reason = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        if self.open(&reason) {
            tracing::error!(error, "{message}");
        }
    }

    /// Notes that an attempt succeeded. Returns whether attempts failed before.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state();
        state.failed_at = None;
        state.logged.take().is_some()
    }

    /// Lets the next caller try at once: NATS is connected again.
    pub(super) fn retry_now(&self) {
        self.state().failed_at = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOL_DOWN: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn callers_wait_out_the_cool_down_unless_the_connection_is_new() {
        let breaker = Breaker::default();
        assert!(breaker.is_closed(COOL_DOWN));
        breaker.open("away");
        tokio::time::advance(COOL_DOWN - Duration::from_millis(1)).await;
        assert!(!breaker.is_closed(COOL_DOWN));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(breaker.is_closed(COOL_DOWN));
        breaker.open("away");
        breaker.retry_now();
        assert!(breaker.is_closed(COOL_DOWN));
    }

    #[test]
    fn an_episode_is_reported_once_for_each_reason() {
        let breaker = Breaker::default();
        assert_eq!(["full", "full", "away", "away"].map(|reason| breaker.open(reason)), [true, false, true, false]);
        breaker.retry_now();
        assert!(!breaker.open("away"), "the episode goes on");
        assert!(breaker.close());
        assert!(!breaker.close());
        assert!(breaker.open("away"));
    }
}
