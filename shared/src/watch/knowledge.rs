//! The known presence of one player, and the order of the reports on it.
//!
//! Reports come from two independent sources: events, which are ordered by their version, and
//! reads, which say what Redis held at a moment. A report that contradicts the known presence, and
//! cannot be ordered before or after it, is doubtful: the player is read again.

use crate::model::{Activity, State};

/// A logical clock that counts reports, so that a read that was sent before a report arrived does
/// not count as newer.
pub(super) type Tick = u64;

/// The content of a report on a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) state: State,
    pub(super) last_seen: Option<u64>,
    pub(super) version: Option<u64>,
    pub(super) activity: Option<Activity>,
}

/// The source of a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A read from Redis, which held the fact at `as_of` (Unix milliseconds of its clock).
    Read { as_of: u64 },
    /// The event of a transition that was made at `occurred_at`.
    Event { occurred_at: u64 },
}

/// The effect of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The report is known, or older than the known presence.
    Unchanged,
    /// The report changes the player's presence.
    Changed,
    /// The report changes the player's presence: Redis has lost the known one. A second read has to
    /// confirm that.
    Lost,
    /// The report changes nothing: another read has to decide.
    Doubtful,
}

/// The known presence of one player. Empty until the first report.
#[derive(Debug, Clone)]
pub(super) struct Knowledge {
    /// The version that Redis holds; 0 for none.
    version: u64,
    /// The highest version that callers were shown.
    floor: u64,
    /// 0 for none.
    last_seen: u64,
    source: Source,
    learned_at: Tick,
    state: State,
    is_known: bool,
    activity: Option<Activity>,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            version: 0,
            floor: 0,
            last_seen: 0,
            source: Source::Event { occurred_at: 0 },
            learned_at: 0,
            state: State::Offline,
            is_known: false,
            activity: None,
        }
    }
}

impl Knowledge {
    /// The presence that callers are shown now. `None` before the first report.
    ///
    /// A version below one that was shown is omitted: Redis has lost the newer one, and versions
    /// must not decrease.
    pub(super) fn show(&mut self) -> Option<Fact> {
        if !self.is_known {
            return None;
        }
        let version = present(self.version).filter(|version| *version >= self.floor);
        self.floor = self.floor.max(self.version);
        let last_seen = present(self.last_seen);
        Some(Fact {
            state: self.state,
            last_seen,
            version,
            activity: self.activity.clone(),
        })
    }

    /// When the transition was made, if it was learned from its event.
    pub(super) fn occurred_at(&self) -> Option<u64> {
        match self.source {
            Source::Event { occurred_at } => Some(occurred_at),
            Source::Read { .. } => None,
        }
    }

    /// The tick at which the last report was applied.
    pub(super) fn learned_at(&self) -> Tick {
        self.learned_at
    }

    /// Forgets everything but the highest version that was shown.
    pub(super) fn forget(&mut self, now: Tick) {
        *self = Self {
            floor: self.floor,
            learned_at: now,
            ..Self::default()
        };
    }

    /// Applies the report of an event.
    pub(super) fn apply_event(&mut self, fact: Fact, occurred_at: u64, now: Tick) -> Verdict {
        if self.is_known {
            if fact.version.unwrap_or_default() <= self.version {
                return Verdict::Unchanged;
            }
            // What happened before a read is in what it found, unless Redis had lost it by then.
            if matches!(self.source, Source::Read { as_of } if occurred_at <= as_of) {
                return Verdict::Doubtful;
            }
        }
        self.take(fact, Source::Event { occurred_at }, now);
        Verdict::Changed
    }

    /// Applies the report of a read that was sent at `sent`. Redis held `fact` at `as_of`.
    pub(super) fn read(&mut self, fact: Fact, as_of: u64, sent: Tick, now: Tick) -> Verdict {
        let version = fact.version.unwrap_or_default();
        let source = Source::Read { as_of };
        if !self.is_known {
            self.take(fact, source, now);
            return Verdict::Changed;
        }
        // A read that was sent after the last report found the same or something newer.
        let is_newer = self.learned_at <= sent;
        if version == self.version && fact.state == self.state {
            if is_newer {
                self.confirm(fact, source, now);
            } else if matches!(self.source, Source::Read { as_of: known } if known < as_of) {
                self.source = source; // the later read includes everything up to its time
            }
            return Verdict::Unchanged;
        }
        let is_older = matches!(self.source, Source::Read { as_of: known } if as_of < known);
        // A record that has expired reads as OFFLINE with its last version, until the sweep makes
        // the transition.
        let has_expired = version == self.version && fact.state == State::Offline;
        match () {
            () if is_newer && version < self.version => {
                self.take(fact, source, now);
                Verdict::Lost
            }
            () if is_newer || (!is_older && (version > self.version || has_expired)) => {
                self.take(fact, source, now);
                Verdict::Changed
            }
            () => Verdict::Doubtful,
        }
    }

    /// Confirms the known presence: only heartbeats have happened since. The time of an event is
    /// kept, as the delay of its delivery is measured from it.
    fn confirm(&mut self, fact: Fact, source: Source, now: Tick) {
        self.last_seen = fact.last_seen.unwrap_or_default();
        self.learned_at = now;
        if let Source::Read { .. } = self.source {
            self.source = source;
        }
    }

    fn take(&mut self, fact: Fact, source: Source, now: Tick) {
        let version = fact.version.unwrap_or_default();
        *self = Self {
            version,
            floor: self.floor,
            last_seen: fact.last_seen.unwrap_or_default(),
            source,
            learned_at: now,
            state: fact.state,
            is_known: true,
            activity: fact.activity,
        };
    }
}

/// Converts a number in which 0 stands for a missing value.
fn present(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests;
