//! Effects of faults on the leases of gateways.

use super::tolerances::{SWEEP_SLACK, Tolerances, extend};
use crate::chaos::history::{Fault, FaultKind, LeaseCall, Loss, Millis, Part};

/// The longest time between a signal, or the end of a proxy's silence, and the time that was
/// recorded for it.
const SIGNAL_SLACK: Millis = 300;

impl Tolerances<'_> {
    /// Whether Redis may have lost something about gateways that was written between two moments,
    /// or lost it then.
    pub(super) fn has_lost_gateways(&self, from: Millis, to: Millis) -> bool {
        self.of_redis()
            .any(|fault| fault.concerns_gateways() && fault.has_lost(from, to, to))
    }

    /// Until when the lease that an accepted call renewed certainly counts.
    pub(super) fn gateway_lease_until(&self, call: &LeaseCall, ttl: Millis) -> Millis {
        let until = call.sent + ttl;
        let losses = self.of_redis().filter(|fault| {
            fault.concerns_gateways() && fault.has_lost(call.sent, call.ended, until)
        });
        losses.fold(until, |until, fault| match fault.loss {
            Loss::Everything => until.min(fault.from),
            _ => until.min(call.sent),
        })
    }

    /// The first moment, from a given one on, at which the service may count a gateway as lost: not
    /// while Redis is unavailable for longer than a gateway TTL, nor within a gateway TTL
    /// afterwards.
    pub(super) fn held_until(&self, moment: Millis) -> Millis {
        let ttl = self.history.timing.gateway_ttl;
        let is_outage = |fault: &&Fault| {
            let is_complete = fault.slots.is_empty()
                && match fault.kind {
                    FaultKind::Freeze => fault.loss == Loss::Nothing,
                    FaultKind::Hang | FaultKind::Isolate => true,
                    _ => false,
                };
            is_complete && fault.from + ttl + 2 * SIGNAL_SLACK < fault.to
        };
        let is_exact = |fault: &&Fault| !self.has_stalled(fault.from, fault.to);
        let mut holds: Vec<_> = self
            .of_redis()
            .filter(is_outage)
            .filter(is_exact)
            .map(|fault| (fault.from + SIGNAL_SLACK, fault.to - SIGNAL_SLACK + ttl))
            .collect();
        holds.sort_unstable();
        holds.into_iter().fold(moment, |moment, (from, to)| {
            if (from..to).contains(&moment) {
                to
            } else {
                moment
            }
        })
    }

    /// Whether Redis, the servers and the machine had no fault between two moments.
    pub(super) fn is_calm_for_gateways(&self, from: Millis, to: Millis) -> bool {
        let disturbs = |part| matches!(part, Part::Redis | Part::Machine | Part::Server(_));
        let mut faults = self
            .history
            .faults
            .iter()
            .filter(|fault| disturbs(fault.part));
        !faults.any(|fault| fault.from <= to && fault.outage().1 >= from)
    }

    /// The latest moment at which the leases of the connections of a gateway have ended whose own
    /// lease expired at `expired_by` at the latest, if the service may wait for `hold` because of
    /// other gateways.
    pub(super) fn gateway_ended_by(&self, expired_by: Millis, hold: Millis) -> Millis {
        let ttl = self.history.timing.gateway_ttl;
        let patience = self.history.timing.sweep + SWEEP_SLACK;
        let disturbs = |part| matches!(part, Part::Redis | Part::Machine | Part::Server(_));
        let find_faults = || {
            let faults = self
                .history
                .faults
                .iter()
                .filter(|fault| disturbs(fault.part));
            faults
                .map(Fault::outage)
                .filter(|(_, to)| *to + 2 * ttl >= expired_by)
        };
        extend(
            expired_by.saturating_add(patience + hold),
            patience + ttl,
            find_faults,
        )
    }

    fn has_stalled(&self, from: Millis, to: Millis) -> bool {
        let mut stalls = self
            .history
            .faults
            .iter()
            .filter(|fault| fault.part == Part::Machine);
        stalls.any(|stall| stall.from <= to + SIGNAL_SLACK && stall.to + SIGNAL_SLACK >= from)
    }

    fn of_redis(&self) -> impl Iterator<Item = &Fault> {
        self.history
            .faults
            .iter()
            .filter(|fault| fault.part == Part::Redis)
    }
}
