//! Watched players: their streams and their known presence. Each id is stored once per process.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::{
    knowledge::Knowledge,
    pages::{Handle, Pages},
};
use crate::model::PlayerId;

/// A stream's interest in a player: the stream's index and two flags. It takes one word, as there
/// is one per stream and player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watcher(u32);

/// A player that is watched, or was until recently.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) id: PlayerId,
    /// The streams that watch the player. Most players have few, which need no allocation.
    pub(super) watchers: SmallVec<[Watcher; 4]>,
    pub(super) knowledge: Knowledge,
    /// Whether another read has to decide between contradictory reports.
    pub(super) is_in_doubt: bool,
}

/// All watched players, by handle and by id.
#[derive(Debug, Default)]
pub(super) struct Players {
    pages: Pages<Player>,
    by_id: HashTable<Handle>,
    hasher: RandomState,
}

impl Watcher {
    /// The largest number of streams.
    pub(super) const MAX_STREAMS: u32 = 1 << 30;

    /// The snapshot for this stream is being read. Changes wait for it.
    const LOADING: u32 = 1 << 31;
    /// The player has changed since it was last sent on this stream.
    const CHANGED: u32 = 1 << 30;

    pub(super) fn loading(stream: u32) -> Self {
        Self(stream | Self::LOADING)
    }

    pub(super) fn stream(self) -> u32 {
        self.0 & !(Self::LOADING | Self::CHANGED)
    }

    pub(super) fn is_loading(self) -> bool {
        self.0 & Self::LOADING != 0
    }

    /// Records a change. Returns whether all earlier changes were sent.
    pub(super) fn note_change(&mut self) -> bool {
        let is_first = self.0 & Self::CHANGED == 0;
        self.0 |= Self::CHANGED;
        is_first
    }

    /// Records that the newest presence is sent. Returns whether it has changed since the last
    /// time.
    pub(super) fn note_delivery(&mut self) -> bool {
        let has_changed = self.0 & Self::CHANGED != 0;
        self.0 = self.stream();
        has_changed
    }
}

impl Player {
    fn new(id: PlayerId) -> Self {
        Self {
            id,
            watchers: SmallVec::new(),
            knowledge: Knowledge::default(),
            is_in_doubt: false,
        }
    }

    pub(super) fn watcher(&mut self, stream: u32) -> Option<&mut Watcher> {
        self.watchers
            .iter_mut()
            .find(|watcher| watcher.stream() == stream)
    }

    /// Ends a stream's interest. Returns whether it had one.
    pub(super) fn remove_watcher(&mut self, stream: u32) -> bool {
        let position = self
            .watchers
            .iter()
            .position(|watcher| watcher.stream() == stream);
        position
            .map(|position| self.watchers.swap_remove(position))
            .is_some()
    }
}

impl Players {
    pub(super) fn find(&self, id: &str) -> Option<Handle> {
        let is_same = |handle: &Handle| {
            self.pages
                .get(*handle)
                .is_some_and(|player| player.id.as_str() == id)
        };
        self.by_id.find(self.hasher.hash_one(id), is_same).copied()
    }

    pub(super) fn find_or_insert(&mut self, id: &PlayerId) -> Handle {
        if let Some(handle) = self.find(id.as_str()) {
            return handle;
        }
        let handle = self.pages.insert(Player::new(id.clone()));
        let Self {
            pages,
            by_id,
            hasher,
        } = self;
        let compute_hash = |id: &str| hasher.hash_one(id);
        let rehash = |handle: &Handle| {
            pages
                .get(*handle)
                .map_or(0, |player| compute_hash(player.id.as_str()))
        };
        by_id.insert_unique(compute_hash(id.as_str()), handle, rehash);
        handle
    }

    pub(super) fn remove(&mut self, handle: Handle) {
        let Some(player) = self.pages.remove(handle) else {
            return;
        };
        let hash = self.hasher.hash_one(player.id.as_str());
        if let Ok(entry) = self.by_id.find_entry(hash, |other| *other == handle) {
            entry.remove();
        }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Player> {
        self.pages.get(handle)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Player> {
        self.pages.get_mut(handle)
    }

    /// The first handle that was never in use.
    pub(super) fn end(&self) -> Handle {
        self.pages.end()
    }
}
