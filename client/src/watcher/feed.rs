//! State of the stream of changes, as callers see it.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use crate::CallError;

/// Source of the changes that a [`Watcher`](super::Watcher) receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FeedState {
    /// Changes arrive as they are made.
    Live,
    /// The service has no events, or its NATS is down: it reads all watched players every few seconds.
    Polling,
    /// The service cannot read its store: what is held may be outdated.
    Stale,
    /// There is no stream, or not all players have been read again since it was opened: what is held may be outdated.
    #[default]
    Disconnected,
}

/// Whether changes arrive, and if there is no stream, why.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WatchStatus {
    /// The source of changes.
    pub feed: FeedState,
    /// Why the newest attempt to open a stream failed, why the stream ended, or why the service refused to watch some
    /// players, such as `too-many`; each is repeated. `None` while all is well.
    pub error: Option<Arc<CallError>>,
}

/// The status of a [`Watcher`](super::Watcher), state after state.
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

    /// The state that the service names. One that only a newer service has is no promise.
    pub(super) fn from_word(word: &str) -> Self {
        match word {
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
    /// The present status first, then each newer one; a reader that is slow gets the newest only. `None` once the
    /// watcher was dropped. Can be cancelled.
    pub async fn next(&mut self) -> Option<WatchStatus> {
        self.status.changed().await.ok()?;
        Some(self.status.borrow_and_update().clone())
    }
}
