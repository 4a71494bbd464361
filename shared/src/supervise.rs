//! Supervision of background tasks.

use std::{panic::AssertUnwindSafe, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use crate::telemetry::metrics::TASK_RESTARTS;

/// The pause before the first restart. Each further one doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// The longest pause between two restarts. A task that ran longer than this starts over with the
/// shortest one.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Runs a background task, and restarts it with backoff whenever it panics. Returns when the task
/// returns; dropping the future stops the task.
///
/// Each restart is logged, and counted in `presence_task_restarts_total` by `task`. The process
/// keeps serving calls meanwhile, however often the task fails.
pub async fn supervise<F>(task: &'static str, start: impl Fn() -> F)
where
    F: Future<Output = ()>,
{
    let restarts = metrics::counter!(TASK_RESTARTS, "task" => task);
    restarts.increment(0); // exported from the start, so that the first restart shows as an increase
    let new_backoff = || {
        let builder = ExponentialBuilder::new()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(MAX_DELAY);
        builder.without_max_times().with_jitter().build()
    };
    let mut pauses = new_backoff();
    loop {
        let begin = Instant::now();
        // Unwind safe: the restarted task begins with `start`, and sees no state of the one that
        // panicked.
        if AssertUnwindSafe(start()).catch_unwind().await.is_ok() {
            return;
        }
        if begin.elapsed() > MAX_DELAY {
            pauses = new_backoff();
        }
        let pause = pauses.next().unwrap_or(MAX_DELAY);
        tracing::error!(task, ?pause, "background task panicked, restarting");
        restarts.increment(1);
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        future::{pending, ready},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_restarted_with_growing_pauses() {
        let starts = Cell::new(0);
        let begin = Instant::now();
        supervise("test", || {
            starts.set(starts.get() + 1);
            async {
                assert!(starts.get() > 6, "a defect");
            }
        })
        .await;
        assert_eq!(starts.get(), 7);
        // 100 + 200 + … + 3,200 ms, and less than as much again of jitter.
        assert!(
            (6_300..12_700).contains(&begin.elapsed().as_millis()),
            "{:?}",
            begin.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ran_for_long_is_restarted_soon() {
        let starts = Cell::new(0_u32);
        let last_start = Cell::new(Instant::now());
        supervise("test", || {
            starts.set(starts.get() + 1);
            let pause = last_start.get().elapsed();
            let start = starts.get();
            let last_start = &last_start;
            async move {
                if start > 1 {
                    assert!(pause < FIRST_DELAY * 2 + MAX_DELAY * 2, "{pause:?}");
                }
                last_start.set(Instant::now());
                if start < 20 {
                    sleep(MAX_DELAY + Duration::from_secs(1)).await;
                    panic!("a defect");
                }
            }
        })
        .await;
        assert_eq!(starts.get(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_returns_is_not_restarted_and_a_dropped_one_stops() {
        let starts = Cell::new(0);
        let count = || starts.set(starts.get() + 1);
        supervise("test", || {
            count();
            ready(())
        })
        .await;
        assert_eq!(starts.get(), 1);
        let endless = supervise("test", || {
            count();
            pending()
        });
        assert!(
            tokio::time::timeout(Duration::from_secs(100), endless)
                .await
                .is_err()
        );
        assert_eq!(starts.get(), 2);
    }
}
