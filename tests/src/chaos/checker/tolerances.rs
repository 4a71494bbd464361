//! Anomalies that a fault allows. All others are violations.

use std::ops::RangeInclusive;

use crate::chaos::history::{Fault, FaultKind, History, Loss, Millis, Part, Read, WatchStream};

/// The longest delay of a process that nothing blocks: the machine may be busy.
const SLACK: Millis = 1_000;

/// The longest delay of a sweep, as the machine is busy.
pub(super) const SWEEP_SLACK: Millis = 2_500;

/// Events are published within this time while NATS and a server work.
const PUBLISHING: Millis = 1_500;

/// A relay whose publishing failed pauses for 1 s, a call for 5 s, and the client of NATS needs
/// some time to connect again.
const NATS_BREAKER_PAUSE: Millis = 8_000;

/// A server notices within this time that its connection to NATS is silent.
const NATS_DETECTION: Millis = 30_000;

/// A server notices within this time that its connection leads to a node that is no longer the
/// primary.
pub(super) const DETECTION: Millis = 5_000;

/// The anomalies that the faults of a run allow.
pub(super) struct Tolerances<'a> {
    pub(super) history: &'a History,
    /// When neither server worked.
    without_server: Vec<(Millis, Millis)>,
}

impl<'a> Tolerances<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let get_faults = |server| {
            history
                .faults
                .iter()
                .filter(move |fault| fault.part == Part::Server(server))
        };
        let both = get_faults(0).flat_map(|one| {
            get_faults(1).map(move |other| (one.from.max(other.from), one.to.min(other.to)))
        });
        Self {
            history,
            without_server: both.filter(|(from, to)| from <= to).collect(),
        }
    }

    /// Whether Redis may have lost data of the player between two moments.
    pub(super) fn has_lost(&self, player: u32, from: Millis, to: Millis) -> bool {
        self.losses(player)
            .any(|fault| fault.has_lost(from, to, to))
    }

    /// Whether data that was written between two moments may have been lost until a third one. A
    /// replica that was promoted has everything that it had received before.
    pub(super) fn has_lost_write(
        &self,
        player: u32,
        written: RangeInclusive<Millis>,
        until: Millis,
    ) -> bool {
        self.losses(player)
            .any(|fault| fault.has_lost(*written.start(), *written.end(), until))
    }

    /// The moments whose data a response may have. The data of a node that was demoted is as old as
    /// its demotion, for as long as a server may take to notice.
    pub(super) fn moments(&self, read: &Read) -> RangeInclusive<Millis> {
        self.moments_between(read.as_of, read.ended)
    }

    /// The moments whose data a read between two moments may have.
    pub(super) fn moments_between(&self, from: Millis, to: Millis) -> RangeInclusive<Millis> {
        let is_stale = |fault: &&Fault| {
            matches!(fault.kind, FaultKind::Demote | FaultKind::Hang)
                && fault.from <= to
                && from <= fault.to + DETECTION
        };
        let demotions = self
            .history
            .faults
            .iter()
            .filter(is_stale)
            .map(|fault| fault.from);
        demotions.fold(from, Millis::min)..=to
    }

    /// The latest moment at which a call may have taken effect: before its response, if there was
    /// one. A call that failed may still wait in the socket of a frozen process, which executes it
    /// when it resumes.
    pub(super) fn latest_effect(&self, sent: Millis, ended: Millis, is_answered: bool) -> Millis {
        if is_answered {
            return ended;
        }
        let is_frozen = |fault: &&Fault| {
            fault.kind == FaultKind::Freeze
                && matches!(fault.part, Part::Redis | Part::Server(_) | Part::Machine)
                && fault.to >= sent
        };
        let get_freezes = || {
            self.history
                .faults
                .iter()
                .filter(is_frozen)
                .map(|fault| (fault.from, fault.to))
        };
        extend(ended + SLACK, SLACK, get_freezes)
    }

    /// The latest moment at which the sweep has noticed what was due at `due`.
    pub(super) fn swept_by(&self, player: u32, due: Millis) -> Millis {
        let patience = self.history.timing.sweep + SWEEP_SLACK;
        let concerns_redis = |fault: &&Fault| {
            matches!(fault.part, Part::Redis | Part::Machine)
                && fault.concerns(player)
                && fault.outage().1 >= due
        };
        let get_outages = || {
            let redis = self
                .history
                .faults
                .iter()
                .filter(concerns_redis)
                .map(Fault::outage);
            redis.chain(
                self.without_server
                    .iter()
                    .copied()
                    .filter(|(_, to)| *to >= due),
            )
        };
        extend(due + patience, patience, get_outages)
    }

    /// Whether the event of a version may have been lost with Redis before it was published.
    pub(super) fn has_lost_event(&self, player: u32, version: u64) -> bool {
        self.losses(player).any(|fault| match &fault.loss {
            Loss::Nothing => false,
            Loss::Everything => {
                version <= fault.to
                    && (version + PUBLISHING >= fault.from || self.was_held_up(version, fault.from))
            }
            // The outbox of a replica that took over has all events but the latest.
            Loss::Writes(lost) => lost
                .iter()
                .any(|(from, to)| (*from..=*to).contains(&version)),
        })
    }

    /// Whether Redis may have lost an expired record before the sweep made the transition, or the
    /// event of that.
    pub(super) fn has_lost_end(&self, player: u32, expired_at: Millis, swept_by: Millis) -> bool {
        self.has_lost(player, expired_at, swept_by)
            || [expired_at, swept_by]
                .iter()
                .any(|at| self.has_lost_event(player, *at))
    }

    /// Whether no fault between two moments may have delayed a stream of this watcher to this
    /// server.
    pub(super) fn is_calm(&self, stream: &WatchStream, from: Millis, to: Millis) -> bool {
        !self.history.faults.iter().any(|fault| {
            let is_concerned = match fault.part {
                Part::Redis | Part::Nats | Part::Machine => true,
                Part::Server(server) => server == stream.server,
                Part::Watcher(watcher) => watcher == stream.watcher,
                Part::Gateway(_) => false,
            };
            is_concerned && fault.from <= to && fault.outage().1 >= from
        })
    }

    /// Whether an event may not have been published until `until`, as NATS or both servers were
    /// unavailable.
    fn was_held_up(&self, version: u64, until: Millis) -> bool {
        let nats_faults = self
            .history
            .faults
            .iter()
            .filter(|fault| fault.part == Part::Nats);
        let nats = nats_faults.map(|fault| {
            let recovery = if fault.kind == FaultKind::Hang {
                NATS_DETECTION
            } else {
                NATS_BREAKER_PAUSE
            };
            (fault.from, fault.to + recovery)
        });
        let servers = self
            .without_server
            .iter()
            .map(|(from, to)| (*from, to + PUBLISHING));
        let stalls = self
            .history
            .faults
            .iter()
            .filter(|fault| fault.part == Part::Machine)
            .map(|stall| (stall.from, stall.to + PUBLISHING));
        nats.chain(servers)
            .chain(stalls)
            .any(|(from, to)| from <= version + PUBLISHING && version <= to && until <= to)
    }

    fn losses(&self, player: u32) -> impl Iterator<Item = &Fault> {
        self.history
            .faults
            .iter()
            .filter(move |fault| fault.part == Part::Redis && fault.concerns(player))
    }
}

impl Fault {
    /// Whether what was written between two moments may have been lost until a third one.
    pub(super) fn has_lost(&self, from: Millis, to: Millis, until: Millis) -> bool {
        match &self.loss {
            Loss::Nothing => false,
            Loss::Everything => self.from <= until && from <= self.to,
            Loss::Writes(lost) => lost
                .iter()
                .any(|(begin, end)| *begin <= to.min(until) && from <= *end),
        }
    }

    /// When Redis may be unavailable to the service because of this fault.
    pub(in crate::chaos) fn outage(&self) -> (Millis, Millis) {
        let has_moved = matches!(
            self.kind,
            FaultKind::Demote | FaultKind::Hang | FaultKind::Isolate
        );
        (
            self.from,
            if has_moved {
                self.to + DETECTION
            } else {
                self.to
            },
        )
    }
}

/// Moves a moment to `patience` after the end of each period that it lies in, or that ended less
/// than `patience` before.
pub(super) fn extend<I: Iterator<Item = (Millis, Millis)>>(
    moment: Millis,
    patience: Millis,
    periods: impl Fn() -> I,
) -> Millis {
    let mut moment = moment;
    while let Some((_, to)) = periods().find(|(from, to)| *from <= moment && moment < to + patience)
    {
        moment = to + patience;
    }
    moment
}
