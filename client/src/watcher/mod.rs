//! Watcher: the current presence of each watched player, then every change.
//!
//! - `registry`, `requests`: the sans-IO core: what each subscription receives, and what is
//!   requested of the service.
//! - `reconnect`, `session`, `message`: the task that opens streams, one stream, and its messages.
//! - `subscription`, `feed`: what callers use.

mod feed;
mod message;
mod reconnect;
mod registry;
mod requests;
mod session;
mod subscription;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

pub use self::{
    feed::{FeedState, StatusChanges, WatchStatus},
    subscription::Subscription,
};
use self::{registry::Registry, requests::RequestQueue};
use crate::{Activity, Endpoint, InvalidEndpoint, PlayerId, State, transport::Transport};

/// Watches players of a `presence-server`, over one WebSocket for all
/// [subscriptions](Subscription). It is cheap to clone, and clones share the stream, which ends
/// when the last clone and the last subscription are dropped.
///
/// - **No gaps.** A subscription receives the presence of each player as soon as it is known, and
///   then each change, or a newer one of the same player in its place. When the stream breaks, the
///   watcher opens another one, with a growing, jittered delay, and sends the versions that it has:
///   the service responds with what has changed since.
/// - **No duplicates.** A presence whose state, version and activity were delivered already is not
///   delivered again, not even after a reconnect.
/// - **Order.** The versions of a player never decrease. `None` after a version means that the
///   service's store has lost data of this player; the next version is higher than all earlier
///   ones.
/// - **Bounded memory.** The memory of a subscription that is not read is bounded by the number of
///   its players, since later changes replace earlier ones.
/// - **Unknown is not OFFLINE.** A player that cannot be read is not delivered.
///   [`status`](Self::status) returns whether the delivered presences are current.
///
/// Intermediate states may be skipped: a player that is set IN_QUEUE and then IN_MATCH within one
/// interval of the service is delivered as IN_MATCH.
#[derive(Clone)]
pub struct Watcher {
    handle: Arc<Handle>,
}

/// The newest presence of a watched player.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WatchedPresence {
    /// The player.
    pub player_id: PlayerId,
    /// What the player is doing.
    pub state: State,
    /// When the player was last seen, in Unix milliseconds, as of this change: heartbeats are not
    /// delivered. `None` if unknown.
    pub last_seen: Option<u64>,
    /// Orders the transitions of the player. `None` for a player without transitions, or whose data
    /// was lost.
    pub version: Option<u64>,
    /// The activity that the game set, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
}

/// Counters of a [`Watcher`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchStats {
    /// Subscriptions that are open now.
    pub subscriptions: u64,
    /// Distinct players of all subscriptions.
    pub players: u64,
    /// Players that the service does not watch yet, because no stream is open or their request is
    /// not complete.
    pub waiting: u64,
    /// Changes that the service sent, including snapshots.
    pub changes: u64,
    /// Streams opened since the start.
    pub streams: u64,
}

/// Ends the task of the watcher when the last clone and the last subscription are dropped.
struct Handle {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    transport: Transport,
    watch_list: Mutex<WatchList>,
    /// Notified when a request may be due.
    changed: Notify,
    /// Notified when the token has changed, so that the next attempt to connect is made at once.
    token_changed: Notify,
    status: watch::Sender<WatchStatus>,
    changes: AtomicU64,
    streams: AtomicU64,
}

/// The watched players, and the requests that the service needs to watch them.
struct WatchList {
    registry: Registry,
    requests: RequestQueue,
}

impl Watcher {
    /// Starts a watcher. It connects when the first player is watched.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`] if the root certificates of this machine cannot be
    /// read.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn start(endpoint: Endpoint) -> Result<Self, InvalidEndpoint> {
        let shared = Arc::new(Shared {
            transport: Transport::new(endpoint)?,
            watch_list: Mutex::new(WatchList {
                registry: Registry::default(),
                requests: RequestQueue::new(),
            }),
            changed: Notify::new(),
            token_changed: Notify::new(),
            status: watch::Sender::new(WatchStatus::default()),
            changes: AtomicU64::new(0),
            streams: AtomicU64::new(0),
        });
        let task = tokio::spawn(reconnect::run(Arc::clone(&shared)));
        Ok(Self {
            handle: Arc::new(Handle { shared, task }),
        })
    }

    /// Subscribes to players; more can be added later, so the list may be empty. Players of several
    /// subscriptions are requested once.
    pub fn watch<'a>(&self, players: impl IntoIterator<Item = &'a PlayerId>) -> Subscription {
        let subscription = Subscription::open(Arc::clone(&self.handle));
        subscription.watch(players);
        subscription
    }

    /// Sends this bearer token when further streams are opened. The open stream continues. An
    /// attempt that waits because the service did not accept the previous token is made at once.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`] if it is not a valid token; the previous one stays in use.
    pub fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        self.handle.shared.transport.set_token(token)?;
        self.handle.shared.token_changed.notify_one();
        Ok(())
    }

    /// Whether the delivered presences are current, and if not, why.
    pub fn status(&self) -> WatchStatus {
        self.handle.shared.status.borrow().clone()
    }

    /// The current status, then each newer one.
    pub fn status_changes(&self) -> StatusChanges {
        let mut status = self.handle.shared.status.subscribe();
        status.mark_changed(); // so that the current status is returned first
        StatusChanges { status }
    }

    /// The counters. Takes time in proportion to the number of players.
    pub fn stats(&self) -> WatchStats {
        let shared = &self.handle.shared;
        let watch_list = shared.watch_list();
        WatchStats {
            subscriptions: watch_list.registry.subscriptions() as u64,
            players: watch_list.registry.players() as u64,
            waiting: watch_list.requests.waiting() as u64,
            changes: shared.changes.load(Ordering::Relaxed),
            streams: shared.streams.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("status", &self.status())
            .field("stats", &self.stats())
            .finish()
    }
}

impl Shared {
    /// Locks the watch list, for no longer than one message or one call takes, never during I/O. A
    /// poisoned lock is used all the same: no code under it panics half-way.
    fn watch_list(&self) -> MutexGuard<'_, WatchList> {
        self.watch_list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
