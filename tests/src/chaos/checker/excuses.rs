//! What a fault excuses, and nothing more.

use std::ops::RangeInclusive;

use crate::chaos::history::{History, Kind, Loss, Millis, Part, Read, Trouble, WatchStream};

/// Once nothing holds it up any more, a process does within so much what it was about to do: the machine may be busy.
const SLACK: Millis = 1_000;

/// A sweep is late by as much as its machine is busy.
pub(super) const SWEEP_SLACK: Millis = 2_500;

/// Events are published within that while NATS and a server work.
const PUBLISHING: Millis = 1_500;

/// A relay that saw NATS fail lets it be for 5 s, and NATS's client takes its time to connect anew.
const NATS_SHYNESS: Millis = 8_000;

/// A server notices within this time that its connection to NATS is silent.
const NATS_DETECTION: Millis = 30_000;

/// A server notices within this time that its connection leads to a node that is not the primary any more.
pub(super) const DETECTION: Millis = 5_000;

/// The faults of a run, asked for what they excuse.
pub(super) struct Excuses<'a> {
    pub(super) history: &'a History,
    /// When neither server worked.
    without_server: Vec<(Millis, Millis)>,
}

impl<'a> Excuses<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let away = |server| history.troubles.iter().filter(move |trouble| trouble.part == Part::Server(server));
        let both = away(0).flat_map(|one| away(1).map(move |other| (one.from.max(other.from), one.to.min(other.to))));
        Self { history, without_server: both.filter(|(from, to)| from <= to).collect() }
    }

    /// Whether Redis may have lost something of the player's between two moments.
    pub(super) fn has_lost(&self, player: u32, from: Millis, to: Millis) -> bool {
        self.losses(player).any(|trouble| trouble.has_lost(from, to, to))
    }

    /// Whether something that was written between two moments may have been lost until a third one. A replica that was
    /// promoted has all that it had got before.
    pub(super) fn has_lost_write(&self, player: u32, written: RangeInclusive<Millis>, until: Millis) -> bool {
        self.losses(player).any(|trouble| trouble.has_lost(*written.start(), *written.end(), until))
    }

    /// The moments whose data an answer may have. What a node that was demoted answers is as old as its demotion, for as
    /// long as a server may take to notice.
    pub(super) fn moments(&self, read: &Read) -> RangeInclusive<Millis> {
        self.moments_between(read.as_of, read.ended)
    }

    /// The moments whose data something may have that was read between two moments.
    pub(super) fn moments_between(&self, from: Millis, to: Millis) -> RangeInclusive<Millis> {
        let is_stale = |trouble: &&Trouble| {
            matches!(trouble.kind, Kind::Demote | Kind::Hang) && trouble.from <= to && from <= trouble.to + DETECTION
        };
        let demotions = self.history.troubles.iter().filter(is_stale).map(|trouble| trouble.from);
        demotions.fold(from, Millis::min)..=to
    }

    /// The latest moment at which a call may have taken effect: before its answer, if there was one that says so. One
    /// that failed may still lie in the socket of a process that is frozen, and is worked on when that goes on.
    pub(super) fn latest_effect(&self, sent: Millis, ended: Millis, is_answered: bool) -> Millis {
        if is_answered {
            return ended;
        }
        let is_frozen = |trouble: &&Trouble| {
            trouble.kind == Kind::Freeze
                && matches!(trouble.part, Part::Redis | Part::Server(_) | Part::Machine)
                && trouble.to >= sent
        };
        let freezes = || self.history.troubles.iter().filter(is_frozen).map(|trouble| (trouble.from, trouble.to));
        extend(ended + SLACK, SLACK, freezes)
    }

    /// The latest moment at which the sweep has noticed what was due at `due`.
    pub(super) fn swept_by(&self, player: u32, due: Millis) -> Millis {
        let patience = self.history.pace.sweep + SWEEP_SLACK;
        let of_redis = |trouble: &&Trouble| {
            matches!(trouble.part, Part::Redis | Part::Machine) && trouble.concerns(player) && trouble.outage().1 >= due
        };
        let away = || {
            let redis = self.history.troubles.iter().filter(of_redis).map(Trouble::outage);
            redis.chain(self.without_server.iter().copied().filter(|(_, to)| *to >= due))
        };
        extend(due + patience, patience, away)
    }

    /// Whether the event of a version may have been lost with Redis, before anybody published it.
    pub(super) fn has_lost_event(&self, player: u32, version: u64) -> bool {
        self.losses(player).any(|trouble| match &trouble.loss {
            Loss::Nothing => false,
            Loss::Everything => {
                version <= trouble.to
                    && (version + PUBLISHING >= trouble.from || self.was_held_up(version, trouble.from))
            }
            // The outbox of a replica that took over has all but the latest.
            Loss::Writes(lost) => lost.iter().any(|(from, to)| (*from..=*to).contains(&version)),
        })
    }

    /// Whether Redis may have lost what it knew of a player who ran out, before the sweep made an event of it, or that
    /// event.
    pub(super) fn has_lost_end(&self, player: u32, ran_out: Millis, swept_by: Millis) -> bool {
        self.has_lost(player, ran_out, swept_by)
            || [ran_out, swept_by].iter().any(|at| self.has_lost_event(player, *at))
    }

    /// Whether no fault between two moments may keep a stream of this watcher to this server from what Redis holds.
    pub(super) fn is_calm(&self, stream: &WatchStream, from: Millis, to: Millis) -> bool {
        !self.history.troubles.iter().any(|trouble| {
            let is_concerned = match trouble.part {
                Part::Redis | Part::Nats | Part::Machine => true,
                Part::Server(server) => server == stream.server,
                Part::Watcher(watcher) => watcher == stream.watcher,
                Part::Gateway(_) => false,
            };
            is_concerned && trouble.from <= to && trouble.outage().1 >= from
        })
    }

    /// Whether nobody may have published an event until `until`, as NATS was away or the servers were.
    fn was_held_up(&self, version: u64, until: Millis) -> bool {
        let nats = self.history.troubles.iter().filter(|trouble| trouble.part == Part::Nats);
        let nats = nats.map(|trouble| {
            let recovery = if trouble.kind == Kind::Hang { NATS_DETECTION } else { NATS_SHYNESS };
            (trouble.from, trouble.to + recovery)
        });
        let servers = self.without_server.iter().map(|(from, to)| (*from, to + PUBLISHING));
        let stalls = self.history.troubles.iter().filter(|trouble| trouble.part == Part::Machine);
        let stalls = stalls.map(|stall| (stall.from, stall.to + PUBLISHING));
        nats.chain(servers).chain(stalls).any(|(from, to)| from <= version + PUBLISHING && version <= to && until <= to)
    }

    fn losses(&self, player: u32) -> impl Iterator<Item = &Trouble> {
        self.history.troubles.iter().filter(move |trouble| trouble.part == Part::Redis && trouble.concerns(player))
    }
}

impl Trouble {
    /// Whether what was written between two moments may have been lost until a third one.
    pub(super) fn has_lost(&self, from: Millis, to: Millis, until: Millis) -> bool {
        match &self.loss {
            Loss::Nothing => false,
            Loss::Everything => self.from <= until && from <= self.to,
            Loss::Writes(lost) => lost.iter().any(|(begin, end)| *begin <= to.min(until) && from <= *end),
        }
    }

    /// When the service may be without Redis because of this.
    pub(in crate::chaos) fn outage(&self) -> (Millis, Millis) {
        let has_moved = matches!(self.kind, Kind::Demote | Kind::Hang | Kind::Isolate);
        (self.from, if has_moved { self.to + DETECTION } else { self.to })
    }
}

/// Moves a moment behind all periods that it lies in, or that begin before it, by `patience` each time.
pub(super) fn extend<I: Iterator<Item = (Millis, Millis)>>(
    moment: Millis,
    patience: Millis,
    periods: impl Fn() -> I,
) -> Millis {
    let mut moment = moment;
    while let Some((_, to)) = periods().find(|(from, to)| *from <= moment && moment < to + patience) {
        moment = to + patience;
    }
    moment
}
