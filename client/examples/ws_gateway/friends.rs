//! Friends that one player watches.

use std::{collections::HashSet, future::pending};

use presence_client::{FeedState, PlayerId, StatusChanges, Subscription, WatchedPresence, Watcher};
use serde::Serialize;

/// The most friends that one socket may watch.
const MAX_FRIENDS: usize = 500;

/// The most presences per message.
const MAX_PRESENCES: usize = 100;

/// The friends of one socket's player. They are no longer watched when this is dropped.
pub(crate) struct Friends {
    subscription: Subscription,
    status: StatusChanges,
    players: HashSet<PlayerId>,
    /// The state of the feed that the player was last sent.
    feed: Option<FeedState>,
}

/// A message about friends.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FriendsMessage {
    /// The newest presence of each of these friends.
    Presences(Vec<WatchedPresence>),
    /// `live` or `polling`; with any other state, the presences that were sent may be outdated.
    Feed(&'static str),
}

impl Friends {
    pub(crate) fn of(watcher: &Watcher) -> Self {
        Self {
            subscription: watcher.watch([]),
            status: watcher.status_changes(),
            players: HashSet::new(),
            feed: None,
        }
    }

    /// Adds friends, unless there would be too many.
    pub(crate) fn watch(&mut self, friends: Vec<PlayerId>) -> Result<(), String> {
        let new: HashSet<_> = friends
            .into_iter()
            .filter(|friend| !self.players.contains(friend))
            .collect();
        if self.players.len() + new.len() > MAX_FRIENDS {
            return Err("too many friends".into());
        }
        self.subscription.watch(&new);
        self.players.extend(new);
        Ok(())
    }

    /// Removes friends.
    pub(crate) fn unwatch(&mut self, friends: &[PlayerId]) {
        self.subscription.unwatch(friends);
        friends
            .iter()
            .for_each(|friend| _ = self.players.remove(friend));
    }

    /// Waits for the next message for the player. Cancel safe.
    pub(crate) async fn next_message(&mut self) -> FriendsMessage {
        if self.players.is_empty() {
            return pending().await;
        }
        loop {
            tokio::select! {
                presences = self.subscription.recv_many(MAX_PRESENCES) => return FriendsMessage::Presences(presences),
                Some(status) = self.status.next() => {
                    if self.feed.replace(status.feed) != Some(status.feed) {
                        return FriendsMessage::Feed(status.feed.as_str());
                    }
                }
            }
        }
    }
}
