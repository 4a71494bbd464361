//! One subscription: players, and their changes.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;

use super::{Handle, Interests, WatchedPresence, registry::SubscriptionId};
use crate::PlayerId;

/// Players that one user of a [`Watcher`](super::Watcher) watches, such as one socket of a gateway, and their changes.
/// Dropping it ends the interest.
///
/// It is a [`Stream`] as well; as such it never ends.
pub struct Subscription {
    handle: Arc<Handle>,
    id: SubscriptionId,
}

impl Subscription {
    pub(super) fn open(handle: Arc<Handle>) -> Self {
        let id = handle.shared.interests().registry.open();
        Self { handle, id }
    }

    /// Adds players. One that another subscription watches already is delivered at once, as far as it is known; one
    /// that this subscription has is left as it is.
    pub fn watch<'a>(&self, players: impl IntoIterator<Item = &'a PlayerId>) {
        {
            let mut interests = self.handle.shared.interests();
            let Interests { registry, requests } = &mut *interests;
            players
                .into_iter()
                .filter(|player| registry.watch(self.id, player))
                .for_each(|player| requests.add(player));
        }
        self.handle.shared.changed.notify_one();
    }

    /// Removes players: their changes are no longer delivered. One that is not watched is no error.
    pub fn unwatch(&self, players: &[PlayerId]) {
        {
            let mut interests = self.handle.shared.interests();
            let Interests { registry, requests } = &mut *interests;
            registry.unwatch(self.id, players).iter().for_each(|player| requests.remove(player));
        }
        self.handle.shared.changed.notify_one();
    }

    /// Waits for the next change: the newest presence of a player. Can be cancelled; a change that was not returned is
    /// delivered later, or a newer one of the same player in its place.
    pub async fn recv(&mut self) -> WatchedPresence {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Waits for a change, and returns it with the others that have arrived, `max` at most, each player once. Can be
    /// cancelled.
    pub async fn recv_many(&mut self, max: usize) -> Vec<WatchedPresence> {
        let mut changes = vec![self.recv().await];
        let mut interests = self.handle.shared.interests();
        while changes.len() < max
            && let Some(change) = interests.registry.next(self.id, None)
        {
            changes.push(change);
        }
        changes
    }

    fn poll_recv(&mut self, context: &Context<'_>) -> Poll<WatchedPresence> {
        let change = self.handle.shared.interests().registry.next(self.id, Some(context.waker()));
        change.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Stream for Subscription {
    type Item = WatchedPresence;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WatchedPresence>> {
        self.poll_recv(context).map(Some)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        {
            let mut interests = self.handle.shared.interests();
            let Interests { registry, requests } = &mut *interests;
            registry.close(self.id).iter().for_each(|player| requests.remove(player));
        }
        self.handle.shared.changed.notify_one();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}
