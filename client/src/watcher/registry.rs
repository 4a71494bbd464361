//! Watched players: the latest presence of each, and which subscription has not received it yet.
//!
//! Changes are not queued: a subscription knows which of its players have changed, and reads their
//! latest presences when it asks. So a slow reader gets fewer and newer presences, and its memory
//! is bounded by the number of its players.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    task::Waker,
};

use super::WatchedPresence;
use crate::{Activity, PlayerId, State};

/// All subscriptions and their players.
#[derive(Debug, Default)]
pub(super) struct Registry {
    players: HashMap<PlayerId, WatchedPlayer>,
    subscriptions: HashMap<SubscriptionId, Subscription>,
    next_id: u64,
}

/// Identifies a subscription. An id is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SubscriptionId(u64);

/// A player that at least one subscription has.
#[derive(Debug, Default)]
struct WatchedPlayer {
    latest: Option<LatestPresence>,
    /// The highest version so far.
    highest_version: u64,
    subscribers: Vec<SubscriptionId>,
}

/// The latest presence that the service sent for one player.
#[derive(Debug, Clone)]
struct LatestPresence {
    state: State,
    last_seen: Option<u64>,
    version: Option<u64>,
    activity: Option<Box<Activity>>,
}

#[derive(Debug, Default)]
struct Subscription {
    /// The players, and whether each has changed since its presence was last delivered.
    players: HashMap<PlayerId, bool>,
    /// The players that have changed, in the order of their first change.
    changed: VecDeque<PlayerId>,
    /// Woken by the next change.
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

    /// Adds a player to a subscription. Returns whether no other subscription had this player.
    pub(super) fn watch(&mut self, id: SubscriptionId, player: &PlayerId) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return false;
        };
        let Entry::Vacant(entry) = subscription.players.entry(player.clone()) else {
            return false;
        };
        entry.insert(false);
        let watched = self.players.entry(player.clone()).or_default();
        watched.subscribers.push(id);
        // The subscription begins with what is known already.
        if watched.latest.is_some() {
            subscription.mark_changed(player);
        }
        watched.subscribers.len() == 1
    }

    /// Removes players from a subscription. Returns those that no subscription has any more.
    pub(super) fn unwatch(&mut self, id: SubscriptionId, players: &[PlayerId]) -> Vec<PlayerId> {
        let Some(subscription) = self.subscriptions.get_mut(&id) else {
            return Vec::new();
        };
        let removed: Vec<_> = players
            .iter()
            .filter(|player| subscription.players.remove(*player).is_some())
            .cloned()
            .collect();
        let Subscription {
            players, changed, ..
        } = subscription;
        changed.retain(|player| players.contains_key(player));
        self.release(id, removed)
    }

    /// Ends a subscription. Returns the players that no subscription has any more.
    pub(super) fn close(&mut self, id: SubscriptionId) -> Vec<PlayerId> {
        let subscription = self.subscriptions.remove(&id).unwrap_or_default();
        self.release(id, subscription.players.into_keys().collect())
    }

    /// Ends the subscription to these players. Returns those that no subscription has any more.
    fn release(&mut self, id: SubscriptionId, mut players: Vec<PlayerId>) -> Vec<PlayerId> {
        players.retain(|player| {
            let Some(watched) = self.players.get_mut(player) else {
                return false;
            };
            if let Some(position) = watched
                .subscribers
                .iter()
                .position(|subscriber| *subscriber == id)
            {
                watched.subscribers.swap_remove(position);
            }
            let is_last = watched.subscribers.is_empty();
            if is_last {
                self.players.remove(player);
            }
            is_last
        });
        players
    }

    /// Stores the presence that the service sent for a player. If state, version or activity have
    /// changed, each subscription to the player will deliver it, and the wakers of those that wait
    /// are added to `wakers`. Returns whether they have changed.
    pub(super) fn update(&mut self, presence: WatchedPresence, wakers: &mut Vec<Waker>) -> bool {
        let WatchedPresence {
            player_id,
            state,
            last_seen,
            version,
            activity,
        } = presence;
        // The player may have been unwatched after the service sent this.
        let Some(watched) = self.players.get_mut(&player_id) else {
            return false;
        };
        // Another stream may begin with a lower version if the store lost its latest data: `None`
        // reports that loss.
        let version = version.filter(|version| *version >= watched.highest_version);
        watched.highest_version = watched.highest_version.max(version.unwrap_or_default());
        let latest = LatestPresence {
            state,
            last_seen,
            version,
            activity: activity.map(Box::new),
        };
        let has_changed = watched
            .latest
            .as_ref()
            .is_none_or(|previous| previous.differs_from(&latest));
        // Replaced in any case, since `last_seen` may be newer.
        watched.latest = Some(latest);
        if !has_changed {
            return false;
        }
        for id in &watched.subscribers {
            if let Some(subscription) = self.subscriptions.get_mut(id) {
                subscription.mark_changed(&player_id);
                wakers.extend(subscription.waker.take());
            }
        }
        true
    }

    /// Takes the next change of a subscription. If there is none, the next change wakes `waker`.
    pub(super) fn next_change(
        &mut self,
        id: SubscriptionId,
        waker: Option<&Waker>,
    ) -> Option<WatchedPresence> {
        let subscription = self.subscriptions.get_mut(&id)?;
        let Some(player) = subscription.changed.pop_front() else {
            subscription.waker = waker.cloned();
            return None;
        };
        if let Some(has_changed) = subscription.players.get_mut(&player) {
            *has_changed = false;
        }
        let LatestPresence {
            state,
            last_seen,
            version,
            activity,
        } = self.players.get(&player)?.latest.clone()?;
        Some(WatchedPresence {
            player_id: player,
            state,
            last_seen,
            version,
            activity: activity.map(|boxed| *boxed),
        })
    }

    /// The latest version of a player, 0 for a player without a version. `None` if no presence is
    /// known.
    pub(super) fn known_version(&self, player: &PlayerId) -> Option<u64> {
        self.players
            .get(player)?
            .latest
            .as_ref()
            .map(|latest| latest.version.unwrap_or_default())
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

impl LatestPresence {
    /// Whether the other presence has to be delivered after this one.
    fn differs_from(&self, other: &Self) -> bool {
        (self.state, self.version, &self.activity) != (other.state, other.version, &other.activity)
    }
}

impl Subscription {
    /// Records that a player has changed, unless an earlier change is not delivered yet.
    fn mark_changed(&mut self, player: &PlayerId) {
        if let Some(has_changed) = self.players.get_mut(player)
            && !std::mem::replace(has_changed, true)
        {
            self.changed.push_back(player.clone());
        }
    }
}

#[cfg(test)]
mod tests;
