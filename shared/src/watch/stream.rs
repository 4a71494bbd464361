//! One caller's stream.
//!
//! Each message takes the newest presences from the hub when it is sent. So versions never decrease
//! on a stream, and nothing is queued for a caller that does not read.

use std::{future::pending, sync::Arc};

use tokio::sync::{Notify, OwnedSemaphorePermit, watch};

use super::{
    CHUNK, Feed, InvalidRequest, RequestId, Wanted, Watch, WatchAction, WatchRequest,
    hub::{Delivery, StreamIndex},
    message::{self, PresencesMessage},
};
use crate::{http::Problem, model::PlayerId, redis::StoreError};

/// The number of players that are added to a message of a snapshot at a time. It is small, as the
/// message ends after the step that makes it long enough.
const SNAPSHOT_STEP: usize = 50;

/// A stream, which ends when it is dropped.
pub struct WatchStream {
    watch: Watch,
    index: StreamIndex,
    changed: Arc<Notify>,
    _slot: OwnedSemaphorePermit,
}

/// The messages of the reply to a request, each built when it is sent.
#[derive(Debug, Default)]
pub struct WatchReply {
    id: Option<RequestId>,
    snapshot: Option<Snapshot>,
    failure: Option<Problem>,
    is_complete: bool,
}

/// Players that were read for a snapshot.
#[derive(Debug)]
struct Snapshot {
    wanted: Wanted,
    /// The number of players that have been sent.
    sent: usize,
    length: MessageLength,
}

/// The length of a snapshot's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MessageLength {
    /// Short ones: a WebSocket keeps a buffer of the length of its longest message.
    Short,
    /// All in one if possible: nothing else marks the end of a snapshot in server-sent events.
    Full,
}

/// A receiver of the feed's states.
#[derive(Debug)]
pub struct FeedStates {
    feed: watch::Receiver<Option<Feed>>,
    last: Option<Feed>,
}

/// A message with changes.
#[derive(Debug)]
pub struct Changes {
    /// The message.
    pub message: String,
    /// Whether more changes wait for the next one.
    pub has_more: bool,
}

impl WatchStream {
    pub(super) fn open(watch: Watch, slot: OwnedSemaphorePermit) -> Self {
        let changed = Arc::new(Notify::new());
        let index = watch.with_hub(|hub| hub.open(Arc::clone(&changed)));
        watch.0.streams.send_modify(|streams| *streams += 1);
        Self {
            watch,
            index,
            changed,
            _slot: slot,
        }
    }

    /// Handles a request. Returns when all players that its reply needs have been read.
    pub async fn reply_to(&self, text: &str) -> WatchReply {
        match WatchRequest::parse(text, self.watch.0.max_batch) {
            Ok(WatchRequest {
                id,
                action: WatchAction::Watch(wanted),
            }) => match self.watch(&wanted.players).await {
                Ok(()) => WatchReply {
                    id,
                    snapshot: Some(Snapshot {
                        wanted,
                        sent: 0,
                        length: MessageLength::Short,
                    }),
                    ..WatchReply::default()
                },
                Err(problem) => WatchReply::failed(id, problem),
            },
            Ok(WatchRequest {
                id,
                action: WatchAction::Unwatch(players),
            }) => {
                for chunk in players.chunks(CHUNK) {
                    self.watch.with_hub(|hub| hub.unwatch(self.index, chunk));
                }
                WatchReply {
                    id,
                    ..WatchReply::default()
                }
            }
            Err(InvalidRequest { id, problem }) => WatchReply::failed(id, *problem),
        }
    }

    /// Watches players for a caller that holds none of them. The reply begins with all of them.
    ///
    /// # Errors
    /// 409 `too-many`, 503 `store-unavailable`.
    pub async fn watch_all(&self, players: Vec<PlayerId>) -> Result<WatchReply, Problem> {
        let wanted = Wanted::all(players);
        self.watch(&wanted.players).await?;
        Ok(WatchReply {
            snapshot: Some(Snapshot {
                wanted,
                sent: 0,
                length: MessageLength::Full,
            }),
            ..WatchReply::default()
        })
    }

    /// The next message of a reply. `None` after the last one.
    pub fn next_message(&self, reply: &mut WatchReply) -> Option<String> {
        while let Some(snapshot) = &mut reply.snapshot {
            match self.snapshot_message(snapshot) {
                Some(message) => return Some(message),
                None => reply.snapshot = None,
            }
        }
        if std::mem::replace(&mut reply.is_complete, true) {
            return None;
        }
        Some(match &reply.failure {
            Some(problem) => message::failure(reply.id.as_ref(), problem),
            None => message::complete(reply.id.as_ref(), self.watch.hub().watching(self.index)),
        })
    }

    /// The next `presences` message of a reply. `None` when all players have been sent.
    pub fn next_presences(&self, reply: &mut WatchReply) -> Option<String> {
        self.snapshot_message(reply.snapshot.as_mut()?)
    }

    /// Waits for a change to send. Cancel safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the changes since the last message, each player once.
    pub fn take_changes(&self) -> Option<Changes> {
        let mut message = PresencesMessage::new();
        let mut is_full = false;
        let mut has_more = true;
        // The hub is locked for one chunk of players at a time.
        while has_more && !is_full {
            let chunk_end = message.len() + CHUNK;
            has_more = self.watch.with_hub(|hub| {
                hub.deliver_changes(self.index, |delivery| {
                    self.note_delay(&delivery);
                    message.push(&delivery);
                    is_full = !message.has_room();
                    !is_full && message.len() < chunk_end
                })
            });
        }
        self.watch.0.gauges.delivered(message.len());
        Some(Changes {
            message: message.finish()?,
            has_more,
        })
    }

    /// Subscribes to the states of the feed.
    pub fn feed_states(&self) -> FeedStates {
        FeedStates {
            feed: self.watch.0.feed.subscribe(),
            last: None,
        }
    }

    async fn watch(&self, players: &[PlayerId]) -> Result<(), Problem> {
        let limit = self.watch.0.config.max_players;
        let _turn = self
            .watch
            .snapshot_turn(players.len())
            .await
            .map_err(without_reply)?;
        for chunk in players.chunks(CHUNK) {
            if self
                .watch
                .with_hub(|hub| hub.watch(self.index, chunk, limit))
                .is_err()
            {
                self.abandon(players);
                return Err(Problem::too_many(limit));
            }
        }
        match self.watch.read(players).await {
            None => Ok(()),
            Some((_, error)) => {
                self.abandon(players);
                Err(without_reply(error))
            }
        }
    }

    fn abandon(&self, players: &[PlayerId]) {
        for chunk in players.chunks(CHUNK) {
            self.watch.with_hub(|hub| hub.abandon(self.index, chunk));
        }
    }

    fn snapshot_message(&self, snapshot: &mut Snapshot) -> Option<String> {
        let Snapshot {
            wanted,
            sent,
            length,
        } = snapshot;
        let mut message = PresencesMessage::new();
        let has_room = |message: &PresencesMessage| match length {
            MessageLength::Short => message.is_short(),
            MessageLength::Full => message.has_room_for(SNAPSHOT_STEP),
        };
        while *sent < wanted.players.len() && has_room(&message) {
            let players = &wanted.players[*sent..wanted.players.len().min(*sent + SNAPSHOT_STEP)];
            *sent += players.len();
            self.watch.with_hub(|hub| {
                hub.deliver_snapshot(self.index, players.iter(), |delivery| {
                    if delivery.is_change
                        || !wanted.is_known(delivery.player, delivery.fact.version)
                    {
                        message.push(&delivery);
                    }
                });
            });
        }
        message.finish()
    }

    fn note_delay(&self, delivery: &Delivery<'_>) {
        if let (Some(occurred_at), Some(now)) = (delivery.occurred_at, self.watch.0.clock.now()) {
            self.watch.0.gauges.delayed(now.saturating_sub(occurred_at));
        }
    }
}

/// The error of a request without a reply from Redis. On a stream it is always `store-unavailable`,
/// even if Redis is overloaded.
fn without_reply(error: StoreError) -> Problem {
    match error {
        StoreError::Overloaded { retry_after } => StoreError::Timeout(retry_after).into(),
        error => error.into(),
    }
}

impl FeedStates {
    /// Waits for the first state to be known, then for each other one. Cancel safe.
    pub async fn next(&mut self) -> Feed {
        loop {
            let current = *self.feed.borrow_and_update();
            if let Some(feed) = current
                && current != self.last
            {
                self.last = current;
                return feed;
            }
            if self.feed.changed().await.is_err() {
                pending().await // the sender lives as long as the process
            }
        }
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        while !self.watch.with_hub(|hub| hub.close(self.index, CHUNK)) {}
        self.watch.0.streams.send_modify(|streams| *streams -= 1);
    }
}

impl WatchReply {
    fn failed(id: Option<RequestId>, problem: Problem) -> Self {
        Self {
            id,
            failure: Some(problem),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_without_a_reply_from_redis_has_one_error() {
        let pause = Duration::from_secs(3);
        for error in [
            StoreError::Overloaded { retry_after: pause },
            StoreError::Timeout(pause),
        ] {
            let message = message::failure(None, &without_reply(error));
            assert!(
                message.contains("urn:presence:store-unavailable"),
                "{message}"
            );
        }
    }
}
