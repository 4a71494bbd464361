//! Circuit breaker of publishing: after a failure, callers do not wait for NATS for a while.

use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::error_chain::error_chain;

/// Circuit breaker. It remembers the last failure until an event is published or NATS is connected
/// again.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failed_at: Option<Instant>,
    /// The reason that was logged last. Failures in a row with the same reason are logged once.
    logged: Option<String>,
}

impl Breaker {
    /// Whether an attempt may be made: there was no failure within the last `cool_down`.
    pub(super) fn is_closed(&self, cool_down: Duration) -> bool {
        self.state()
            .failed_at
            .is_none_or(|failed_at| failed_at.elapsed() >= cool_down)
    }

    /// Records a failed attempt. Returns whether its `reason` differs from that of the last failure
    /// since an event was published.
    pub(super) fn open(&self, reason: &str) -> bool {
        let mut state = self.state();
        state.failed_at = Some(Instant::now());
        let is_new = state.logged.as_deref() != Some(reason);
        state.logged = Some(reason.to_owned());
        is_new
    }

    /// Records a failed attempt, and logs it unless the one before had the same reason.
    pub(super) fn report<'a>(&self, error: &'a (dyn Error + 'static), message: &'static str) {
        if self.open(&error_chain(error)) {
            tracing::error!(error, "{message}");
        }
    }

    /// Records a successful attempt. Returns whether earlier attempts had failed.
    pub(super) fn close(&self) -> bool {
        let mut state = self.state();
        state.failed_at = None;
        state.logged.take().is_some()
    }

    /// Lets the next caller try at once. Called when NATS is connected again.
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
        breaker.open("down");
        tokio::time::advance(COOL_DOWN - Duration::from_millis(1)).await;
        assert!(!breaker.is_closed(COOL_DOWN));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(breaker.is_closed(COOL_DOWN));
        breaker.open("down");
        breaker.retry_now();
        assert!(breaker.is_closed(COOL_DOWN));
    }

    #[test]
    fn an_episode_is_reported_once_for_each_reason() {
        let breaker = Breaker::default();
        assert_eq!(
            ["full", "full", "down", "down"].map(|reason| breaker.open(reason)),
            [true, false, true, false]
        );
        breaker.retry_now();
        assert!(!breaker.open("down"), "the episode goes on");
        assert!(breaker.close());
        assert!(!breaker.close());
        assert!(breaker.open("down"));
    }
}
