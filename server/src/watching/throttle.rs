//! Throttle of a stream: the first change after a pause is sent at once, then at most one message
//! per interval.

use std::time::Duration;

use presence::watch::{Changes, WatchStream};
use tokio::time::{Instant, sleep_until};

/// Limits how often a stream sends changes.
pub(super) struct Throttle {
    interval: Duration,
    /// When the next message may be sent.
    next: Instant,
    /// Whether changes are waiting in the hub.
    has_changes: bool,
}

impl Throttle {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            next: Instant::now(),
            has_changes: false,
        }
    }

    /// Waits until changes exist and may be sent, and takes them. Cancel safe.
    pub(super) async fn changes(&mut self, stream: &WatchStream) -> Changes {
        loop {
            if !self.has_changes {
                stream.changed().await;
                self.has_changes = true;
            }
            sleep_until(self.next).await;
            if let Some(changes) = self.take(stream) {
                return changes;
            }
        }
    }

    /// Takes the changes, whether or not the interval has passed.
    pub(super) fn take(&mut self, stream: &WatchStream) -> Option<Changes> {
        let changes = stream.take_changes();
        self.has_changes = changes.as_ref().is_some_and(|changes| changes.has_more);
        if changes.is_some() {
            self.next = Instant::now() + self.interval;
        }
        changes
    }
}
