//! A WebSocket session: requests in, changes out, and its end.
//!
//! Reading and writing are two loops of one task. The reader passes on one request at a time; the
//! writer takes each message from the hub when it sends it, so that nothing is queued for a client
//! that does not read.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use presence::watch::{FeedStates, WatchReply, WatchStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    socket::{End, Liveness, Observed},
    throttle::Throttle,
};

/// The longest message of a client, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The number of bytes that are read from a client's socket at a time.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// The interval of pings.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Time limit for the last frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes that are read from a client after the last frame. Closing a socket with unread
/// bytes resets it, and the client may not see the frame.
const MAX_UNREAD_BYTES: u64 = 8 * 1024 * 1024;

/// A WebSocket session that has not started.
pub(super) struct Session {
    stream: WatchStream,
    interval: Duration,
    closing: watch::Receiver<()>,
}

/// The writing half of a session.
struct Writer<'a, S> {
    sink: &'a mut SplitSink<WebSocketStream<Observed<S>>, Message>,
    stream: WatchStream,
    feeds: FeedStates,
    throttle: Throttle,
    liveness: &'a Liveness,
    closing: watch::Receiver<()>,
}

/// The writer's next step.
enum Next {
    Send(Message),
    Reply(Utf8Bytes),
    End(End),
}

impl Session {
    pub(super) fn new(
        stream: WatchStream,
        interval: Duration,
        closing: watch::Receiver<()>,
    ) -> Self {
        Self {
            stream,
            interval,
            closing,
        }
    }

    /// Runs the session on a connection that has switched to WebSocket, until its end.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(self, socket: S) {
        let liveness = Arc::new(Liveness::new());
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let observed = Observed::new(socket, Arc::clone(&liveness));
        let websocket =
            WebSocketStream::from_raw_socket(observed, Role::Server, Some(config)).await;
        let (mut sink, mut source) = websocket.split();
        let (requests, queue) = mpsc::channel(1);
        let writer = Writer {
            sink: &mut sink,
            feeds: self.stream.feed_states(),
            stream: self.stream,
            throttle: Throttle::new(self.interval),
            liveness: &liveness,
            closing: self.closing,
        };
        let end = tokio::select! {
            end = read(&mut source, requests, &liveness) => end,
            end = writer.run(queue) => end,
        };
        tracing::debug!(?end, "stream of a watcher ends");
        finish(sink, source, end).await;
    }
}

/// Reads until the end, and passes on requests one at a time.
async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    source: &mut SplitStream<WebSocketStream<Observed<S>>>,
    requests: mpsc::Sender<Utf8Bytes>,
    liveness: &Liveness,
) -> End {
    loop {
        match source.next().await {
            Some(Ok(Message::Text(request))) => {
                // Waits until the writer has taken the previous request.
                liveness.pause();
                if requests.send(request).await.is_err() {
                    return End::Lost;
                }
                liveness.resume();
            }
            Some(Ok(Message::Pong(_))) => liveness.pong(),
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => {} // the crate replies to pings
            Some(Ok(Message::Binary(_))) => {
                return End::Closed(CloseCode::Unsupported, "messages are text");
            }
            Some(Ok(Message::Close(_))) => return End::ByClient,
            Some(Err(error)) => return End::after(&error),
            None => return End::Lost,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<'_, S> {
    async fn run(mut self, mut requests: mpsc::Receiver<Utf8Bytes>) -> End {
        match self.write_all(&mut requests).await {
            Ok(()) => End::Lost,
            Err(end) => end,
        }
    }

    async fn write_all(&mut self, requests: &mut mpsc::Receiver<Utf8Bytes>) -> Result<(), End> {
        let begin = tokio::time::Instant::now() + PING_INTERVAL;
        let mut pings = interval_at(begin, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first message is the state of the feed.
        let mut is_introduced = false;
        loop {
            let next = tokio::select! {
                biased;
                _ = self.closing.changed() => return Err(self.flush().await),
                feed = self.feeds.next() => {
                    is_introduced = true;
                    Next::Send(Message::text(feed.message()))
                }
                changes = self.throttle.changes(&self.stream), if is_introduced => Next::Send(Message::text(changes.message)),
                request = requests.recv(), if is_introduced => request.map_or(Next::End(End::Lost), Next::Reply),
                _ = pings.tick() => Next::Send(Message::Ping(Default::default())),
                () = sleep_until(self.liveness.deadline(false)) => match self.liveness.end(false) {
                    Some(end) => Next::End(end),
                    None => continue,
                },
            };
            match next {
                Next::Send(message) => self.send(message).await?,
                Next::Reply(request) => self.reply_to(&request).await?,
                Next::End(end) => return Err(end),
            }
        }
    }

    /// Sends the reply to a request.
    async fn reply_to(&mut self, request: &str) -> Result<(), End> {
        let Some(mut reply) = self.await_reply(request).await? else {
            return Err(self.flush().await);
        };
        while let Some(message) = self.stream.next_message(&mut reply) {
            self.send(Message::text(message)).await?;
        }
        Ok(())
    }

    /// Waits for the reply to a request, and sends changes and states of the feed in the meantime.
    /// `None` if the server ends.
    async fn await_reply(&mut self, request: &str) -> Result<Option<WatchReply>, End> {
        let Self {
            sink,
            stream,
            feeds,
            throttle,
            liveness,
            closing,
            ..
        } = self;
        let stream = &*stream;
        let mut replying = pin!(stream.reply_to(request));
        loop {
            let message = tokio::select! {
                biased;
                reply = &mut replying => return Ok(Some(reply)),
                _ = closing.changed() => return Ok(None),
                feed = feeds.next() => Message::text(feed.message()),
                changes = throttle.changes(stream) => Message::text(changes.message),
            };
            send(sink, message, liveness, closing).await?;
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        send(self.sink, message, self.liveness, &mut self.closing).await
    }

    /// Sends the pending changes when the server ends.
    async fn flush(&mut self) -> End {
        let end = End::Closed(CloseCode::Away, "the server ends");
        while let Some(changes) = self.throttle.take(&self.stream) {
            let sent = timeout(
                CLOSE_TIMEOUT,
                self.sink.send(Message::text(changes.message)),
            )
            .await;
            if !matches!(sent, Ok(Ok(()))) {
                break;
            }
        }
        end
    }
}

/// Sends a message. Waits for the client to read it, within the time limits.
async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<Observed<S>>, Message>,
    message: Message,
    liveness: &Liveness,
    closing: &mut watch::Receiver<()>,
) -> Result<(), End> {
    liveness.taken();
    let mut sending = pin!(sink.send(message));
    loop {
        let deadline = liveness.deadline(true);
        tokio::select! {
            biased;
            sent = &mut sending => return sent.map_err(|error| End::after(&error)),
            _ = closing.changed() => return Err(End::Closed(CloseCode::Away, "the server ends")),
            () = sleep_until(deadline) => if let Some(end) = liveness.end(true) { return Err(end) },
        }
    }
}

/// Ends a session: sends the last frame, and reads what the client still sends.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<Observed<S>>, Message>,
    source: SplitStream<WebSocketStream<Observed<S>>>,
    end: End,
) {
    let last = async {
        match end {
            End::Closed(code, reason) => {
                let frame = CloseFrame {
                    code,
                    reason: Utf8Bytes::from_static(reason),
                };
                sink.send(Message::Close(Some(frame))).await.is_ok()
            }
            // The crate has already buffered the reply to the client's close frame.
            End::ByClient => sink.flush().await.is_ok(),
            End::Lost => false,
        }
    };
    if !matches!(timeout(CLOSE_TIMEOUT, last).await, Ok(true)) {
        return;
    }
    let Ok(mut socket) = sink.reunite(source) else {
        return;
    };
    let socket = socket.get_mut();
    let linger = async {
        let _ = socket.shutdown().await; // an error shows in reading as well
        tokio::io::copy(
            &mut (&mut *socket).take(MAX_UNREAD_BYTES),
            &mut tokio::io::sink(),
        )
        .await
    };
    let _ = timeout(CLOSE_TIMEOUT, linger).await;
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
