//! Configuration of an `HttpNotifier`.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    HttpNotifier,
    desk::{Desk, Pace},
};
use crate::{ConnectionId, Endpoint, GatewayId, InvalidEndpoint, PlayerId, transport::Transport};

/// The most entries that the service takes in one call.
const MAX_BATCH: usize = 2_000;

/// Configures an [`HttpNotifier`].
pub struct HttpNotifierBuilder {
    endpoint: Endpoint,
    pace: Pace,
    gateway: Option<GatewayId>,
    callbacks: Callbacks,
}

/// What the gateway does about notices.
pub(super) struct Callbacks {
    pub(super) on_closed: Arc<Callback>,
    pub(super) on_restored: Arc<Callback>,
}

type Callback = dyn Fn(&PlayerId, &ConnectionId) + Send + Sync;

impl HttpNotifierBuilder {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let pace = Pace {
            heartbeat_interval: Duration::from_secs(15),
            ttl: Duration::from_secs(45),
            max_batch: MAX_BATCH / 2,
        };
        let callbacks = Callbacks { on_closed: Arc::new(|_, _| {}), on_restored: Arc::new(|_, _| {}) };
        Self { endpoint, pace, gateway: Some(GatewayId::generate()), callbacks }
    }

    /// How often an open connection is reported to the service, until it says itself how often (default 15 s; from
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

    /// The gateway's id (default: [generated](GatewayId::generate)). It has to be new at every start of the process: a lease
    /// that a crashed process left behind must not go on under the next one.
    #[must_use]
    pub fn gateway_id(mut self, id: GatewayId) -> Self {
        self.gateway = Some(id);
        self
    }

    /// Keeps no lease of the gateway: its crash is noticed when the leases of its connections expire, one by one, and
    /// [`drain`](HttpNotifier::drain) disconnects them in batches.
    #[must_use]
    pub fn without_gateway_lease(mut self) -> Self {
        self.gateway = None;
        self
    }

    /// Called for an open connection that the service says is closed, because the player was signed out or has too
    /// many connections: its socket should be shut. It gets no more heartbeats, and its disconnect need not be reported.
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

    /// Starts the notifier, which begins with the gateway's lease.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<HttpNotifier, InvalidEndpoint> {
        let transport = Transport::new(self.endpoint)?;
        Ok(HttpNotifier::start(Desk::new(&self.pace, self.gateway, Instant::now()), transport, self.callbacks))
    }
}

impl fmt::Debug for HttpNotifierBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNotifierBuilder")
            .field("endpoint", &self.endpoint)
            .field("pace", &self.pace)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}
