//! One stream, from its handshake to its end.

use std::{
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use super::{
    FeedState, Interests, Shared, WatchStatus, WatchedPresence,
    message::{Report, Request},
};
use crate::{CallError, transport::WebSocket};

/// The service pings every 15 s: a stream without a frame for longer than this is broken.
const MAX_SILENCE: Duration = Duration::from_secs(40);

/// Time limit for writing a request.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The most presences that are noted under one lock.
const CHUNK: usize = 500;

/// An open stream.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    socket: WebSocket,
    /// When the newest frame arrived.
    heard_at: Instant,
    /// What the service said of its source of changes.
    feed: FeedState,
}

impl<'a> Session<'a> {
    /// Opens a stream, on which nothing is watched yet.
    pub(super) async fn open(shared: &'a Shared) -> Result<Self, CallError> {
        let socket = shared.transport.open_web_socket("/watch").await?;
        shared.interests().requests.restart();
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Ok(Self { shared, socket, heard_at: Instant::now(), feed: FeedState::Disconnected })
    }

    /// Serves the stream until its end, and returns why it ended.
    pub(super) async fn run(mut self) -> CallError {
        loop {
            if let Err(error) = self.step().await {
                return error;
            }
        }
    }

    /// Sends the requests that are due, and waits for a frame or for the next request.
    async fn step(&mut self) -> Result<(), CallError> {
        while let Some(request) = self.shared.next_request() {
            self.send(&request).await?;
        }
        let (next_at, due_at) = self.shared.request_times();
        let silent_at = self.heard_at + MAX_SILENCE;
        tokio::select! {
            biased; // what has arrived is read before it is found to be late
            frame = timeout_at(silent_at, self.socket.next()) => match frame {
                Ok(Some(Ok(frame))) => self.take(frame)?,
                Ok(Some(Err(error))) => return Err(CallError::Unreachable(error.into())),
                Ok(None) => return Err(CallError::Unreachable("the service ended the stream".into())),
                Err(_) => return Err(CallError::TimedOut),
            },
            () = self.shared.changed.notified() => {}
            () = until(next_at) => {}
            () = until(due_at) => return Err(CallError::TimedOut),
        }
        Ok(())
    }

    async fn send(&mut self, request: &Request) -> Result<(), CallError> {
        match timeout(WRITE_TIMEOUT, self.socket.send(Message::text(request.to_json()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(CallError::Unreachable(error.into())),
            Err(_) => Err(CallError::TimedOut),
        }
    }

    fn take(&mut self, frame: Message) -> Result<(), CallError> {
        self.heard_at = Instant::now();
        match frame {
            Message::Text(text) => self.note(Report::parse(&text).map_err(CallError::Garbled)?),
            Message::Close(frame) => {
                let code = frame.map_or(1005, |frame| u16::from(frame.code));
                return Err(CallError::Unreachable(format!("the service closed the stream with code {code}").into()));
            }
            _ => {}
        }
        Ok(())
    }

    fn note(&mut self, report: Report) {
        match report {
            Report::Feed(feed) => {
                self.feed = feed;
                self.publish_status();
            }
            Report::Presences(presences) => self.shared.take_presences(presences),
            Report::Complete(id) => {
                self.shared.interests().requests.complete(id);
                self.publish_status();
            }
            Report::Refused(id, problem) => {
                self.shared.interests().requests.refused(id, &problem, Instant::now());
                let error = Some(Arc::new(CallError::Problem(problem)));
                self.shared.status.send_modify(|status| status.error = error);
            }
            Report::Unknown => {}
        }
    }

    /// What is held is current only after everything has been requested again.
    fn publish_status(&self) {
        let is_current = self.shared.interests().requests.is_resumed();
        let feed = if is_current || self.feed == FeedState::Stale { self.feed } else { FeedState::Disconnected };
        self.shared.status.send_if_modified(|status| {
            let is_new = status.feed != feed || status.error.is_some();
            *status = WatchStatus { feed, error: None };
            is_new
        });
    }
}

impl Shared {
    fn next_request(&self) -> Option<Request> {
        let mut interests = self.interests();
        let Interests { registry, requests } = &mut *interests;
        requests.next(Instant::now(), |player| registry.known_version(player))
    }

    /// When to ask for the next request, and when the reply to the present one is overdue.
    fn request_times(&self) -> (Option<Instant>, Option<Instant>) {
        let interests = self.interests();
        (interests.requests.next_at(), interests.requests.reply_due_at())
    }

    fn take_presences(&self, presences: Vec<WatchedPresence>) {
        let mut presences = presences.into_iter().peekable();
        while presences.peek().is_some() {
            let mut wakers = Vec::new();
            let mut changes = 0;
            {
                let mut interests = self.interests();
                for presence in presences.by_ref().take(CHUNK) {
                    changes += u64::from(interests.registry.take(presence, &mut wakers));
                }
            }
            self.changes.fetch_add(changes, Ordering::Relaxed);
            wakers.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

/// Waits until then; forever if there is no such time.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
