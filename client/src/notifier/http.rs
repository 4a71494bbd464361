//! The notifier that calls the presence service.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Notifier, Stats,
    call::{Call, Connection, Notice},
    desk::{Desk, Pace},
};
use crate::{ConnectionId, Endpoint, InvalidEndpoint, PlayerId, Reason, State, transport::Transport};

/// The most entries that the service takes in one call.
const MAX_BATCH: usize = 2_000;

/// Tells the presence service, from a task of its own, of all that happens; and of every open connection once in a
/// heartbeat interval. See the [crate's documentation](crate) for what it promises.
///
/// Dropping it ends its task at once, and with it all that is not through yet: [`drain`](Self::drain) first.
pub struct HttpNotifier {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

/// Configures an [`HttpNotifier`].
pub struct HttpNotifierBuilder {
    endpoint: Endpoint,
    pace: Pace,
    callbacks: Callbacks,
}

/// Some of what [`HttpNotifier::drain`] had to report was refused, or was not delivered in time. The leases expire by
/// themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} disconnects and states were refused, or not delivered in time")]
pub struct Undelivered {
    /// How many disconnects and states.
    pub tasks: usize,
}

type Callback = dyn Fn(&PlayerId, &ConnectionId) + Send + Sync;

/// What the gateway does about notices.
#[derive(Clone)]
struct Callbacks {
    on_closed: Arc<Callback>,
    on_restored: Arc<Callback>,
}

struct Shared {
    desk: Mutex<Desk>,
    /// There may be a call to make earlier than was thought.
    changed: Notify,
    /// The answer to a call was settled.
    settled: Notify,
    transport: Transport,
    callbacks: Callbacks,
    /// A callback panicked before.
    has_panicked: AtomicBool,
}

impl HttpNotifierBuilder {
    /// How often the service is told of an open connection, until it says itself how often (default 15 s; from
    /// 100 ms to 1 h).
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.pace.heartbeat_interval = interval;
        self
    }

    /// How long a connection lives in the service after its last heartbeat, until the service says so itself (default
    /// 45 s). What is not through after twice that time is given up.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.pace.ttl = ttl;
        self
    }

    /// The most entries of one call, 1 to 2,000 (default 1,000).
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.pace.max_batch = max_batch.clamp(1, MAX_BATCH);
        self
    }

    /// Called for an open connection that the service says is closed, because the player was signed out or has too
    /// many connections: its socket should be shut. It is no longer beaten, and its disconnect need not be told.
    ///
    /// Runs on a task of the notifier: it should hand the notice on and not block. If it panics, the other connections
    /// are reported all the same.
    #[must_use]
    pub fn on_closed(mut self, on_closed: impl Fn(&PlayerId, &ConnectionId) + Send + Sync + 'static) -> Self {
        self.callbacks.on_closed = Arc::new(on_closed);
        self
    }

    /// Called for an open connection that the service had lost, with its store's data or in an outage longer than the
    /// TTL, and that a heartbeat restored. The notifier reports the last
    /// [state](crate::Notifier::state_changed) of a player with an open connection again by itself; a state that is set
    /// from here on replaces it.
    ///
    /// Runs on a task of the notifier, as [`on_closed`](Self::on_closed) does.
    #[must_use]
    pub fn on_restored(mut self, on_restored: impl Fn(&PlayerId, &ConnectionId) + Send + Sync + 'static) -> Self {
        self.callbacks.on_restored = Arc::new(on_restored);
        self
    }

    /// Starts the notifier. Nothing is connected before there is something to tell.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<HttpNotifier, InvalidEndpoint> {
        let shared = Arc::new(Shared {
            desk: Mutex::new(Desk::new(&self.pace, Instant::now())),
            changed: Notify::new(),
            settled: Notify::new(),
            transport: Transport::new(self.endpoint)?,
            callbacks: self.callbacks,
            has_panicked: AtomicBool::new(false),
        });
        Ok(HttpNotifier { pump: tokio::spawn(pump(Arc::clone(&shared))), shared })
    }
}

impl HttpNotifier {
    /// A notifier for the service at `endpoint`, with the defaults.
    pub fn builder(endpoint: Endpoint) -> HttpNotifierBuilder {
        let pace = Pace {
            heartbeat_interval: Duration::from_secs(15),
            ttl: Duration::from_secs(45),
            max_batch: MAX_BATCH / 2,
        };
        let callbacks = Callbacks { on_closed: Arc::new(|_, _| {}), on_restored: Arc::new(|_, _| {}) };
        HttpNotifierBuilder { endpoint, pace, callbacks }
    }

    /// Sends this bearer token with every call from now on. Calls that wait because the service did not accept the
    /// previous one are sent at once.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`]; the token stays what it was.
    pub fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        self.shared.transport.set_token(token)?;
        self.change(Desk::end_pauses);
        Ok(())
    }

    /// For the end of the gateway: disconnects all that is open, and waits until everything is delivered, for `limit` at
    /// most. Connections that come later are not taken.
    ///
    /// # Errors
    /// [`Undelivered`] if the service refused some of it, or the limit came first.
    pub async fn drain(&self, reason: Reason, limit: Duration) -> Result<(), Undelivered> {
        self.change(|desk, now| desk.drain(reason, now));
        let all_through = async {
            loop {
                let settled = self.shared.settled.notified();
                if self.shared.desk().undelivered() == 0 {
                    return;
                }
                settled.await;
            }
        };
        let is_in_time = timeout(limit, all_through).await.is_ok();
        let desk = self.shared.desk();
        let tasks = desk.refused() + if is_in_time { 0 } else { desk.undelivered() };
        if tasks == 0 { Ok(()) } else { Err(Undelivered { tasks }) }
    }

    /// The counters. Walks through all connections.
    pub fn stats(&self) -> Stats {
        self.shared.desk().stats()
    }

    fn change(&self, change: impl FnOnce(&mut Desk, Instant)) {
        change(&mut self.shared.desk(), Instant::now());
        self.shared.changed.notify_one();
    }
}

impl Notifier for HttpNotifier {
    fn connected(&self, player: &PlayerId, connection: &ConnectionId) {
        self.change(|desk, now| desk.connected(player, connection, now));
    }

    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason) {
        self.change(|desk, now| desk.disconnected(player, connection, reason, now));
    }

    fn state_changed(&self, player: &PlayerId, state: State) {
        self.change(|desk, now| desk.state_changed(player, state, now));
    }
}

impl Drop for HttpNotifier {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl fmt::Debug for HttpNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNotifier").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpNotifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNotifierBuilder")
            .field("endpoint", &self.endpoint)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Locked for no longer than it takes to gather or settle one batch. Nothing in there panics half-way.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the gateway's callback. One that panics does not keep the gateway from the other notices.
    fn notify_gateway(&self, notice: Notice) {
        let (callback, Connection { player_id, connection_id }) = match notice {
            Notice::Closed(connection) => (&self.callbacks.on_closed, connection),
            Notice::Restored(connection) => (&self.callbacks.on_restored, connection),
        };
        let result = catch_unwind(AssertUnwindSafe(|| callback(&player_id, &connection_id)));
        if result.is_err() && !self.has_panicked.swap(true, Ordering::Relaxed) {
            tracing::error!("a callback of the presence notifier panicked; further panics are not logged here");
        }
    }
}

/// Makes the calls when they are due.
async fn pump(shared: Arc<Shared>) {
    loop {
        let call = shared.desk().next_call(Instant::now());
        if let Some(call) = call {
            tokio::spawn(perform(Arc::clone(&shared), call));
            continue;
        }
        let next_call_at = shared.desk().next_call_at();
        let next_call = async {
            match next_call_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next_call => {}
            () = shared.changed.notified() => {}
        }
    }
}

async fn perform(shared: Arc<Shared>, call: Call) {
    let result = shared.transport.post(call.path(), &call.body()).await;
    let notices = shared.desk().settle(call, result, Instant::now());
    shared.changed.notify_one();
    shared.settled.notify_waiters();
    for notice in notices {
        shared.notify_gateway(notice);
    }
}
