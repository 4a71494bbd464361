//! Notifier that calls the presence service over HTTP.

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
    CallReport, Notifier, Stats,
    builder::{Callbacks, HttpNotifierBuilder},
    call::{Call, Connection, Notice},
    lease::{GatewayLease, LeaseCall},
    scheduler::CallScheduler,
};
use crate::{
    Activity, CallError, ConnectionId, Endpoint, GatewayId, InvalidEndpoint, PlayerId, Reason,
    State, transport::Transport,
};

/// Reports what happens to a gateway's sockets to the presence service, and sends heartbeats for
/// the open ones, from a task of its own. See the [crate's documentation](crate) for what it
/// promises.
///
/// Dropping it ends that task at once, and discards reports that are not delivered yet:
/// [`drain`](Self::drain) first.
pub struct HttpNotifier {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// Some reports of [`HttpNotifier::drain`] were refused, or were not delivered in time. The leases
/// expire without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} reports were refused, or not delivered in time")]
pub struct Undelivered {
    /// The number of disconnects, states and activities. A connection whose lease is not known to
    /// have ended counts as a disconnect.
    pub tasks: usize,
}

struct Shared {
    scheduler: Mutex<CallScheduler>,
    /// Notified when the next call may be due earlier than the task of the notifier expects.
    changed: Notify,
    /// Notified when the result of a call was applied.
    settled: Notify,
    transport: Transport,
    callbacks: Callbacks,
    /// Whether a callback has panicked before.
    has_panicked: AtomicBool,
}

impl HttpNotifier {
    /// Returns the configuration of a notifier for the service at `endpoint`, with its defaults.
    pub fn builder(endpoint: Endpoint) -> HttpNotifierBuilder {
        HttpNotifierBuilder::new(endpoint)
    }

    pub(super) fn start(
        scheduler: CallScheduler,
        transport: Transport,
        callbacks: Callbacks,
    ) -> Self {
        let shared = Arc::new(Shared {
            scheduler: Mutex::new(scheduler),
            changed: Notify::new(),
            settled: Notify::new(),
            transport,
            callbacks,
            has_panicked: AtomicBool::new(false),
        });
        let task = tokio::spawn(send_calls(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Sends this bearer token with every further call. Calls that wait because the service did not
    /// accept the previous token are sent at once.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`] if it is not a valid token; the previous one stays in use.
    pub fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        self.shared.transport.set_token(token)?;
        self.change(CallScheduler::end_pauses);
        Ok(())
    }

    /// Ends the gateway: sends waiting reports, then ends the leases of the gateway and of all its
    /// connections in one call. Returns when everything is delivered, or after `timeout`.
    /// Connections that are reported later are ignored.
    ///
    /// With [`Reason::Moving`], players keep record and state for the service's move grace, and
    /// friends notice nothing of those who reconnect within it. Close the sockets after this call
    /// has begun, not before: those that then close as [lost](Reason::Lost) or
    /// [moving](Reason::Moving) need no report of their own.
    ///
    /// If the service does not support leases of gateways, or none is kept, connections are
    /// disconnected in batches.
    ///
    /// # Errors
    /// [`Undelivered`] if the service refused some reports, or they were not delivered in time.
    pub async fn drain(&self, reason: Reason, timeout: Duration) -> Result<(), Undelivered> {
        self.change(|scheduler, now| scheduler.drain(reason, timeout, now));
        let all_delivered = async {
            loop {
                // Created before the check, so that no notification in between is missed.
                let settled = self.shared.settled.notified();
                if self.shared.scheduler().undelivered() == 0 {
                    return;
                }
                settled.await;
            }
        };
        let is_in_time = tokio::time::timeout(timeout, all_delivered).await.is_ok();
        let scheduler = self.shared.scheduler();
        let undelivered = if is_in_time {
            0
        } else {
            scheduler.undelivered()
        };
        let tasks = scheduler.refused() + undelivered;
        if tasks == 0 {
            Ok(())
        } else {
            Err(Undelivered { tasks })
        }
    }

    /// The id under which the gateway's lease is kept; `None` if no lease is kept.
    pub fn gateway_id(&self) -> Option<GatewayId> {
        self.shared.scheduler().gateway_id().cloned()
    }

    /// The counters. Takes time in proportion to the number of players.
    pub fn stats(&self) -> Stats {
        self.shared.scheduler().stats()
    }

    fn change(&self, change: impl FnOnce(&mut CallScheduler, Instant)) {
        change(&mut self.shared.scheduler(), Instant::now());
        self.shared.changed.notify_one();
    }
}

impl Notifier for HttpNotifier {
    fn connected(&self, player: &PlayerId, connection: &ConnectionId) {
        self.change(|scheduler, now| scheduler.connected(player, connection, now));
    }

    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason) {
        self.change(|scheduler, now| scheduler.disconnected(player, connection, reason, now));
    }

    fn state_changed(&self, player: &PlayerId, state: State) {
        self.change(|scheduler, now| scheduler.state_changed(player, state, now));
    }

    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        self.change(|scheduler, now| scheduler.activity_changed(player, activity.cloned(), now));
    }
}

impl Drop for HttpNotifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for HttpNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNotifier")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Locks the scheduler. The lock is held while one batch is gathered or settled, never during
    /// I/O. A poisoned lock is used all the same: no code under it panics half-way.
    fn scheduler(&self) -> MutexGuard<'_, CallScheduler> {
        self.scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the gateway's callback. If it panics, the gateway still receives the other notices.
    fn notify_gateway(&self, notice: Notice) {
        let (
            callback,
            Connection {
                player_id,
                connection_id,
            },
        ) = match notice {
            Notice::Closed(connection) => (&self.callbacks.on_closed, connection),
            Notice::Restored(connection) => (&self.callbacks.on_restored, connection),
        };
        self.guard(|| callback(&player_id, &connection_id));
    }

    /// Reports a call to the gateway, if it wants reports.
    fn report(&self, report: &CallReport<'_>) {
        if let Some(on_call) = &self.callbacks.on_call {
            self.guard(|| on_call(report));
        }
    }

    /// Runs a callback, which may panic.
    fn guard(&self, callback: impl FnOnce()) {
        let result = catch_unwind(AssertUnwindSafe(callback));
        if result.is_err() && !self.has_panicked.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "a callback of the presence notifier panicked; further panics are not logged here"
            );
        }
    }
}

/// Sends the calls when they are due, each on a task of its own.
async fn send_calls(shared: Arc<Shared>) {
    loop {
        // The lock is released before anything is awaited.
        let lease_call = shared.scheduler().next_lease_call(Instant::now());
        if let Some(call) = lease_call {
            tokio::spawn(send_lease_call(Arc::clone(&shared), call));
            continue;
        }
        let call = shared.scheduler().next_call(Instant::now());
        if let Some(call) = call {
            tokio::spawn(send_call(Arc::clone(&shared), call));
            continue;
        }
        let next_call_at = shared.scheduler().next_call_at();
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

async fn send_call(shared: Arc<Shared>, call: Call) {
    let result = shared.transport.post(call.path(), &call.body()).await;
    let now = Instant::now();
    shared.report(&CallReport::new(&call, &result, now - call.sent_at));
    let notices = shared.scheduler().settle(call, result, now);
    shared.changed.notify_one();
    shared.settled.notify_waiters();
    for notice in notices {
        shared.notify_gateway(notice);
    }
}

async fn send_lease_call(shared: Arc<Shared>, call: LeaseCall) {
    let response = timeout(
        call.timeout,
        shared.transport.post(GatewayLease::PATH, &call),
    )
    .await;
    let result = response.unwrap_or(Err(CallError::TimedOut));
    let now = Instant::now();
    shared.report(&CallReport::of_lease(&result, now - call.sent_at));
    shared.scheduler().settle_lease(&call, &result, now);
    shared.changed.notify_one();
    shared.settled.notify_waiters();
}
