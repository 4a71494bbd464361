//! Status of the stream of changes, for callers.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use crate::CallError;

/// Source of the changes that a [`Watcher`](super::Watcher) receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FeedState {
    /// Changes arrive as they are made.
    Live,
    /// The service has no events, or its NATS is down: it reads all watched players every few
    /// seconds, and changes are late by that time.
    Polling,
    /// The service cannot read its store: delivered presences may be outdated.
    Stale,
    /// No stream is open, or not all players have been read again since it was opened: delivered
    /// presences may be outdated.
    #[default]
    Disconnected,
}

/// Whether changes arrive, and if not, why.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WatchStatus {
    /// The source of changes.
    pub feed: FeedState,
    /// Why the latest attempt to open a stream failed, why the stream ended, or why the service
    /// refused to watch some players, such as `too-many`. The watcher tries again in each case.
    /// `None` if there is no error.
    pub error: Option<Arc<CallError>>,
}

/// The changes of the status of a [`Watcher`](super::Watcher).
#[derive(Debug)]
pub struct StatusChanges {
    pub(super) status: watch::Receiver<WatchStatus>,
}

impl FeedState {
    /// The state's name: `live`, `polling`, `stale` or `disconnected`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Polling => "polling",
            Self::Stale => "stale",
            Self::Disconnected => "disconnected",
        }
    }

    /// The state with this name in the service. A name that only a newer service sends promises
    /// nothing, so it counts as stale.
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "live" => Self::Live,
            "polling" => Self::Polling,
            _ => Self::Stale,
        }
    }
}

impl fmt::Display for FeedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StatusChanges {
    /// Waits for the next status: first the current one, then each newer one. A slow reader gets
    /// only the newest. `None` after the watcher was dropped. Cancel safe.
    pub async fn next(&mut self) -> Option<WatchStatus> {
        self.status.changed().await.ok()?;
        Some(self.status.borrow_and_update().clone())
    }
}
