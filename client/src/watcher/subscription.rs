//! Subscription to the changes of some players.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;

use super::{Handle, WatchList, WatchedPresence, registry::SubscriptionId};
use crate::PlayerId;

/// Players that one user of a [`Watcher`](super::Watcher) watches, such as one socket of a gateway,
/// and their changes. Dropping it removes its players from the watcher, unless other subscriptions
/// have them.
///
/// It is also a [`Stream`], which never ends.
pub struct Subscription {
    handle: Arc<Handle>,
    id: SubscriptionId,
}

impl Subscription {
    pub(super) fn open(handle: Arc<Handle>) -> Self {
        let id = handle.shared.watch_list().registry.open();
        Self { handle, id }
    }

    /// Adds players. The presence of a player that another subscription watches already is
    /// delivered at once, if it is known. A player that this subscription has already is ignored.
    pub fn watch<'a>(&self, players: impl IntoIterator<Item = &'a PlayerId>) {
        {
            let mut watch_list = self.handle.shared.watch_list();
            let WatchList { registry, requests } = &mut *watch_list;
            // Only the first subscription to a player needs a request.
            players
                .into_iter()
                .filter(|player| registry.watch(self.id, player))
                .for_each(|player| requests.add(player));
        }
        self.handle.shared.changed.notify_one();
    }

    /// Removes players: their changes are no longer delivered. Players that are not watched are
    /// ignored.
    pub fn unwatch(&self, players: &[PlayerId]) {
        {
            let mut watch_list = self.handle.shared.watch_list();
            let WatchList { registry, requests } = &mut *watch_list;
            registry
                .unwatch(self.id, players)
                .iter()
                .for_each(|player| requests.remove(player));
        }
        self.handle.shared.changed.notify_one();
    }

    /// Waits for the next change: the newest presence of a player. Cancel safe: a change that was
    /// not returned is delivered later, or a newer one of the same player in its place.
    pub async fn recv(&mut self) -> WatchedPresence {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Waits for a change, and returns it together with others that have arrived: at most `max`,
    /// each of another player. Cancel safe.
    pub async fn recv_many(&mut self, max: usize) -> Vec<WatchedPresence> {
        let mut changes = vec![self.recv().await];
        let mut watch_list = self.handle.shared.watch_list();
        while changes.len() < max
            && let Some(change) = watch_list.registry.next_change(self.id, None)
        {
            changes.push(change);
        }
        changes
    }

    fn poll_recv(&mut self, context: &Context<'_>) -> Poll<WatchedPresence> {
        let change = self
            .handle
            .shared
            .watch_list()
            .registry
            .next_change(self.id, Some(context.waker()));
        change.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Stream for Subscription {
    type Item = WatchedPresence;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<WatchedPresence>> {
        self.poll_recv(context).map(Some)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        {
            let mut watch_list = self.handle.shared.watch_list();
            let WatchList { registry, requests } = &mut *watch_list;
            registry
                .close(self.id)
                .iter()
                .for_each(|player| requests.remove(player));
        }
        self.handle.shared.changed.notify_one();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
