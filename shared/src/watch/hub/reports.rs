//! Reports on watched players, and the players that they put in doubt.

use std::mem;

use super::Hub;
use crate::{
    model::PlayerId,
    watch::{
        knowledge::{Fact, Knowledge, Tick, Verdict},
        pages::Handle,
    },
};

impl<W: Clone> Hub<W> {
    /// The current tick. A read that is sent now passes it with its result.
    pub(in crate::watch) fn now(&self) -> Tick {
        self.tick
    }

    /// Applies the report of an event.
    pub(in crate::watch) fn apply_event(&mut self, player: &str, fact: Fact, occurred_at: u64) {
        if let Some(handle) = self.players.find(player) {
            self.learn(handle, |knowledge, now| {
                knowledge.apply_event(fact, occurred_at, now)
            });
        }
    }

    /// Applies the report of a read that was sent at `sent`. Redis held `fact` at `as_of`.
    pub(in crate::watch) fn read(&mut self, player: &str, fact: Fact, as_of: u64, sent: Tick) {
        if let Some(handle) = self.players.find(player) {
            self.learn(handle, |knowledge, now| {
                knowledge.read(fact, as_of, sent, now)
            });
        }
    }

    /// Whether players may have to be read again.
    pub(in crate::watch) fn has_doubts(&self) -> bool {
        !self.in_doubt.is_empty()
    }

    /// Takes up to `count` players with contradictory reports, which have to be read again.
    pub(in crate::watch) fn take_doubts(&mut self, count: usize) -> Vec<PlayerId> {
        let mut doubts = Vec::new();
        while doubts.len() < count
            && let Some(handle) = self.in_doubt.pop_front()
        {
            let Some(player) = self.players.get_mut(handle) else {
                continue;
            };
            if mem::take(&mut player.is_in_doubt) {
                doubts.push(player.id.clone());
            }
        }
        doubts
    }

    /// Returns players that could not be read to those in doubt, of which they are taken last: a
    /// record that cannot be read does not keep others from being read.
    pub(in crate::watch) fn put_back_doubts(&mut self, players: &[PlayerId]) {
        for player in players {
            if let Some(handle) = self.players.find(player.as_str()) {
                self.doubt(handle);
            }
        }
    }

    /// The watched players among the next `count` handles from `from` on, and the handle to
    /// continue with. `None` at the end.
    pub(in crate::watch) fn page(
        &self,
        from: Handle,
        count: u32,
    ) -> (Vec<PlayerId>, Option<Handle>) {
        let end = self.players.end();
        let next = from.saturating_add(count).min(end);
        let players = (from..next).filter_map(|handle| self.players.get(handle));
        let watched = players.filter(|player| !player.watchers.is_empty());
        (
            watched.map(|player| player.id.clone()).collect(),
            (next < end).then_some(next),
        )
    }

    fn learn(&mut self, handle: Handle, report: impl FnOnce(&mut Knowledge, Tick) -> Verdict) {
        let Some(player) = self.players.get_mut(handle) else {
            return;
        };
        if player.watchers.is_empty() {
            return;
        }
        self.tick += 1;
        let verdict = report(&mut player.knowledge, self.tick);
        if matches!(verdict, Verdict::Changed | Verdict::Lost) {
            self.note_change(handle);
        }
        if matches!(verdict, Verdict::Doubtful | Verdict::Lost) {
            self.doubt(handle);
        }
    }

    fn note_change(&mut self, handle: Handle) {
        let Self {
            players,
            streams,
            wakers,
            counts,
            ..
        } = self;
        let Some(player) = players.get_mut(handle) else {
            return;
        };
        // A stream whose snapshot is loading gets the change with its snapshot.
        for watcher in player
            .watchers
            .iter_mut()
            .filter(|watcher| !watcher.is_loading())
        {
            if !watcher.note_change() {
                counts.coalesced += 1;
                continue;
            }
            let Some(stream) = streams.get_mut(watcher.stream()) else {
                continue;
            };
            stream.changed.push_back(handle);
            if !mem::replace(&mut stream.is_woken, true) {
                wakers.push(stream.waker.clone());
            }
        }
    }

    fn doubt(&mut self, handle: Handle) {
        let Some(player) = self.players.get_mut(handle) else {
            return;
        };
        if !player.watchers.is_empty() && !mem::replace(&mut player.is_in_doubt, true) {
            self.in_doubt.push_back(handle);
        }
    }
}
