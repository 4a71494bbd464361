//! A connection to one Redis node, replaced when it does not lead to a primary that responds.
//!
//! It knows nodes and commands, but no players. The path of a request:
//!
//! ```text
//! request ── connection in service? ── no ──▶ the attempt in progress ────▶ new connection
//!    │              │ yes                     (by name or Sentinel, PING and ROLE; failures are spaced)
//!    │              └─ not checked for 2 s, or silent ──▶ PING, ROLE and Sentinel first
//!    ▼
//! sent ── reply ───▶ reply; READONLY, LOADING or MASTERDOWN drops the connection
//!    ├── lost socket ──▶ connection dropped; sent once more, if it may be repeated
//!    └── not a byte for 150 ms, of any reply ───▶ a second connection is made beside it: the first
//!        of the two that responds stays in service; sent once more on the new one, if it may be
//!        repeated
//! ```
//!
//! - `attempt`: opening connections, one at a time.
//! - `check`: the check that a node is a primary.
//! - `endpoint`: the address of a node, and how to connect to it.
//! - `live`: an open connection, and the count of its received bytes, which detects silence.
//! - `sentinels`: discovery of the primary by Sentinels.

mod address;
mod attempt;
mod check;
mod endpoint;
mod live;
mod sentinels;

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::{Either, join, select};
use redis::{RedisError, aio::MultiplexedConnection};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{StoreError, episodes};
pub(crate) use address::Address;
pub(super) use address::reached_like;
use attempt::Slot;
use check::Check;
pub(super) use check::Role;
pub(super) use endpoint::Endpoint;
use endpoint::Location;
use live::Live;

/// The interval of background checks that the connection in service leads to a primary.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Time limit of a background check, before the next one. A replacement is sought as soon as the
/// connection is silent, see [`MAX_SILENCE`].
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// The time without a received byte after which a connection with unanswered requests is silent.
/// Another connection is then opened in parallel.
const MAX_SILENCE: Duration = Duration::from_millis(150);

/// A connection to a Redis node.
#[derive(Clone)]
pub(super) struct Link(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    role: Role,
    /// How long a caller waits. Errors name it.
    timeout: Duration,
    silence: Duration,
    slot: Mutex<Slot>,
}

/// Whether a request may be sent again if it is unknown whether it was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Executing it twice, the second time late, does no harm.
    Allowed,
    /// A second, late execution could undo what happened in between.
    Forbidden,
}

/// A request: commands that are sent together, and the parsing of their reply.
pub(super) trait Ask: Sync {
    /// The reply.
    type Reply: Send;

    /// Sends the commands and waits for all replies.
    fn send(
        &self,
        connection: MultiplexedConnection,
    ) -> impl Future<Output = Result<Self::Reply, RedisError>> + Send;

    /// Whether the node refused because it is not a primary, or is loading. It did not execute what
    /// it refused.
    fn is_refused(reply: &Self::Reply) -> bool;

    /// Records that `live` responded without refusing.
    fn replied(&self, _live: &Live) {}
}

impl Link {
    /// Prepares a link to the node at `endpoint`, whose callers wait for `timeout`. Nothing is sent
    /// before the first request.
    pub(super) fn new(endpoint: Endpoint, role: Role, timeout: Duration) -> Self {
        let silence = MAX_SILENCE.min(timeout / 3);
        Self(Arc::new(Inner {
            endpoint,
            role,
            timeout,
            silence,
            slot: Mutex::new(Slot::new(timeout)),
        }))
    }

    /// Sends a request, and waits for the reply until `deadline`. All requests to a node go through
    /// this method.
    ///
    /// # Errors
    /// [`StoreError::Timeout`], or the error because of which the node cannot be used. Refusals are
    /// replies, not errors.
    pub(super) async fn request<A: Ask>(
        &self,
        ask: &A,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<A::Reply, StoreError> {
        let reply = match self.send(ask, repeat, deadline).await {
            Err(StoreError::Redis(error))
                if repeat == Repeat::Allowed && is_lost_socket(&error) =>
            {
                Box::pin(self.send(ask, repeat, deadline)).await
            }
            result => result,
        };
        self.record(&reply);
        reply
    }

    /// Logs the beginning and the end of failures.
    pub(super) fn record<T>(&self, result: &Result<T, StoreError>) {
        match result {
            Ok(_) => episodes::replied(self.0.endpoint.name()),
            Err(error) => episodes::failed(self.0.endpoint.name(), error),
        }
    }

    async fn send<A: Ask>(
        &self,
        ask: &A,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<A::Reply, StoreError> {
        let live = match self.in_service() {
            Some(live) if !live.needs_check() => live,
            // Boxed, here and below: the future is large, and rarely polled.
            live => Box::pin(self.checked(live, deadline)).await?,
        };
        self.exchange(&live, ask, repeat, deadline).await
    }

    /// Sends a request on a connection, and also on its replacement if the connection is silent.
    async fn exchange<A: Ask>(
        &self,
        live: &Arc<Live>,
        ask: &A,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<A::Reply, StoreError> {
        let received = live.received();
        let mut reply = pin!(self.ask(live, ask));
        let silent_at = deadline.min(Instant::now() + self.0.silence);
        match timeout_at(silent_at, reply.as_mut()).await {
            Ok(reply) => Ok(reply?),
            Err(_) => {
                let late = Box::pin(self.await_late(live, received, ask, repeat, reply));
                timeout_at(deadline, late)
                    .await
                    .unwrap_or(Err(self.timed_out()))
            }
        }
    }

    /// Waits for a late reply. `received` is the number of bytes that had been received when the
    /// request was sent.
    async fn await_late<A: Ask>(
        &self,
        live: &Arc<Live>,
        mut received: u64,
        ask: &A,
        repeat: Repeat,
        mut reply: Pin<&mut impl Future<Output = Result<A::Reply, RedisError>>>,
    ) -> Result<A::Reply, StoreError> {
        // A node that replies to other requests, or sends a long reply, is busy, not silent.
        while live.received() != received {
            received = live.received();
            if let Ok(reply) = timeout(self.0.silence, reply.as_mut()).await {
                return Ok(reply?);
            }
        }
        live.suspect();
        match select(reply.as_mut(), pin!(self.replacement(live))).await {
            Either::Left((reply, _)) => Ok(reply?),
            Either::Right((new, _)) if repeat == Repeat::Allowed && !Arc::ptr_eq(&new, live) => {
                Ok(self.ask(&new, ask).await?)
            }
            Either::Right(_) => Ok(reply.await?),
        }
    }

    async fn ask<A: Ask>(&self, live: &Arc<Live>, ask: &A) -> Result<A::Reply, RedisError> {
        let result = ask.send(live.connection()).await;
        match &result {
            Err(error) if is_lost_socket(error) => self.retire(live),
            Ok(reply) if A::is_refused(reply) => self.retire(live),
            Ok(_) => ask.replied(live),
            Err(_) => {}
        }
        result
    }

    /// The connection to use: `live`, after a check that it leads to a primary, or a new one.
    async fn checked(
        &self,
        live: Option<Arc<Live>>,
        deadline: Instant,
    ) -> Result<Arc<Live>, StoreError> {
        let check = async {
            if let Some(live) = live {
                let _turn = live.checking.lock().await;
                if live.needs_check() && self.is_in_service(&live) {
                    // A failed check has dropped the connection, or the request itself will fail in
                    // the same way.
                    let _ = self.check(&live, deadline).await;
                }
            }
            self.connected().await
        };
        timeout_at(deadline, check)
            .await
            .unwrap_or(Err(self.timed_out()))
    }

    /// Checks that a connection leads to a primary that serves, and to the one that the Sentinels
    /// name, if there are any.
    async fn check(&self, live: &Arc<Live>, deadline: Instant) -> Result<(), StoreError> {
        let check = Check::of(self.0.role);
        let reply = self.exchange(live, &check, Repeat::Allowed, deadline);
        let (verdict, ()) = join(reply, self.check_sentinels(live)).await;
        verdict.and_then(|verdict| verdict)
    }

    /// Takes a connection out of service if most Sentinels name another node: a primary that hung
    /// or was cut off keeps the role in its own view until a Sentinel demotes it. If the Sentinels
    /// do not respond, the connection stays.
    async fn check_sentinels(&self, live: &Arc<Live>) {
        let Location::BySentinel(sentinels) = &self.0.endpoint.location else {
            return;
        };
        if !live.needs_sentinels() {
            return;
        }
        live.record_sentinels_asked();
        if timeout(self.0.silence, sentinels.agree_on_another(live.address()))
            .await
            .unwrap_or(false)
        {
            self.retire(live);
        }
    }

    fn in_service(&self) -> Option<Arc<Live>> {
        self.slot().in_service()
    }

    fn is_in_service(&self, live: &Arc<Live>) -> bool {
        self.in_service()
            .is_some_and(|current| Arc::ptr_eq(&current, live))
    }

    /// Takes a connection out of service. Requests that wait for its replies continue to wait.
    fn retire(&self, live: &Arc<Live>) {
        self.slot()
            .live
            .take_if(|current| Arc::ptr_eq(current, live));
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timed_out(&self) -> StoreError {
        StoreError::Timeout(self.0.timeout)
    }
}

/// Checks a connection periodically while it is in service, so that even an idle process notices a
/// failover.
async fn watch(link: Weak<Inner>, live: Weak<Live>) {
    loop {
        sleep(CHECK_INTERVAL).await;
        let (Some(link), Some(live)) = (link.upgrade().map(Link), live.upgrade()) else {
            return;
        };
        if !link.is_in_service(&live) {
            return;
        }
        let verdict = link.check(&live, Instant::now() + CHECK_TIMEOUT).await;
        link.record(&verdict);
    }
}

/// Whether the socket is lost, or the peer no longer speaks Redis's protocol on it.
pub(super) fn is_lost_socket(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}
