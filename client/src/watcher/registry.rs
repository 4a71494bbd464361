//! Watched players: what is held of each, and which subscription has not been given it yet.
//!
//! Nothing is queued: a subscription knows which of its players have changed, and takes what is held of them when it
//! asks. So a reader that is slow gets fewer and newer presences, in memory that is bounded by its players.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    task::Waker,
};

use super::WatchedPresence;
use crate::{Activity, PlayerId, State};

/// All subscriptions and their players.
#[derive(Debug, Default)]
pub(super) struct Registry {
    players: HashMap<PlayerId, Player>,
    subscriptions: HashMap<SubscriptionId, Subscription>,
    next_id: u64,
}

/// Number of a subscription; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SubscriptionId(u64);

#[derive(Debug, Default)]
struct Player {
    held: Option<Held>,
    /// The highest version so far.
    highest: u64,
    subscribers: Vec<SubscriptionId>,
}

/// The newest presence that the service has sent.
#[derive(Debug, Clone)]
struct Held {
    state: State,
    last_seen: Option<u64>,
    version: Option<u64>,
    activity: Option<Box<Activity>>,
}

#[derive(Debug, Default)]
struct Subscription {
    /// The players, and whether each has changed since it was taken.
    players: HashMap<PlayerId, bool>,
    /// Those that have changed, in the order of their first change.
    changed: VecDeque<PlayerId>,
    waker: Option<Waker>,
}

impl Registry {
    /// Adds a subscription without players.
    pub(super) fn open(&mut self) -> SubscriptionId {
        let id = SubscriptionId(self.next_id);
        self.next_id += 1;
        self.subscriptions.insert(id, Subscription::default());
        id
    }

    /// Adds a player to a subscription. Returns whether it is the first subscription to this player.
    pub(super) fn watch(&mut self, id: SubscriptionId, player: &PlayerId) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return false };
        let Entry::Vacant(entry) = subscription.players.entry(player.clone()) else { return false };
        entry.insert(false);
        let watched = self.players.entry(player.clone()).or_default();
        watched.subscribers.push(id);
        if watched.held.is_some() {
            subscription.note_change(player);
        }
        watched.subscribers.len() == 1
    }

    /// Removes players from a subscription. Returns those that no subscription has any more.
    pub(super) fn unwatch(&mut self, id: SubscriptionId, players: &[PlayerId]) -> Vec<PlayerId> {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return Vec::new() };
        let removed: Vec<_> =
            players.iter().filter(|player| subscription.players.remove(*player).is_some()).cloned().collect();
        let Subscription { players, changed, .. } = subscription;
        changed.retain(|player| players.contains_key(player));
        self.release(id, removed)
    }

    /// Ends a subscription. Returns the players that no subscription has any more.
    pub(super) fn close(&mut self, id: SubscriptionId) -> Vec<PlayerId> {
        let subscription = self.subscriptions.remove(&id).unwrap_or_default();
        self.release(id, subscription.players.into_keys().collect())
    }

    fn release(&mut self, id: SubscriptionId, mut players: Vec<PlayerId>) -> Vec<PlayerId> {
        players.retain(|player| {
            let Some(watched) = self.players.get_mut(player) else { return false };
            if let Some(place) = watched.subscribers.iter().position(|subscriber| *subscriber == id) {
                watched.subscribers.swap_remove(place);
            }
            let is_last = watched.subscribers.is_empty();
            if is_last {
                self.players.remove(player);
            }
            is_last
        });
        players
    }

    /// Takes in what the service sent of a player. If state, version or activity are new, each subscription to the player gets
    /// it, and the wakers of those that wait are added to `wakers`. Returns whether they are new.
    pub(super) fn take(&mut self, presence: WatchedPresence, wakers: &mut Vec<Waker>) -> bool {
        let WatchedPresence { player_id, state, last_seen, version, activity } = presence;
        // Unwatched meanwhile.
        let Some(watched) = self.players.get_mut(&player_id) else { return false };
        // Another stream may begin with a lower version if the store went back in time: that is a loss of data.
        let version = version.filter(|version| *version >= watched.highest);
        watched.highest = watched.highest.max(version.unwrap_or_default());
        let held = Held { state, last_seen, version, activity: activity.map(Box::new) };
        let is_known = watched.held.as_ref().is_some_and(|before| before.is_like(&held));
        watched.held = Some(held);
        if is_known {
            return false;
        }
        for id in &watched.subscribers {
            if let Some(subscription) = self.subscriptions.get_mut(id) {
                subscription.note_change(&player_id);
                wakers.extend(subscription.waker.take());
            }
        }
        true
    }

    /// The next change of a subscription; if there is none, `waker` is woken by the next one.
    pub(super) fn next(&mut self, id: SubscriptionId, waker: Option<&Waker>) -> Option<WatchedPresence> {
        let subscription = self.subscriptions.get_mut(&id)?;
        let Some(player) = subscription.changed.pop_front() else {
            subscription.waker = waker.cloned();
            return None;
        };
        if let Some(has_changed) = subscription.players.get_mut(&player) {
            *has_changed = false;
        }
        let Held { state, last_seen, version, activity } = self.players.get(&player)?.held.clone()?;
        Some(WatchedPresence { player_id: player, state, last_seen, version, activity: activity.map(|boxed| *boxed) })
    }

    /// The version that is held of a player, 0 for a player without one; `None` if nothing is held.
    pub(super) fn known_version(&self, player: &PlayerId) -> Option<u64> {
        self.players.get(player)?.held.as_ref().map(|held| held.version.unwrap_or_default())
    }

    /// The number of subscriptions.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// The number of distinct players.
    pub(super) fn players(&self) -> usize {
        self.players.len()
    }
}

impl Held {
    /// Whether there is nothing in the other one to deliver.
    fn is_like(&self, other: &Self) -> bool {
        (self.state, self.version, &self.activity) == (other.state, other.version, &other.activity)
    }
}

impl Subscription {
    fn note_change(&mut self, player: &PlayerId) {
        if let Some(has_changed) = self.players.get_mut(player)
            && !std::mem::replace(has_changed, true)
        {
            self.changed.push_back(player.clone());
        }
    }
}

#[cfg(test)]
mod tests;
