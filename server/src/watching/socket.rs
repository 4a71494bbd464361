//! Liveness of a session's socket: when the client last read data, and when it last replied to a
//! ping.

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

/// Time limit for a client to read data. After that it is disconnected.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Time limit for a client to reply to a ping. After that it is disconnected.
const PONG_TIMEOUT: Duration = Duration::from_secs(45);

/// The length of a pause, in milliseconds, after which unread pongs may be waiting.
const LONG_PAUSE_MS: u64 = 1_000;

/// The end of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server closes the session, with this code and reason.
    Closed(CloseCode, &'static str),
    /// The client has closed the session.
    ByClient,
    /// The connection is lost.
    Lost,
}

/// The times of a client's last actions, shared by the two halves of its session.
#[derive(Debug)]
pub(super) struct Liveness {
    start: Instant,
    /// When the client last read data, in milliseconds from the start.
    last_taken: AtomicU64,
    /// When the client last replied to a ping, in milliseconds from the start.
    last_pong: AtomicU64,
    /// When the server stopped reading until the client has read its responses, in milliseconds
    /// from the start; 0 if it is reading. The client's pongs are not seen during a pause.
    paused_at: AtomicU64,
}

/// A socket that records when the client reads data.
pub(super) struct Observed<S> {
    socket: S,
    liveness: Arc<Liveness>,
}

impl End {
    /// The end of a session after an error.
    pub(super) fn after(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::Closed(CloseCode::Size, "a message has at most 1 MiB"),
            Error::Utf8(_) => Self::Closed(CloseCode::Invalid, "text is UTF-8"),
            Error::Protocol(_) | Error::AttackAttempt => {
                Self::Closed(CloseCode::Protocol, "violates RFC 6455")
            }
            _ => Self::Lost,
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

    /// Records that the client reads data, or that a message is sent after the last one was read.
    pub(super) fn taken(&self) {
        self.last_taken.store(self.elapsed(), Ordering::Relaxed);
    }

    pub(super) fn pong(&self) {
        self.last_pong.store(self.elapsed(), Ordering::Relaxed);
    }

    /// Records that the server stops reading from the client.
    pub(super) fn pause(&self) {
        self.paused_at
            .store(self.elapsed().max(1), Ordering::Relaxed);
    }

    /// Records that the server reads from the client again. After a long pause, its pongs are still
    /// to be read.
    pub(super) fn resume(&self) {
        let since = self.paused_at.swap(0, Ordering::Relaxed);
        if self.elapsed().saturating_sub(since) > LONG_PAUSE_MS {
            self.pong();
        }
    }

    /// The time at which to check whether the session [ends](Self::end). `is_blocked` says that a
    /// message is being sent.
    pub(super) fn deadline(&self, is_blocked: bool) -> Instant {
        let far = Instant::now() + STALL_TIMEOUT;
        let silent = if self.is_paused() {
            far
        } else {
            self.after(&self.last_pong, PONG_TIMEOUT)
        };
        let stalled = if is_blocked {
            self.after(&self.last_taken, STALL_TIMEOUT)
        } else {
            far
        };
        silent.min(stalled)
    }

    /// The end of the session, if a time limit has passed.
    pub(super) fn end(&self, is_blocked: bool) -> Option<End> {
        let now = Instant::now();
        if is_blocked && now >= self.after(&self.last_taken, STALL_TIMEOUT) {
            return Some(End::Closed(CloseCode::Again, "the client did not read"));
        }
        let is_silent = !self.is_paused() && now >= self.after(&self.last_pong, PONG_TIMEOUT);
        is_silent.then_some(End::Closed(CloseCode::Error, "pings had no pongs"))
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
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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
