//! Queue of items with due times.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Items in the order of their due times. Items with the same due time keep the order in which they
/// were inserted.
#[derive(Debug)]
pub(super) struct TimerQueue<T> {
    items: BTreeMap<TimerKey, T>,
    last_number: u64,
}

/// Identifies one item of a [`TimerQueue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    due_at: Instant,
    number: u64,
}

impl<T> TimerQueue<T> {
    pub(super) fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            last_number: 0,
        }
    }

    pub(super) fn insert(&mut self, due_at: Instant, item: T) -> TimerKey {
        self.last_number += 1;
        let key = TimerKey {
            due_at,
            number: self.last_number,
        };
        self.items.insert(key, item);
        key
    }

    /// Removes an item, if it is still in the queue.
    pub(super) fn remove(&mut self, key: TimerKey) {
        self.items.remove(&key);
    }

    /// The due time of the first item.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.items.first_key_value().map(|(key, _)| key.due_at)
    }

    /// Removes and returns the first item and its due time, unless that is after `latest`.
    pub(super) fn pop(&mut self, latest: Instant) -> Option<(Instant, T)> {
        let first = self
            .items
            .first_entry()
            .filter(|first| first.key().due_at <= latest)?;
        let (key, item) = first.remove_entry();
        Some((key.due_at, item))
    }

    /// Moves all items of `other` into this queue. They keep their keys, which must be keys that
    /// this queue never issued.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.items.append(&mut other.items);
    }

    /// Moves one item of `other` into this queue. It keeps its key, as with
    /// [`append`](Self::append).
    pub(super) fn take_from(&mut self, other: &mut Self, key: TimerKey) {
        self.items.extend(other.items.remove_entry(&key));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.values()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
