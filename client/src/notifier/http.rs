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
    builder::{Callbacks, HttpNotifierBuilder},
    call::{Call, Connection, Notice},
    desk::Desk,
    lease::{GatewayLease, LeaseCall},
};
use crate::{
    Activity, CallError, ConnectionId, Endpoint, GatewayId, InvalidEndpoint, PlayerId, Reason, State,
    transport::Transport,
};

/// Tells the presence service, from a task of its own, of all that happens; and of every open connection once in a
/// heartbeat interval. See the [crate's documentation](crate) for what it promises.
///
/// Dropping it ends its task at once, and with it all that is not through yet: [`drain`](Self::drain) first.
pub struct HttpNotifier {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

/// Some of what [`HttpNotifier::drain`] had to report was refused, or was not delivered in time. The leases expire by
/// themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} disconnects and states were refused, or not delivered in time")]
pub struct Undelivered {
    /// How many disconnects and states. A connection whose lease is not known to have ended counts as a disconnect.
    pub tasks: usize,
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

impl HttpNotifier {
    /// A notifier for the service at `endpoint`, with the defaults.
    pub fn builder(endpoint: Endpoint) -> HttpNotifierBuilder {
        HttpNotifierBuilder::new(endpoint)
    }

    pub(super) fn start(desk: Desk, transport: Transport, callbacks: Callbacks) -> Self {
        let shared = Arc::new(Shared {
            desk: Mutex::new(desk),
            changed: Notify::new(),
            settled: Notify::new(),
            transport,
            callbacks,
            has_panicked: AtomicBool::new(false),
        });
        Self { pump: tokio::spawn(pump(Arc::clone(&shared))), shared }
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

    /// For the end of the gateway: delivers what waits, then ends the gateway's lease and with it those of all connections
    /// in one call; and waits until everything is delivered, for `limit` at most. Connections that come later are not taken.
    ///
    /// With [`Reason::Moving`], players keep record and state for the service's move grace, and friends notice nothing of
    /// those who come back within it. Sockets should be closed from here on, not before: those that close as
    /// [lost](Reason::Lost) or [moving](Reason::Moving) after this call need no report of their own.
    ///
    /// If the service does not have leases of gateways, or none is kept, connections are disconnected in batches.
    ///
    /// # Errors
    /// [`Undelivered`] if the service refused some of it, or the limit came first.
    pub async fn drain(&self, reason: Reason, limit: Duration) -> Result<(), Undelivered> {
        self.change(|desk, now| desk.drain(reason, limit, now));
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

    /// The id under which the gateway's lease is kept; `None` if none is.
    pub fn gateway_id(&self) -> Option<GatewayId> {
        self.shared.desk().gateway_id().cloned()
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

    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        self.change(|desk, now| desk.activity_changed(player, activity.cloned(), now));
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
        let lease_call = shared.desk().next_lease_call(Instant::now());
        if let Some(call) = lease_call {
            tokio::spawn(perform_lease_call(Arc::clone(&shared), call));
            continue;
        }
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

async fn perform_lease_call(shared: Arc<Shared>, call: LeaseCall) {
    let answer = timeout(call.timeout, shared.transport.post(GatewayLease::PATH, &call)).await;
    let result = answer.unwrap_or(Err(CallError::TimedOut));
    shared.desk().settle_lease(&call, &result, Instant::now());
    shared.changed.notify_one();
    shared.settled.notify_waiters();
}
