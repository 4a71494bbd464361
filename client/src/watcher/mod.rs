//! Watching players: what each one is now, then every change.

mod feed;
mod message;
mod pump;
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

/// Watches players of a `presence-server`, over one WebSocket for all [subscriptions](Subscription). Cheap to clone;
/// clones share the stream. It ends with the last clone and the last subscription.
///
/// - **Nothing is lost.** A subscription gets each player's presence once it is known, and then each change, or a newer
///   one of the same player in its place. When the stream breaks, the watcher opens another one, with a growing,
///   jittered delay, and sends the versions that it holds: the service answers with what has changed since.
/// - **Nothing is delivered twice.** A presence whose state, version and activity were delivered already is not delivered again,
///   also after a reconnect.
/// - **Order.** The versions of a player never decrease. `None` after a version means that the service's store has lost
///   data of this player; the next version is above all earlier ones.
/// - **Bounded memory.** A subscription that is not read costs what its players cost: later changes replace earlier ones.
/// - **Unknown is not OFFLINE.** A player that cannot be read is not delivered. [`status`](Self::status) says whether
///   what was delivered is current.
///
/// Not every state in between is delivered: a player that goes IN_QUEUE and IN_MATCH within one interval of the
/// service's is IN_MATCH.
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
    /// When the service last heard from the player, in Unix milliseconds, as of this change: heartbeats are not
    /// delivered. `None` if it is not known.
    pub last_seen: Option<u64>,
    /// Orders the player's transitions. `None` for a player that never had any, or whose data was lost.
    pub version: Option<u64>,
    /// What the player is doing, in the game's own words, if the game has reported it.
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
    /// Players that the service does not watch yet: the stream is not open, or their request is not complete.
    pub waiting: u64,
    /// Changes that the service sent, snapshots included.
    pub changes: u64,
    /// Streams opened since the start.
    pub streams: u64,
}

/// Ends the watcher's task when the last user of it is dropped.
struct Handle {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

struct Shared {
    transport: Transport,
    interests: Mutex<Interests>,
    /// There may be a request to make.
    changed: Notify,
    /// There is a new token: an attempt to connect may succeed earlier than was thought.
    token_changed: Notify,
    status: watch::Sender<WatchStatus>,
    changes: AtomicU64,
    streams: AtomicU64,
}

/// Which players are watched, and how far the service watches them.
struct Interests {
    registry: Registry,
    requests: RequestQueue,
}

impl Watcher {
    /// Starts a watcher. Nothing is connected before the first player is watched.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(endpoint: Endpoint) -> Result<Self, InvalidEndpoint> {
        let shared = Arc::new(Shared {
            transport: Transport::new(endpoint)?,
            interests: Mutex::new(Interests { registry: Registry::default(), requests: RequestQueue::new() }),
            changed: Notify::new(),
            token_changed: Notify::new(),
            status: watch::Sender::new(WatchStatus::default()),
            changes: AtomicU64::new(0),
            streams: AtomicU64::new(0),
        });
        let pump = tokio::spawn(pump::run(Arc::clone(&shared)));
        Ok(Self { handle: Arc::new(Handle { shared, pump }) })
    }

    /// Subscribes to players; none is a beginning, too. Players of several subscriptions are requested once.
    pub fn watch<'a>(&self, players: impl IntoIterator<Item = &'a PlayerId>) -> Subscription {
        let subscription = Subscription::open(Arc::clone(&self.handle));
        subscription.watch(players);
        subscription
    }

    /// Sends this bearer token with every stream that is opened from now on. The open one stays; an attempt that waits
    /// because the service did not accept the previous token is made at once.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`]; the token stays what it was.
    pub fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        self.handle.shared.transport.set_token(token)?;
        self.handle.shared.token_changed.notify_one();
        Ok(())
    }

    /// Whether what was delivered is current, and if there is no stream, why.
    pub fn status(&self) -> WatchStatus {
        self.handle.shared.status.borrow().clone()
    }

    /// The present status, then each newer one.
    pub fn status_changes(&self) -> StatusChanges {
        let mut status = self.handle.shared.status.subscribe();
        status.mark_changed();
        StatusChanges { status }
    }

    /// The counters. Walks through all players.
    pub fn stats(&self) -> WatchStats {
        let shared = &self.handle.shared;
        let interests = shared.interests();
        WatchStats {
            subscriptions: interests.registry.subscriptions() as u64,
            players: interests.registry.players() as u64,
            waiting: interests.requests.waiting() as u64,
            changes: shared.changes.load(Ordering::Relaxed),
            streams: shared.streams.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("status", &self.status()).field("stats", &self.stats()).finish()
    }
}

impl Shared {
    /// Locked for no longer than it takes to note one message or one call of the owner's. Nothing in there panics half-way.
    fn interests(&self) -> MutexGuard<'_, Interests> {
        self.interests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.pump.abort();
    }
}
