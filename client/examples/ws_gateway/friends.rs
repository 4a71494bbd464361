//! Friends that a player watches.

use std::{collections::HashSet, future::pending};

use presence_client::{FeedState, PlayerId, StatusChanges, Subscription, WatchedPresence, Watcher};
use serde::Serialize;

/// The most friends that one socket may watch.
const MAX_FRIENDS: usize = 500;

/// The most presences of one message.
const MAX_PRESENCES: usize = 100;

/// The friends of one socket's player. They are no longer watched when this is dropped.
pub(crate) struct Friends {
    subscription: Subscription,
    status: StatusChanges,
    players: HashSet<PlayerId>,
    /// What the player was sent of the feed.
    feed: Option<FeedState>,
}

/// A message about friends.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum News {
    /// The newest presence of each of these friends.
    Presences(Vec<WatchedPresence>),
    /// `live` or `polling`; with anything else, what was sent may be outdated.
    Feed(&'static str),
}

impl Friends {
    pub(crate) fn of(watcher: &Watcher) -> Self {
        let (subscription, status) = (watcher.watch([]), watcher.status_changes());
        Self { subscription, status, players: HashSet::new(), feed: None }
    }

    /// Adds friends, unless they are too many.
    pub(crate) fn watch(&mut self, friends: Vec<PlayerId>) -> Result<(), String> {
        let new: HashSet<_> = friends.into_iter().filter(|friend| !self.players.contains(friend)).collect();
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
        friends.iter().for_each(|friend| _ = self.players.remove(friend));
    }

    /// The next message for the player. Can be cancelled.
    pub(crate) async fn news(&mut self) -> News {
        if self.players.is_empty() {
            return pending().await;
        }
        loop {
            tokio::select! {
                presences = self.subscription.recv_many(MAX_PRESENCES) => return News::Presences(presences),
                Some(status) = self.status.next() => {
                    if self.feed.replace(status.feed) != Some(status.feed) {
                        return News::Feed(status.feed.as_str());
                    }
                }
            }
        }
    }
}
