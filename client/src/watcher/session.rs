//! One stream of changes, from its handshake to its end.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::{
    FeedState, Shared, WatchList, WatchStatus, WatchedPresence,
    message::{Request, ServerMessage},
};
use crate::{CallError, transport::WebSocket};

/// A stream without a frame for longer than this is broken, since the service pings every 15 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(40);

/// Time limit for writing a request.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The most presences that are stored under one lock, so that readers do not wait long.
const MAX_PRESENCES_PER_LOCK: usize = 500;

/// An open stream.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    socket: WebSocket,
    /// When the latest frame arrived.
    last_frame_at: Instant,
    /// The source of changes that the service reported.
    feed: FeedState,
}

impl<'a> Session<'a> {
    /// Opens a stream, on which no player is watched yet.
    pub(super) async fn open(shared: &'a Shared) -> Result<Self, CallError> {
        let socket = shared.transport.open_web_socket("/watch").await?;
        shared.watch_list().requests.restart();
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            shared,
            socket,
            last_frame_at: Instant::now(),
            feed: FeedState::Disconnected,
        })
    }

    /// Runs the stream until its end, and returns the reason of the end.
    pub(super) async fn run(mut self) -> CallError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Sends the requests that are due, then waits for a frame or for the next request.
    async fn step(&mut self) -> Result<(), CallError> {
        while let Some(request) = self.shared.next_request() {
            self.send(&request).await?;
        }
        let (next_request_at, reply_due_at) = self.shared.request_times();
        let idle_at = self.last_frame_at + IDLE_TIMEOUT;
        tokio::select! {
            biased; // a frame that has arrived is read before a timeout is noticed
            frame = timeout_at(idle_at, self.socket.next()) => match frame {
                Ok(Some(Ok(frame))) => self.handle_frame(frame)?,
                Ok(Some(Err(error))) => return Err(CallError::Unreachable(error.into())),
                Ok(None) => return Err(CallError::Unreachable("the service ended the stream".into())),
                Err(_) => return Err(CallError::TimedOut),
            },
            () = self.shared.changed.notified() => {}
            () = sleep_until_time(next_request_at) => {}
            () = sleep_until_time(reply_due_at) => return Err(CallError::TimedOut),
        }
        Ok(())
    }

    async fn send(&mut self, request: &Request) -> Result<(), CallError> {
        match timeout(
            WRITE_TIMEOUT,
            self.socket.send(Message::text(request.to_json())),
        )
        .await
        {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(CallError::Unreachable(error.into())),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    fn handle_frame(&mut self, frame: Message) -> Result<(), CallError> {
        self.last_frame_at = Instant::now();
        match frame {
            Message::Text(text) => {
                self.handle_message(ServerMessage::parse(&text).map_err(CallError::Garbled)?)
            }
            Message::Close(frame) => {
                // 1005 means that the frame has no code (RFC 6455, section 7.4.1).
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return Err(CallError::Unreachable(
                    format!("the service closed the stream with code {code}").into(),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    fn handle_message(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Feed(feed) => {
                self.feed = feed;
                self.publish_status();
            }
            ServerMessage::Presences(presences) => self.shared.store_presences(presences),
            ServerMessage::Complete(id) => {
                self.shared.watch_list().requests.complete(id);
                self.publish_status();
            }
            ServerMessage::Refused(id, problem) => {
                self.shared
                    .watch_list()
                    .requests
                    .refused(id, &problem, Instant::now());
                let error = Some(Arc::new(CallError::Problem(problem)));
                self.shared
                    .status
                    .send_modify(|status| status.error = error);
            }
            ServerMessage::Unknown => {}
        }
    }

    /// Publishes the source of changes. The presences that are known are current only after all
    /// players have been requested again on this stream.
    fn publish_status(&self) {
        let is_current = self.shared.watch_list().requests.is_resumed();
        let feed = if is_current || self.feed == FeedState::Stale {
            self.feed
        } else {
            FeedState::Disconnected
        };
        self.shared.status.send_if_modified(|status| {
            let is_new = status.feed != feed || status.error.is_some();
            *status = WatchStatus { feed, error: None };
            is_new
        });
    }
}

impl Shared {
    fn next_request(&self) -> Option<Request> {
        let mut watch_list = self.watch_list();
        let WatchList { registry, requests } = &mut *watch_list;
        requests.next(Instant::now(), |player| registry.known_version(player))
    }

    /// When to ask for the next request, and when the reply to the request in flight is overdue.
    fn request_times(&self) -> (Option<Instant>, Option<Instant>) {
        let watch_list = self.watch_list();
        (
            watch_list.requests.next_at(),
            watch_list.requests.reply_due_at(),
        )
    }

    fn store_presences(&self, presences: Vec<WatchedPresence>) {
        let mut presences = presences.into_iter().peekable();
        while presences.peek().is_some() {
            let mut wakers = Vec::new();
            let mut changes = 0;
            {
                let mut watch_list = self.watch_list();
                for presence in presences.by_ref().take(MAX_PRESENCES_PER_LOCK) {
                    changes += u64::from(watch_list.registry.update(presence, &mut wakers));
                }
            }
            self.changes.fetch_add(changes, Ordering::Relaxed);
            // Woken without the lock, which the readers need.
            wakers.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

/// Waits until this time, or forever without a time.
async fn sleep_until_time(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
