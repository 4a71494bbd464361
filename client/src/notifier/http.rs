//! The notifier that calls the presence service.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    Notifier, Stats,
    call::{Call, Connection},
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
    on_closed: Arc<OnClosed>,
}

/// Some of what [`HttpNotifier::drain`] had to tell was not through in time. The leases run out by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} disconnects and states were not through in time")]
pub struct Undelivered {
    /// How many disconnects and states.
    pub tasks: usize,
}

type OnClosed = dyn Fn(&PlayerId, &ConnectionId) + Send + Sync;

struct Shared {
    desk: Mutex<Desk>,
    /// There may be a call to make earlier than was thought.
    changed: Notify,
    /// The answer to a call was settled.
    settled: Notify,
    transport: Transport,
    on_closed: Arc<OnClosed>,
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
    /// Runs on the notifier's task: it should hand the news on and not block.
    #[must_use]
    pub fn on_closed(mut self, on_closed: impl Fn(&PlayerId, &ConnectionId) + Send + Sync + 'static) -> Self {
        self.on_closed = Arc::new(on_closed);
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
            on_closed: self.on_closed,
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
        HttpNotifierBuilder { endpoint, pace, on_closed: Arc::new(|_, _| {}) }
    }

    /// For the end of the gateway: disconnects all that is open, and waits until all is through, for `limit` at most.
    /// Connections that come later are not taken.
    ///
    /// # Errors
    /// [`Undelivered`] where the limit came first.
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
        timeout(limit, all_through).await.map_err(|_| Undelivered { tasks: self.shared.desk().undelivered() })
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
    let closed = shared.desk().settle(call, result, Instant::now());
    shared.changed.notify_one();
    shared.settled.notify_waiters();
    for Connection { player_id, connection_id } in closed {
        (shared.on_closed)(&player_id, &connection_id);
    }
}
