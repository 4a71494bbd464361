//! The state of one connection, shared by the task that serves it and the registry that enforces
//! time limits.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::sync::OwnedSemaphorePermit;

/// The age from which a connection without a complete first head is evicted before idle ones. Until
/// then, a client's first bytes may still be on their way.
const SILENT_SECONDS: u32 = 2;

/// Seconds since the start of the process, counted by the registry. Reading them is cheaper than
/// reading a clock, and the limits of connections need no more precision.
#[derive(Debug, Clone)]
pub(super) struct Seconds(Arc<AtomicU32>);

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has been received.
    Silent,
    /// A part of a request's head has been received.
    Head,
    /// A request is being handled.
    Busy,
    /// A response without a known length is being sent. The connection ends with it.
    Streaming,
    /// The last request has its response.
    Idle,
}

/// The way in which the task of a connection ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// No request is in progress. The connection is closed.
    Close,
    /// The head of a request did not arrive in time. The client gets a 408.
    HeadTimeout,
    /// The client does not read its responses. Unread bytes are dropped.
    Abort,
}

/// The registry's order to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// Continue to serve.
    None,
    /// End, unless a request has been received in the meantime.
    Close,
    /// End as soon as no request is in progress, as the server ends.
    Drain,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// Whether this connection has one of the slots that are reserved for health probes.
    pub(crate) is_reserved: bool,
    seconds: Seconds,
    /// The phase and the second in which it began, in one word, so that another thread reads both
    /// together.
    phase: AtomicU64,
    /// The second since which the client has left a part of a response unread; 0 if it has read
    /// all.
    unread_since: AtomicU32,
    order: AtomicU8,
    task: AtomicWaker,
    _slot: OwnedSemaphorePermit,
}

impl Seconds {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU32::new(1)))
    }

    pub(super) fn advance(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Phase {
    fn at(self, second: u32) -> u64 {
        u64::from(second) << 8 | self as u64
    }

    fn from_word(word: u64) -> (Self, u32) {
        let phases = [
            Self::Silent,
            Self::Head,
            Self::Busy,
            Self::Streaming,
            Self::Idle,
        ];
        (phases[(word & 0xff) as usize], (word >> 8) as u32)
    }
}

impl ConnectionState {
    pub(super) fn new(
        peer: SocketAddr,
        is_reserved: bool,
        seconds: Seconds,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            peer,
            is_reserved,
            phase: AtomicU64::new(Phase::Silent.at(seconds.now())),
            seconds,
            unread_since: AtomicU32::new(0),
            order: AtomicU8::new(Order::None as u8),
            task: AtomicWaker::new(),
            _slot: slot,
        }
    }

    /// Records that bytes were received. Those of a body do not change the phase.
    pub(super) fn received(&self) {
        if let (Phase::Silent | Phase::Idle, _) = self.phase() {
            self.enter(Phase::Head);
        }
    }

    /// Records that a request's head is complete.
    pub(super) fn requested(&self) {
        self.enter(Phase::Busy);
    }

    /// Records that a request has its response. `has_length` says that the response's length is
    /// known.
    pub(super) fn responded(&self, has_length: bool) {
        self.enter(if has_length {
            Phase::Idle
        } else {
            Phase::Streaming
        });
    }

    /// Records that the client does not read a response as fast as it is sent.
    pub(super) fn blocked(&self) {
        self.unread_since
            .store(self.seconds.now(), Ordering::Relaxed);
    }

    /// Records that the kernel has accepted all bytes that were sent.
    pub(super) fn unblocked(&self) {
        self.unread_since.store(0, Ordering::Relaxed);
        self.task.wake(); // a request may wait for this: see `until_unblocked`
    }

    /// Waits until no response is left unread. Called by the connection's own task.
    pub(super) async fn until_unblocked(&self) {
        let is_blocked = || self.unread_since.load(Ordering::Relaxed) != 0;
        poll_fn(|_| {
            if is_blocked() {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    /// Registers the task's waker for orders of the registry.
    pub(super) fn register(&self, context: &Context<'_>) {
        self.task.register(context.waker());
    }

    /// Sends an order to the connection's task.
    pub(super) fn order(&self, order: Order) {
        self.order.store(order as u8, Ordering::Release);
        self.task.wake();
    }

    /// The way in which the task has to end the connection now, if it has to. All received bytes
    /// must have been handled.
    pub(super) fn ending(&self) -> Option<Ending> {
        let order = self.order.load(Ordering::Acquire);
        if order == Order::None as u8 {
            return None;
        }
        let is_unread = self.unread_since.load(Ordering::Relaxed) != 0;
        let is_close = order == Order::Close as u8;
        match self.phase().0 {
            _ if is_unread && is_close => Some(Ending::Abort),
            Phase::Silent | Phase::Idle if !is_unread => Some(Ending::Close),
            Phase::Head if is_close => Some(Ending::HeadTimeout),
            _ => {
                // A request arrived before the order. That cancels a close, while a drain stays in
                // force.
                let close = Order::Close as u8;
                let none = Order::None as u8;
                let _ =
                    self.order
                        .compare_exchange(close, none, Ordering::Relaxed, Ordering::Relaxed);
                None
            }
        }
    }

    /// The phase, and its age in seconds.
    pub(super) fn phase(&self) -> (Phase, u32) {
        let (phase, since) = Phase::from_word(self.phase.load(Ordering::Relaxed));
        (phase, self.seconds.now().saturating_sub(since))
    }

    /// The number of seconds for which the client has left a response unread.
    pub(super) fn unread_for(&self) -> Option<u32> {
        let since = self.unread_since.load(Ordering::Relaxed);
        (since != 0).then(|| self.seconds.now().saturating_sub(since))
    }

    /// The rank of this connection for eviction, highest first. `None` if a request is in progress.
    pub(super) fn idleness(&self) -> Option<u32> {
        // Ranks above this are evicted before connections that are merely idle.
        const BEFORE_IDLE: u32 = 1 << 16;
        if self.order.load(Ordering::Relaxed) != Order::None as u8 {
            return None; // it is ending already
        }
        if let Some(unread) = self.unread_for() {
            return (unread >= SILENT_SECONDS).then_some(BEFORE_IDLE + unread);
        }
        match self.phase() {
            (Phase::Silent | Phase::Head, age) if age >= SILENT_SECONDS => Some(BEFORE_IDLE + age),
            (Phase::Silent | Phase::Head | Phase::Idle, age) => Some(age),
            (Phase::Busy | Phase::Streaming, _) => None,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase
            .store(phase.at(self.seconds.now()), Ordering::Relaxed);
    }
}
