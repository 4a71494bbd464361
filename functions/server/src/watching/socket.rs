//! What a session knows of its socket: when the client last took something, and when it last answered a ping.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tokio_tungstenite::tungstenite::{Error, protocol::frame::coding::CloseCode};

/// A client that takes nothing for this long is let go.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A client that does not answer pings for this long is let go.
const PONG_TIMEOUT: Duration = Duration::from_secs(45);

/// A pause after which pongs may wait to be read, in milliseconds.
const LONG_PAUSE_MS: u64 = 1_000;

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server closes it, with this code and for this reason.
    Closed(CloseCode, &'static str),
    /// The client has closed it.
    ByClient,
    /// The connection is gone.
    Gone,
}

/// When a client last did something, shared by the halves of its session.
#[derive(Debug)]
pub(super) struct Liveness {
    start: Instant,
    /// Milliseconds from the start.
    last_taken: AtomicU64,
    last_pong: AtomicU64,
    /// Since when nothing is read from the client until it has taken its answers; 0 if it is. Its pongs are not seen
    /// meanwhile.
    paused_at: AtomicU64,
}

/// A socket that notes when the client takes something.
pub(super) struct Observed<S> {
    socket: S,
    liveness: Arc<Liveness>,
}

impl End {
    /// How a session ends after `error` in reading.
    pub(super) fn after(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::Closed(CloseCode::Size, "a message has at most 1 MiB"),
            Error::Utf8(_) => Self::Closed(CloseCode::Invalid, "text is UTF-8"),
            Error::Protocol(_) | Error::AttackAttempt => Self::Closed(CloseCode::Protocol, "not as RFC 6455 says"),
            _ => Self::Gone,
        }
    }
}

impl Liveness {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last_taken: AtomicU64::new(0),
            last_pong: AtomicU64::new(0),
            paused_at: AtomicU64::new(0),
        }
    }

    /// Notes that the client takes something, or that something is sent to it for the first time in a while.
    pub(super) fn taken(&self) {
        self.last_taken.store(self.elapsed(), Ordering::Relaxed);
    }

    pub(super) fn pong(&self) {
        self.last_pong.store(self.elapsed(), Ordering::Relaxed);
    }

    /// Notes that nothing is read from the client from now on.
    pub(super) fn pause(&self) {
        self.paused_at.store(self.elapsed().max(1), Ordering::Relaxed);
    }

    /// Notes that the client is read from again. The pongs of a long pause are still to be read.
    pub(super) fn resume(&self) {
        let since = self.paused_at.swap(0, Ordering::Relaxed);
        if self.elapsed().saturating_sub(since) > LONG_PAUSE_MS {
            self.pong();
        }
    }

    /// When to ask whether the session [ends](Self::end). `is_blocked` while the client does not take what it is sent.
    pub(super) fn deadline(&self, is_blocked: bool) -> Instant {
        let far = Instant::now() + STALL_TIMEOUT;
        let silent = if self.is_paused() { far } else { self.after(&self.last_pong, PONG_TIMEOUT) };
        let stalled = if is_blocked { self.after(&self.last_taken, STALL_TIMEOUT) } else { far };
        silent.min(stalled)
    }

    /// How the session ends now, if it does.
    pub(super) fn end(&self, is_blocked: bool) -> Option<End> {
        let now = Instant::now();
        if is_blocked && now >= self.after(&self.last_taken, STALL_TIMEOUT) {
            return Some(End::Closed(CloseCode::Again, "nothing was taken"));
        }
        let is_silent = !self.is_paused() && now >= self.after(&self.last_pong, PONG_TIMEOUT);
        is_silent.then_some(End::Closed(CloseCode::Error, "pings were not answered"))
    }

    fn is_paused(&self) -> bool {
        self.paused_at.load(Ordering::Relaxed) != 0
    }

    fn after(&self, millis: &AtomicU64, timeout: Duration) -> Instant {
        self.start + Duration::from_millis(millis.load(Ordering::Relaxed)) + timeout
    }

    fn elapsed(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

impl<S> Observed<S> {
    pub(super) fn new(socket: S, liveness: Arc<Liveness>) -> Self {
        Self { socket, liveness }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        self.liveness.taken();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
