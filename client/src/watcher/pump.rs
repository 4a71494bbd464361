//! The watcher's task: one stream after the other, with pauses in between.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::{Instant, sleep};

use super::{FeedState, Shared, WatchStatus, session::Session};
use crate::CallError;

/// The pauses between attempts to open a stream: from 100–200 ms to 1–2 s.
const DELAYS: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(1))
    .without_max_times();

/// The longest pause, if the service asks for one.
const MAX_PAUSE: Duration = Duration::from_secs(15);

/// A stream that lasted this long worked: the pauses begin with the shortest one again.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Keeps a stream open for as long as players are watched.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut delays = DELAYS.build();
    let mut is_failing = false;
    loop {
        shared.until_wanted().await;
        let begun_at = Instant::now();
        let (error, was_open) = match Session::open(&shared).await {
            Ok(session) => {
                tracing::info!("watching players");
                (session.run().await, true)
            }
            Err(error) => (error, false),
        };
        if was_open && begun_at.elapsed() >= STABLE_AFTER {
            delays = DELAYS.build();
        }
        // Once per episode, not per attempt.
        if was_open || !is_failing {
            tracing::warn!(error = %Chain(&error), "no stream to watch players on; it will be opened again");
        }
        is_failing = !was_open;
        let pause = delays.next().unwrap_or_default() + error.retry_after().unwrap_or_default();
        shared.disconnected(error);
        tokio::select! {
            () = sleep(pause.min(MAX_PAUSE)) => {}
            () = shared.token_changed.notified() => {}
        }
    }
}

impl Shared {
    /// Waits until a player is watched.
    async fn until_wanted(&self) {
        while self.interests().requests.is_empty() {
            self.changed.notified().await;
        }
    }

    fn disconnected(&self, error: CallError) {
        let status = WatchStatus { feed: FeedState::Disconnected, error: Some(Arc::new(error)) };
        self.status.send_replace(status);
    }
}

/// An error with its sources.
struct Chain<'a>(&'a CallError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let sources = std::iter::successors(std::error::Error::source(self.0), |error| error.source());
        sources.into_iter().try_for_each(|source| write!(f, ": {source}"))
    }
}
