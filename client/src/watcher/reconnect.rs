//! Task of the watcher: opens one stream after the other, with pauses in between.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::{FeedState, Shared, WatchStatus, session::Session};
use crate::{CallError, error::ErrorChain};

/// Pauses between attempts to open a stream: from 100–200 ms to 1–2 s.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(1))
    .without_max_times();

/// The longest pause, whatever `Retry-After` says.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// A stream that lasted this long counts as a success: the next pause is the shortest one again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Keeps a stream open for as long as players are watched.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = BACKOFF.build();
    let mut is_failing = false;
    loop {
        shared.wait_for_players().await;
        let began_at = Instant::now();
        let (error, was_open) = match Session::open(&shared).await {
            Ok(session) => {
                tracing::info!("watching players");
                (session.run().await, true)
            }
            Err(error) => (error, false),
        };
        if was_open && began_at.elapsed() >= STABLE_AFTER {
            backoff = BACKOFF.build();
        }
        // The first failed attempt is logged, its repetitions are not.
        if was_open || !is_failing {
            tracing::warn!(
                error = %ErrorChain(&error),
                "the stream of watched players is disconnected; reconnecting"
            );
        }
        is_failing = !was_open;
        let pause = backoff.next().unwrap_or_default() + error.retry_after().unwrap_or_default();
        shared.set_disconnected(error);
        tokio::select! {
            () = sleep(pause.min(MAX_PAUSE)) => {}
            () = shared.token_changed.notified() => {}
        }
    }
}

impl Shared {
    /// Waits until at least one player is watched.
    async fn wait_for_players(&self) {
        while self.watch_list().requests.is_empty() {
            self.changed.notified().await;
        }
    }

    fn set_disconnected(&self, error: CallError) {
        let status = WatchStatus {
            feed: FeedState::Disconnected,
            error: Some(Arc::new(error)),
        };
        self.status.send_replace(status);
    }
}
