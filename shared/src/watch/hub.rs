//! The watch core: streams, the players that they watch, and the changes that each stream has yet
//! to send. No I/O and no clock: the process shares one hub behind a lock.
//!
//! A stream holds at most one entry per watched player, whatever happens between two of its
//! messages: each message carries the newest presence at that moment. That bounds the memory of a
//! stream that does not read.

mod reports;

use std::{collections::VecDeque, mem};

use super::{
    knowledge::{Fact, Tick},
    pages::{Handle, Pages},
    players::{Player, Players, Watcher},
};
use crate::model::PlayerId;

/// The number of players whose highest version is kept after the last stream has ended its
/// interest, in case one of them watches again.
const MAX_RETIRED: usize = 10_000;

/// The largest number of streams.
pub(super) const MAX_STREAMS: usize = Watcher::MAX_STREAMS as usize;

/// The index of a stream.
pub(super) type StreamIndex = u32;

/// All streams of a process, and the players that they watch. `W` wakes a stream's task.
#[derive(Debug)]
pub(super) struct Hub<W> {
    players: Players,
    streams: Pages<Stream<W>>,
    tick: Tick,
    /// Players with contradictory reports, which have to be read again, in this order.
    in_doubt: VecDeque<Handle>,
    /// Players without a watcher, and the tick at which the last one left.
    retired: VecDeque<(Handle, Tick)>,
    /// Wakers of streams that have changes to send.
    wakers: Vec<W>,
    counts: Counts,
}

/// One stream.
#[derive(Debug)]
struct Stream<W> {
    waker: W,
    /// Whether the task was woken since it last took all changes.
    is_woken: bool,
    /// The number of players that the stream watches.
    watching: usize,
    /// The players that the stream watches, and some that it no longer does.
    interests: Vec<Handle>,
    /// Players that have changed since they were last sent, longest waiting first.
    changed: VecDeque<Handle>,
}

/// Sizes of a hub.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) streams: usize,
    /// Pairs of a stream and a player that it watches.
    pub(super) interests: usize,
    /// Players that are watched by at least one stream.
    pub(super) players: usize,
    /// Changes that were not sent because a newer one of the same player replaced them.
    pub(super) coalesced: u64,
}

/// Error of a stream that would watch more players than it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// An entry of a message.
#[derive(Debug, Clone)]
pub(super) struct Delivery<'a> {
    pub(super) player: &'a PlayerId,
    pub(super) fact: Fact,
    /// When the transition was made, if it was learned from its event.
    pub(super) occurred_at: Option<u64>,
    /// Whether the stream has not sent this yet.
    pub(super) is_change: bool,
}

impl<W> Default for Hub<W> {
    fn default() -> Self {
        Self {
            players: Players::default(),
            streams: Pages::default(),
            tick: 0,
            in_doubt: VecDeque::new(),
            retired: VecDeque::new(),
            wakers: Vec::new(),
            counts: Counts::default(),
        }
    }
}

/// Streams: their interests and deliveries.
impl<W: Clone> Hub<W> {
    pub(super) fn open(&mut self, waker: W) -> StreamIndex {
        self.counts.streams += 1;
        self.streams.insert(Stream {
            waker,
            is_woken: false,
            watching: 0,
            interests: Vec::new(),
            changed: VecDeque::new(),
        })
    }

    /// Ends up to `count` interests of a stream that closes. Returns whether the stream is removed.
    pub(super) fn close(&mut self, stream: StreamIndex, count: usize) -> bool {
        for _ in 0..count {
            let interest = self
                .streams
                .get_mut(stream)
                .and_then(|stream| stream.interests.pop());
            let Some(handle) = interest else {
                self.remove_stream(stream);
                return true;
            };
            self.end_interest(stream, handle);
        }
        false
    }

    /// Marks a stream's interest in players. Their changes from now on wait for
    /// [`deliver_snapshot`], or for [`abandon`] if the snapshot cannot be read.
    ///
    /// [`deliver_snapshot`]: Self::deliver_snapshot
    /// [`abandon`]: Self::abandon
    ///
    /// # Errors
    /// [`TooMany`] if the stream would watch more than `limit` players. Its interests are unchanged
    /// then.
    pub(super) fn watch(
        &mut self,
        stream: StreamIndex,
        players: &[PlayerId],
        limit: usize,
    ) -> Result<(), TooMany> {
        for player in players {
            self.begin_interest(stream, player);
        }
        if self.watching(stream) > limit {
            self.abandon(stream, players);
            return Err(TooMany);
        }
        Ok(())
    }

    /// Reverts the interests that the last [`watch`](Self::watch) of these players added.
    pub(super) fn abandon(&mut self, stream: StreamIndex, players: &[PlayerId]) {
        for player in players {
            let Some(handle) = self.players.find(player.as_str()) else {
                continue;
            };
            let watcher = self
                .players
                .get_mut(handle)
                .and_then(|player| player.watcher(stream).copied());
            if watcher.is_some_and(Watcher::is_loading) {
                self.end_interest(stream, handle);
            }
        }
        self.compact(stream);
    }

    /// Ends a stream's interest in players.
    pub(super) fn unwatch(&mut self, stream: StreamIndex, players: &[PlayerId]) {
        for player in players {
            if let Some(handle) = self.players.find(player.as_str()) {
                self.end_interest(stream, handle);
            }
        }
        self.compact(stream);
    }

    /// The number of players that a stream watches.
    pub(super) fn watching(&self, stream: StreamIndex) -> usize {
        self.streams.get(stream).map_or(0, |stream| stream.watching)
    }

    /// Hands over what is known of players that a stream watches; their changes are sent from now
    /// on.
    pub(super) fn deliver_snapshot<'a>(
        &mut self,
        stream: StreamIndex,
        players: impl Iterator<Item = &'a PlayerId>,
        mut deliver: impl FnMut(Delivery<'_>),
    ) {
        for player in players {
            let Some(handle) = self.players.find(player.as_str()) else {
                continue;
            };
            let Some(player) = self.players.get_mut(handle) else {
                continue;
            };
            let Some(watcher) = player.watcher(stream) else {
                continue;
            };
            let is_change = watcher.note_delivery();
            if let Some(delivery) = player.delivery(is_change) {
                deliver(delivery);
            }
        }
    }

    /// Passes a stream's changes to `deliver`, each player once, while it returns `true`. Returns
    /// whether more are left.
    pub(super) fn deliver_changes(
        &mut self,
        stream: StreamIndex,
        mut deliver: impl FnMut(Delivery<'_>) -> bool,
    ) -> bool {
        let Self {
            players, streams, ..
        } = self;
        let Some(entry) = streams.get_mut(stream) else {
            return false;
        };
        while let Some(handle) = entry.changed.pop_front() {
            let Some(player) = players.get_mut(handle) else {
                continue;
            };
            let Some(watcher) = player.watcher(stream) else {
                continue;
            };
            if !watcher.note_delivery() {
                continue; // a snapshot has already delivered it
            }
            let Some(delivery) = player.delivery(true) else {
                continue;
            };
            if !deliver(delivery) {
                break;
            }
        }
        // A stream that has taken everything waits, and is woken by the next change.
        entry.is_woken = !entry.changed.is_empty();
        entry.is_woken
    }

    /// Takes the wakers of the streams that got changes to send since the last call.
    pub(super) fn take_wakers(&mut self) -> Vec<W> {
        mem::take(&mut self.wakers)
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn begin_interest(&mut self, stream: StreamIndex, player: &PlayerId) {
        let handle = self.players.find_or_insert(player);
        let Self {
            players,
            streams,
            counts,
            ..
        } = self;
        let (Some(player), Some(entry)) = (players.get_mut(handle), streams.get_mut(stream)) else {
            return;
        };
        if player.watcher(stream).is_some() {
            return;
        }
        counts.players += usize::from(player.watchers.is_empty());
        counts.interests += 1;
        player.watchers.push(Watcher::loading(stream));
        entry.watching += 1;
        entry.interests.push(handle);
    }

    fn end_interest(&mut self, stream: StreamIndex, handle: Handle) {
        let Some(player) = self.players.get_mut(handle) else {
            return;
        };
        if !player.remove_watcher(stream) {
            return;
        }
        let is_last = player.watchers.is_empty();
        self.counts.interests -= 1;
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.watching -= 1;
        }
        if is_last {
            self.counts.players -= 1;
            self.retire(handle);
        }
    }

    /// Keeps the highest version of a player without watchers for a while. Reports on the player
    /// are ignored from now on.
    fn retire(&mut self, handle: Handle) {
        self.tick += 1;
        if let Some(player) = self.players.get_mut(handle) {
            player.knowledge.forget(self.tick);
            player.is_in_doubt = false;
        }
        self.retired.push_back((handle, self.tick));
        while self.retired.len() > MAX_RETIRED
            && let Some((handle, since)) = self.retired.pop_front()
        {
            // The handle may be watched again, or reused for another player.
            let is_retired = |player: &Player| {
                player.watchers.is_empty() && player.knowledge.learned_at() == since
            };
            if self.players.get(handle).is_some_and(is_retired) {
                self.players.remove(handle);
            }
        }
    }

    /// Drops the handles of players that a stream no longer watches, once they outnumber the
    /// others.
    fn compact(&mut self, stream: StreamIndex) {
        const MIN_STALE: usize = 64;
        let Self {
            players, streams, ..
        } = self;
        let Some(entry) = streams.get_mut(stream) else {
            return;
        };
        if entry.interests.len() <= 2 * entry.watching + MIN_STALE {
            return;
        }
        entry.interests.sort_unstable();
        entry.interests.dedup();
        let is_watched = |handle: &Handle| {
            let watchers = players.get(*handle).map(|player| player.watchers.iter());
            watchers.is_some_and(|mut watchers| watchers.any(|watcher| watcher.stream() == stream))
        };
        entry.interests.retain(is_watched);
        entry.interests.shrink_to_fit();
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        if self.streams.remove(stream).is_none() {
            return;
        }
        self.counts.streams -= 1;
        if self.counts.streams == 0 {
            // Without streams all memory is released; only the tick and the counters continue.
            *self = Self {
                tick: self.tick,
                counts: self.counts,
                ..Self::default()
            };
        }
    }
}

impl Player {
    /// The entry of the player in a message. `None` before the first report.
    fn delivery(&mut self, is_change: bool) -> Option<Delivery<'_>> {
        let Self {
            id: player,
            knowledge,
            ..
        } = self;
        Some(Delivery {
            player,
            fact: knowledge.show()?,
            occurred_at: knowledge.occurred_at(),
            is_change,
        })
    }
}

#[cfg(test)]
mod tests;
