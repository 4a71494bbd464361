//! An open connection, and its state. Received bytes are counted, so that a silent peer is detected.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

use redis::aio::MultiplexedConnection;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::JoinHandle,
};

use super::address::Address;
use crate::socket::Stream;

/// How long a check is valid, in milliseconds. After that, a connection is checked before it is
/// used. In a running process the background checks are more frequent; in a function the process
/// was frozen meanwhile.
const CHECK_VALIDITY_MS: u64 = 2_000;

/// The value of `suspected_at` for a connection that is not suspected.
const NEVER: u64 = u64::MAX;

/// A stream, and the number of bytes that it has received.
pub(super) struct Counted {
    stream: Box<dyn Stream>,
    received: Arc<AtomicU64>,
}

/// A connection that has just been opened.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    /// Sends and receives; it ends with the socket.
    pub(super) driver: JoinHandle<()>,
    /// The number of bytes received.
    pub(super) received: Arc<AtomicU64>,
    /// The node's address.
    pub(super) address: Address,
}

/// A connection, and its last observations.
pub(in crate::redis) struct Live {
    opened: Opened,
    /// The number of bytes that had been received when it was found silent.
    suspected_at: AtomicU64,
    /// When the last check that it passed was sent, in Unix milliseconds.
    checked_at_ms: AtomicU64,
    /// When the Sentinels were last asked which node is the primary, in Unix milliseconds.
    sentinels_asked_at_ms: AtomicU64,
    /// Locked during a check: callers that arrive meanwhile wait for its outcome.
    pub(super) checking: tokio::sync::Mutex<()>,
}

impl Counted {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            received: Arc::default(),
        }
    }

    /// A live counter of the bytes received.
    pub(super) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.received
            .fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Live {
    /// Creates a connection that passed a check, which was sent at `checked_at_ms`.
    pub(super) fn new(opened: Opened, checked_at_ms: u64) -> Self {
        Self {
            opened,
            suspected_at: AtomicU64::new(NEVER),
            checked_at_ms: AtomicU64::new(checked_at_ms),
            sentinels_asked_at_ms: AtomicU64::new(checked_at_ms),
            checking: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.opened.connection.clone()
    }

    /// The node's address.
    pub(super) fn address(&self) -> &Address {
        &self.opened.address
    }

    /// Whether the socket is known to be lost: commands that were not sent yet never will be.
    pub(super) fn is_lost(&self) -> bool {
        self.opened.driver.is_finished()
    }

    /// The number of bytes received. While it stays the same, the node does not respond.
    pub(super) fn received(&self) -> u64 {
        self.opened.received.load(Ordering::Relaxed)
    }

    /// Records that the node does not respond. Until it does, requests wait for a check instead of
    /// being sent.
    pub(super) fn suspect(&self) {
        self.suspected_at.store(self.received(), Ordering::Relaxed);
    }

    /// Records that a check passed, which was sent at `at_ms`.
    pub(super) fn checked(&self, at_ms: u64) {
        self.checked_at_ms.store(at_ms, Ordering::Relaxed);
    }

    /// Whether the connection has to be checked before it is used. A clock that was set back
    /// requires a check, too.
    pub(super) fn needs_check(&self) -> bool {
        let is_suspect = self.suspected_at.load(Ordering::Relaxed) == self.received();
        is_suspect || is_outdated(&self.checked_at_ms)
    }

    /// Whether the Sentinels have to be asked again which node is the primary.
    pub(super) fn needs_sentinels(&self) -> bool {
        is_outdated(&self.sentinels_asked_at_ms)
    }

    /// Records that the Sentinels are asked now.
    pub(super) fn record_sentinels_asked(&self) {
        self.sentinels_asked_at_ms
            .store(now_ms(), Ordering::Relaxed);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.opened.driver.abort(); // no request waits for it any more
    }
}

/// Whether something that was checked at `at_ms`, in Unix milliseconds, has to be checked again.
fn is_outdated(at_ms: &AtomicU64) -> bool {
    let age_ms = now_ms().checked_sub(at_ms.load(Ordering::Relaxed));
    age_ms.is_none_or(|age_ms| age_ms > CHECK_VALIDITY_MS)
}

/// The host's clock in Unix milliseconds. The monotonic clock stops while a function is frozen.
pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}
