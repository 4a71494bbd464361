//! What faults mean for the leases of gateways.

use super::excuses::{Excuses, SWEEP_SLACK, extend};
use crate::chaos::history::{Kind, LeaseCall, Loss, Millis, Part, Trouble};

/// A signal, or the end of a proxy's silence, may come so much later than it is noted, or earlier.
const SIGNAL_SLACK: Millis = 300;

impl Excuses<'_> {
    /// Whether Redis may have lost something about gateways that was written between two moments, or lost it then.
    pub(super) fn has_lost_gateways(&self, from: Millis, to: Millis) -> bool {
        self.of_redis().any(|trouble| trouble.concerns_gateways() && trouble.has_lost(from, to, to))
    }

    /// Until when the lease that an accepted call renewed certainly counts.
    pub(super) fn gateway_lease_until(&self, call: &LeaseCall, ttl: Millis) -> Millis {
        let until = call.sent + ttl;
        let losses = self
            .of_redis()
            .filter(|trouble| trouble.concerns_gateways() && trouble.has_lost(call.sent, call.ended, until));
        losses.fold(until, |until, trouble| match trouble.loss {
            Loss::Everything => until.min(trouble.from),
            _ => until.min(call.sent),
        })
    }

    /// The first moment, from a given one on, at which the service may count a gateway as lost: not while Redis is
    /// unavailable for longer than a gateway TTL, nor within a gateway TTL afterwards.
    pub(super) fn held_until(&self, moment: Millis) -> Millis {
        let ttl = self.history.pace.gateway_ttl;
        let is_outage = |trouble: &&Trouble| {
            let is_complete = trouble.slots.is_empty()
                && match trouble.kind {
                    Kind::Freeze => trouble.loss == Loss::Nothing,
                    Kind::Hang | Kind::Isolate => true,
                    _ => false,
                };
            is_complete && trouble.from + ttl + 2 * SIGNAL_SLACK < trouble.to
        };
        let is_exact = |trouble: &&Trouble| !self.has_stalled(trouble.from, trouble.to);
        let holds = self
            .of_redis()
            .filter(is_outage)
            .filter(is_exact)
            .map(|trouble| (trouble.from + SIGNAL_SLACK, trouble.to - SIGNAL_SLACK + ttl));
        let mut holds: Vec<_> = holds.collect();
        holds.sort_unstable();
        holds.into_iter().fold(moment, |moment, (from, to)| if (from..to).contains(&moment) { to } else { moment })
    }

    /// Whether Redis, the servers and the machine had no fault between two moments.
    pub(super) fn is_calm_for_gateways(&self, from: Millis, to: Millis) -> bool {
        let disturbs = |part| matches!(part, Part::Redis | Part::Machine | Part::Server(_));
        let mut troubles = self.history.troubles.iter().filter(|trouble| disturbs(trouble.part));
        !troubles.any(|trouble| trouble.from <= to && trouble.outage().1 >= from)
    }

    /// The latest moment at which the leases of the connections of a gateway have ended whose own lease expired at
    /// `expired_by` at the latest, if the service may wait for `hold` because of other gateways.
    pub(super) fn gateway_ended_by(&self, expired_by: Millis, hold: Millis) -> Millis {
        let ttl = self.history.pace.gateway_ttl;
        let patience = self.history.pace.sweep + SWEEP_SLACK;
        let disturbs = |part| matches!(part, Part::Redis | Part::Machine | Part::Server(_));
        let faults = || {
            let troubles = self.history.troubles.iter().filter(|trouble| disturbs(trouble.part));
            troubles.map(Trouble::outage).filter(|(_, to)| *to + 2 * ttl >= expired_by)
        };
        extend(expired_by.saturating_add(patience + hold), patience + ttl, faults)
    }

    fn has_stalled(&self, from: Millis, to: Millis) -> bool {
        let mut stalls = self.history.troubles.iter().filter(|trouble| trouble.part == Part::Machine);
        stalls.any(|stall| stall.from <= to + SIGNAL_SLACK && stall.to + SIGNAL_SLACK >= from)
    }

    fn of_redis(&self) -> impl Iterator<Item = &Trouble> {
        self.history.troubles.iter().filter(|trouble| trouble.part == Part::Redis)
    }
}
