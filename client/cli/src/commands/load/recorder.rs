//! Collects counts and latencies from all tasks of a load.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use presence_client::{CallError, CallReport};

use super::figures::{Call, Figures};

/// Collects counts and latencies. Cheap to clone; clones share their figures.
#[derive(Debug, Clone)]
pub(super) struct Recorder(Arc<Mutex<Figures>>);

impl Recorder {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Figures::new())))
    }

    /// Returns the figures of the phase that has ended, and starts those of the next one.
    pub(super) fn take(&self) -> Figures {
        std::mem::replace(&mut self.figures(), Figures::of_next_phase())
    }

    /// Records a call of a gateway. Its latency counts from when it was due.
    pub(super) fn record_call(&self, report: &CallReport<'_>) {
        let mut figures = self.figures();
        let call = Call::of(report.kind);
        // A service without gateway leases refuses these calls by design.
        let is_unsupported = |error: &CallError| matches!(error, CallError::Problem(problem) if matches!(problem.status, 400 | 404 | 405));
        if call == Call::Gateway && report.error.is_some_and(is_unsupported) {
            return;
        }
        let latency = report.waited + report.took;
        if call == Call::Heartbeat && figures.was_due_here(latency) {
            figures.longest_heartbeat_wait = figures.longest_heartbeat_wait.max(report.waited);
        }
        if report.failed_entries > 0 {
            let errors = figures
                .errors
                .entry((call, "entry of a batch that failed".to_owned()));
            *errors.or_default() += report.failed_entries as u64;
        }
        let entries = report.entries.saturating_sub(report.failed_entries) as u64;
        figures.record(call, entries, latency, report.error);
    }

    /// Records a read of friends. `latency` counts from when it was due.
    pub(super) fn record_read(
        &self,
        latency: Duration,
        false_offline: u64,
        error: Option<&CallError>,
    ) {
        let mut figures = self.figures();
        figures.false_offline += false_offline;
        figures.record(Call::Friends, 1, latency, error);
    }

    /// Records a read that was due but not sent, because too many others are in flight.
    pub(super) fn record_unsent_read(&self) {
        *self
            .figures()
            .errors
            .entry((
                Call::Friends,
                "too many reads without a response".to_owned(),
            ))
            .or_default() += 1;
    }

    /// Records a change that a watching gateway received. `latency` counts from the change.
    pub(super) fn record_change(&self, latency: Duration) {
        self.figures().record(Call::Watch, 1, latency, None);
    }

    pub(super) fn record_watch_error(&self, error: &CallError) {
        self.figures().record_error(Call::Watch, error);
    }

    pub(super) fn record_lost_connection(&self) {
        self.figures().lost_connections += 1;
    }

    pub(super) fn record_own_delay(&self, delay: Duration) {
        self.figures().own_delay.record(delay, 1);
    }

    /// The number of connections that the service accepted.
    pub(super) fn connects(&self) -> u64 {
        self.figures().entries(Call::Connect)
    }

    /// A refusal that applies to all calls.
    pub(super) fn refusal(&self) -> Option<CallError> {
        self.figures().refusal.clone().map(CallError::from)
    }

    /// For the progress line: heartbeats, the longest p99 of all kinds of calls, and errors.
    pub(super) fn summary(&self) -> (u64, Duration, u64) {
        let figures = self.figures();
        let calls = figures.calls().filter(|(call, _)| *call != Call::Watch);
        let p99 = calls
            .map(|(_, figures)| figures.latency.quantile(0.99))
            .max()
            .unwrap_or_default();
        (
            figures.entries(Call::Heartbeat),
            p99,
            figures.failures(false),
        )
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use presence_client::Problem;

    use super::*;

    fn problem(status: u16, slug: &str) -> CallError {
        let slug = slug.to_owned();
        let detail = String::new();
        let is_via_api_gateway = false;
        Problem {
            status,
            slug,
            detail,
            message: None,
            is_via_api_gateway,
            field: None,
            retry_after: None,
        }
        .into()
    }

    #[test]
    fn errors_are_counted_by_kind_and_an_overload_is_one_only_while_the_load_is_measured() {
        let recorder = Recorder::new();
        for error in [
            problem(503, "overloaded"),
            problem(503, "overloaded"),
            problem(502, "about:blank"),
        ] {
            recorder.record_read(Duration::from_millis(1), 0, Some(&error));
        }
        recorder.record_read(Duration::from_millis(1), 0, Some(&CallError::TimedOut));
        let figures = recorder.take();
        let errors: Vec<_> = figures
            .errors
            .iter()
            .map(|((_, error), count)| (error.as_str(), *count))
            .collect();
        let timed_out = CallError::TimedOut.to_string();
        assert_eq!(
            errors,
            [
                ("overloaded (503)", 2),
                ("status 502", 1),
                (timed_out.as_str(), 1)
            ]
        );
        assert_eq!((figures.failures(true), figures.failures(false)), (2, 4));
        assert_eq!(figures.call(Call::Friends).unwrap().failed, 4);
        assert_eq!(
            recorder.take().failures(false),
            0,
            "figures that were taken are not counted again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_that_began_in_the_phase_before_does_not_count_in_this_one() {
        let recorder = Recorder::new();
        recorder.take();
        tokio::time::advance(Duration::from_secs(1)).await;
        for latency in [1_000, 1_001] {
            recorder.record_change(Duration::from_millis(latency));
        }
        let figures = recorder.take();
        let watch = figures.call(Call::Watch).unwrap();
        assert_eq!(
            (
                watch.entries,
                watch.latency.quantile(1.0) < Duration::from_millis(1_001)
            ),
            (2, true)
        );
    }

    #[test]
    fn a_refusal_of_all_calls_ends_the_load_and_one_of_watching_does_not() {
        let recorder = Recorder::new();
        for error in [
            problem(409, "transition-rejected"),
            problem(503, "store-unavailable"),
            problem(400, "invalid-request"),
        ] {
            recorder.record_read(Duration::ZERO, 0, Some(&error));
        }
        recorder.record_watch_error(&problem(404, "not-found"));
        assert!(recorder.refusal().is_none());
        recorder.record_read(Duration::ZERO, 0, Some(&problem(401, "unauthorized")));
        assert!(
            matches!(recorder.refusal(), Some(CallError::Problem(problem)) if problem.status == 401)
        );
    }
}
