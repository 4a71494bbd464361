//! A caller that watches the player, and the server at the other end of its stream. See
//! `docs/watch.md`.

use crate::{
    Bounds, Mutation,
    redis::{Activity, Event, Presence, Redis, Tick},
};

/// A caller. Its data survives the end of its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Watcher {
    /// The last fact that the caller received; `None` before the first snapshot.
    pub held: Option<Fact>,
    /// The open stream, if there is one.
    pub stream: Option<Stream>,
    /// The number of broken streams and of interruptions of a stream's events.
    pub interruptions: u8,
    /// Whether a version was below an earlier one of the same stream.
    pub has_version_decreased: bool,
    /// Whether a snapshot was older than its request.
    pub was_stale: bool,
}

/// A player's presence, activity and version in a read or an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fact {
    /// The player's state.
    pub presence: Presence,
    /// The player's activity.
    pub activity: Option<Activity>,
    /// The version. 0 for a player without one.
    pub version: u16,
}

/// A stream, and its server's knowledge of the player.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The newest report; `None` before the first one.
    known: Option<Known>,
    /// The read of the snapshot while it is in flight.
    snapshot: Option<Read>,
    /// A later read while it is in flight.
    reread: Option<Read>,
    /// Whether the snapshot is still to be sent.
    is_loading: bool,
    /// Whether the player is to be read again.
    pub(crate) is_in_doubt: bool,
    /// Whether a change is still to be sent.
    is_pending: bool,
    feed: Feed,
    /// The data set that the server saw last, identified by the number of flushes before it.
    dataset: u8,
    /// The highest version that was sent.
    highest: u16,
    /// Redis's version and data set when the request arrived.
    requested: (u16, u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Known {
    fact: Fact,
    /// The time of the read; `None` if the fact is from an event.
    as_of: Option<Tick>,
}

/// Redis's reply to a read, which has not arrived yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Read {
    fact: Fact,
    as_of: Tick,
    /// Whether another report arrived since the read was sent.
    is_overtaken: bool,
}

/// A server's position in the stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Feed {
    Following(usize),
    Interrupted(usize),
}

/// An action of a watcher or its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchAction {
    /// The caller opens a stream, and requests the player with the version that it holds.
    Watch,
    /// Redis executes the read of the snapshot.
    ReadSnapshot,
    /// The snapshot's reply arrives, and the snapshot is sent.
    SendSnapshot,
    /// Redis executes a later read.
    ReadAgain,
    /// The reply of a later read arrives.
    TakeRead,
    /// The next event arrives.
    ReceiveEvent,
    /// A change is sent.
    SendChange,
    /// The stream breaks.
    BreakStream,
    /// Events stop arriving.
    InterruptFeed,
    /// Events arrive again, from the first unread one on.
    ResumeFeed,
    /// Events arrive again, but those in between are lost.
    RestartFeed,
    /// The server checks whether the data set was replaced.
    CheckDataset,
}

/// The parts of the system that a watcher interacts with.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Tick,
    pub(crate) redis: &'a Redis,
    pub(crate) events: &'a [Event],
    pub(crate) flushes: u8,
    pub(crate) mutation: Option<Mutation>,
}

impl Watcher {
    /// The actions that are possible in this state.
    pub(crate) fn actions(&self, around: &Surroundings<'_>, bounds: &Bounds) -> Vec<WatchAction> {
        let Some(stream) = &self.stream else {
            return vec![WatchAction::Watch];
        };
        let can_break = self.interruptions < bounds.interruptions;
        let has_more = matches!(stream.feed, Feed::Following(read) if read < around.events.len());
        let is_interrupted = matches!(stream.feed, Feed::Interrupted(_));
        let actions = [
            (
                stream.is_loading && stream.snapshot.is_none(),
                WatchAction::ReadSnapshot,
            ),
            (stream.snapshot.is_some(), WatchAction::SendSnapshot),
            (
                stream.is_in_doubt && stream.reread.is_none(),
                WatchAction::ReadAgain,
            ),
            (stream.reread.is_some(), WatchAction::TakeRead),
            (has_more, WatchAction::ReceiveEvent),
            (stream.is_pending, WatchAction::SendChange),
            (can_break, WatchAction::BreakStream),
            (can_break && !is_interrupted, WatchAction::InterruptFeed),
            (is_interrupted, WatchAction::ResumeFeed),
            (is_interrupted, WatchAction::RestartFeed),
            (stream.dataset != around.flushes, WatchAction::CheckDataset),
        ];
        actions
            .into_iter()
            .filter(|(is_possible, _)| *is_possible)
            .map(|(_, action)| action)
            .collect()
    }

    /// Applies an action.
    pub(crate) fn apply(&mut self, action: WatchAction, around: &Surroundings<'_>) {
        match action {
            WatchAction::Watch => self.stream = Some(Stream::new(around)),
            WatchAction::BreakStream => {
                self.stream = None;
                self.interruptions += 1;
            }
            WatchAction::SendSnapshot => self.send_snapshot(around),
            WatchAction::SendChange => self.send_change(),
            WatchAction::InterruptFeed => {
                self.interruptions += 1;
                self.with_stream(|stream| stream.interrupt(around));
            }
            _ => self.with_stream(|stream| stream.apply(action, around)),
        }
    }

    /// Whether the caller has received everything that the server knows, and no report is
    /// outstanding.
    pub(crate) fn is_quiet(&self, events: usize, flushes: u8) -> bool {
        self.stream.as_ref().is_some_and(|stream| {
            let is_settled = !stream.is_loading && !stream.is_in_doubt && !stream.is_pending;
            let has_all = stream.feed == Feed::Following(events) && stream.dataset == flushes;
            is_settled && stream.reread.is_none() && has_all
        })
    }

    fn with_stream(&mut self, change: impl FnOnce(&mut Stream)) {
        if let Some(stream) = &mut self.stream {
            change(stream);
        }
    }

    fn send_snapshot(&mut self, around: &Surroundings<'_>) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let Some(read) = stream.snapshot.take() else {
            return;
        };
        stream.take_read(read, around.mutation);
        stream.is_loading = false;
        let is_known = self.held.is_some_and(|held| {
            around.mutation == Some(Mutation::KnownIsTrusted)
                || stream
                    .fact()
                    .is_some_and(|fact| fact.version == held.version)
        });
        let (version, dataset) = stream.requested;
        if !is_known {
            self.send_change();
        }
        let held = self.held.map_or(0, |held| held.version);
        self.was_stale |= dataset == around.flushes && held < version;
    }

    fn send_change(&mut self) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let Some(fact) = stream.fact() else { return };
        stream.is_pending = false;
        self.has_version_decreased |= fact.version != 0 && fact.version < stream.highest;
        stream.highest = stream.highest.max(fact.version);
        self.held = Some(fact);
    }
}

impl Stream {
    /// Opens a stream that receives all later events.
    fn new(around: &Surroundings<'_>) -> Self {
        let is_read_first = around.mutation == Some(Mutation::SnapshotBeforeSubscription);
        Self {
            known: None,
            snapshot: is_read_first.then(|| Read::now(around)),
            reread: None,
            is_loading: true,
            is_in_doubt: false,
            is_pending: false,
            feed: Feed::Following(around.events.len()),
            dataset: around.flushes,
            highest: 0,
            requested: (around.redis.fact().version, around.flushes),
        }
    }

    fn apply(&mut self, action: WatchAction, around: &Surroundings<'_>) {
        match (action, self.feed) {
            (WatchAction::ReadSnapshot, _) => self.snapshot = Some(Read::now(around)),
            (WatchAction::ReadAgain, _) => {
                self.is_in_doubt = false;
                self.reread = Some(Read::now(around));
            }
            (WatchAction::TakeRead, _) => {
                if let Some(read) = self.reread.take() {
                    self.take_read(read, around.mutation);
                }
            }
            (WatchAction::ReceiveEvent, Feed::Following(read)) => {
                self.feed = Feed::Following(read + 1);
                let misses_event = self.is_loading
                    && around.mutation == Some(Mutation::SnapshotBeforeSubscription);
                if !misses_event {
                    self.receive_event(around.events[read], around.mutation);
                }
            }
            (WatchAction::ResumeFeed, Feed::Interrupted(read)) => self.feed = Feed::Following(read),
            (WatchAction::RestartFeed, _) => {
                self.feed = Feed::Following(around.events.len());
                self.is_in_doubt |= around.mutation != Some(Mutation::LostEventsAreIgnored);
            }
            (WatchAction::CheckDataset, _) => {
                self.dataset = around.flushes;
                self.is_in_doubt |= around.mutation != Some(Mutation::FlushIsIgnored);
            }
            _ => {}
        }
    }

    /// Interrupts the events. A read finds the changes that are missed.
    fn interrupt(&mut self, around: &Surroundings<'_>) {
        if let Feed::Following(read) = self.feed {
            self.feed = Feed::Interrupted(read);
            self.is_in_doubt |= around.mutation != Some(Mutation::LostEventsAreIgnored);
        }
    }

    fn fact(&self) -> Option<Fact> {
        self.known.map(|known| known.fact)
    }

    fn receive_event(&mut self, event: Event, mutation: Option<Mutation>) {
        let fact = Fact {
            presence: event.after,
            activity: event.activity,
            version: event.version,
        };
        if let Some(known) = self.known {
            if fact.version <= known.fact.version
                && mutation != Some(Mutation::EventsAreNotCompared)
            {
                return;
            }
            // A read includes the events before it, unless Redis had lost them by then.
            let is_before_read = known.as_of.is_some_and(|as_of| event.occurred_at <= as_of);
            if is_before_read && mutation != Some(Mutation::OldEventsAreAccepted) {
                return self.doubt(mutation);
            }
        }
        self.learn(Known { fact, as_of: None });
    }

    fn take_read(&mut self, read: Read, mutation: Option<Mutation>) {
        let Read {
            fact,
            as_of,
            is_overtaken,
        } = read;
        let report = Known {
            fact,
            as_of: Some(as_of),
        };
        let Some(known) = self.known else {
            return self.learn(report);
        };
        let is_newer = !is_overtaken || mutation == Some(Mutation::ReadsUndoEvents);
        if (fact.presence, fact.version) == (known.fact.presence, known.fact.version) {
            if is_newer {
                self.overtake_reads();
                self.known = Some(Known {
                    as_of: known.as_of.map(|_| as_of),
                    ..known
                });
            } else if mutation != Some(Mutation::AgreementIsIgnored) {
                self.known = Some(Known {
                    as_of: known.as_of.map(|known| known.max(as_of)),
                    ..known
                });
            }
            return;
        }
        let is_older = known.as_of.is_some_and(|known| as_of < known);
        let has_expired = fact.version == known.fact.version && fact.presence == Presence::Offline;
        if is_newer || (!is_older && (fact.version > known.fact.version || has_expired)) {
            let is_lost = fact.version < known.fact.version;
            self.learn(report);
            if is_lost {
                self.doubt(mutation);
            }
        } else {
            self.doubt(mutation);
        }
    }

    fn learn(&mut self, known: Known) {
        self.known = Some(known);
        self.overtake_reads();
        self.is_pending |= !self.is_loading;
    }

    fn overtake_reads(&mut self) {
        for read in [&mut self.snapshot, &mut self.reread].into_iter().flatten() {
            read.is_overtaken = true;
        }
    }

    fn doubt(&mut self, mutation: Option<Mutation>) {
        self.is_in_doubt |= mutation != Some(Mutation::DoubtIsIgnored);
    }
}

impl Read {
    fn now(around: &Surroundings<'_>) -> Self {
        Self {
            fact: around.redis.fact(),
            as_of: around.now,
            is_overtaken: false,
        }
    }
}
