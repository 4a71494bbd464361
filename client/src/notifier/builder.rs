//! Configuration of an `HttpNotifier`.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    CallReport, HttpNotifier, gateway_id,
    scheduler::{CallScheduler, Timing},
};
use crate::{ConnectionId, Endpoint, GatewayId, InvalidEndpoint, PlayerId, transport::Transport};

/// The most entries that the service accepts in one call.
const MAX_BATCH: usize = 2_000;

/// Configures an [`HttpNotifier`].
pub struct HttpNotifierBuilder {
    endpoint: Endpoint,
    timing: Timing,
    gateway: Option<GatewayId>,
    callbacks: Callbacks,
}

/// The gateway's callbacks.
pub(super) struct Callbacks {
    pub(super) on_closed: Arc<Callback>,
    pub(super) on_restored: Arc<Callback>,
    pub(super) on_call: Option<Arc<CallObserver>>,
}

type Callback = dyn Fn(&PlayerId, &ConnectionId) + Send + Sync;

type CallObserver = dyn Fn(&CallReport<'_>) + Send + Sync;

impl HttpNotifierBuilder {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let timing = Timing {
            heartbeat_interval: Duration::from_secs(15),
            ttl: Duration::from_secs(45),
            max_batch: MAX_BATCH / 2,
        };
        let callbacks = Callbacks {
            on_closed: Arc::new(|_, _| {}),
            on_restored: Arc::new(|_, _| {}),
            on_call: None,
        };
        Self {
            endpoint,
            timing,
            gateway: Some(gateway_id::generate()),
            callbacks,
        }
    }

    /// Interval of the heartbeats of an open connection, until the service reports its own (default
    /// 15 s; from 100 ms to 1 h).
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.timing.heartbeat_interval = interval;
        self
    }

    /// How long the lease of a connection lasts after its last heartbeat, until the service reports
    /// its own TTL (default 45 s). Reports that could not be delivered within twice that time are
    /// given up.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.timing.ttl = ttl;
        self
    }

    /// The most entries per call, 1 to 2,000 (default 1,000).
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.timing.max_batch = max_batch.clamp(1, MAX_BATCH);
        self
    }

    /// The gateway's id (default: the host's name and a random part). It must be new at every start
    /// of the process: the next process must not renew a lease that a crashed one left behind.
    #[must_use]
    pub fn gateway_id(mut self, id: GatewayId) -> Self {
        self.gateway = Some(id);
        self
    }

    /// Keeps no lease of the gateway. Its crash is then noticed when the leases of its connections
    /// expire, one by one, and [`drain`](HttpNotifier::drain) disconnects them in batches.
    #[must_use]
    pub fn without_gateway_lease(mut self) -> Self {
        self.gateway = None;
        self
    }

    /// Sets the callback for an open connection that the service closed, because the player was
    /// signed out or has too many connections. The gateway should close its socket. The connection
    /// gets no more heartbeats, and its disconnect need not be reported.
    ///
    /// The callback runs on a task of the notifier, so it should pass the connection on and not
    /// block. If it panics, the other connections are still reported.
    #[must_use]
    pub fn on_closed(
        mut self,
        on_closed: impl Fn(&PlayerId, &ConnectionId) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.on_closed = Arc::new(on_closed);
        self
    }

    /// Sets the callback for an open connection that the service had lost, with its store's data or
    /// in an outage longer than the TTL, and that a heartbeat restored. The notifier itself reports
    /// the last [state](crate::Notifier::state_changed) of a player with an open connection again;
    /// a state that is set after this call replaces it.
    ///
    /// The callback runs on a task of the notifier, like that of [`on_closed`](Self::on_closed).
    #[must_use]
    pub fn on_restored(
        mut self,
        on_restored: impl Fn(&PlayerId, &ConnectionId) + Send + Sync + 'static,
    ) -> Self {
        self.callbacks.on_restored = Arc::new(on_restored);
        self
    }

    /// Sets the callback that receives each call, successful or not, for the gateway's metrics.
    ///
    /// The callback runs on a task of the notifier, like that of [`on_closed`](Self::on_closed),
    /// and before the other callbacks of the same call.
    #[must_use]
    pub fn on_call(mut self, on_call: impl Fn(&CallReport<'_>) + Send + Sync + 'static) -> Self {
        self.callbacks.on_call = Some(Arc::new(on_call));
        self
    }

    /// Starts the notifier. Its first call is the one that opens the gateway's lease.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`] if the root certificates of this machine cannot be
    /// read.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn start(self) -> Result<HttpNotifier, InvalidEndpoint> {
        let transport = Transport::new(self.endpoint)?;
        let scheduler = CallScheduler::new(&self.timing, self.gateway, Instant::now());
        Ok(HttpNotifier::start(scheduler, transport, self.callbacks))
    }
}

impl fmt::Debug for HttpNotifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNotifierBuilder")
            .field("endpoint", &self.endpoint)
            .field("timing", &self.timing)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}
