//! Leases of gateways: when the service may have counted a gateway as lost, and when it must have.

use std::collections::BTreeMap;

use super::{Invariant, Report, tolerances::Tolerances};
use crate::chaos::history::{GatewayStatus, History, LeaseCall, Millis};

/// The longest delay of a look for lost gateways, as the machine is busy.
const LOOK_SLACK: Millis = 700;

/// All gateways that had a lease, by id.
pub(super) struct GatewayLeases<'a>(BTreeMap<&'a str, GatewayLease<'a>>);

/// The lease of one gateway.
pub(super) struct GatewayLease<'a> {
    /// In the order in which they were sent.
    renewals: Vec<Renewal<'a>>,
    /// In the order in which they were sent.
    leaves: Vec<&'a LeaseCall>,
    silences: Vec<Silence>,
}

/// A call that renews the lease, and the latest time at which it took effect.
struct Renewal<'a> {
    call: &'a LeaseCall,
    latest: Millis,
}

/// A time in which no renewal is certain to count.
#[derive(Debug, Clone, Copy)]
struct Silence {
    /// The earliest time at which the lease may have expired.
    expired_at: Millis,
    /// The latest time at which it may have expired.
    expired_by: Millis,
    /// When a later renewal was sent; the maximum if none was.
    next_sent: Millis,
    /// When a renewal is certain to count again; the maximum if none is.
    ends: Millis,
    /// From when to when the service may have counted the gateway as lost; `None` if it may not
    /// have at all.
    loss: Option<(Millis, Millis)>,
    /// When the service has certainly counted the gateway as lost and ended the leases of its
    /// connections.
    ended_by: Option<Millis>,
}

impl<'a> GatewayLeases<'a> {
    pub(super) fn new(history: &'a History, tolerances: &Tolerances<'_>) -> Self {
        let mut gateways = BTreeMap::<&str, GatewayLease<'_>>::new();
        for call in &history.lease_calls {
            let new = || GatewayLease {
                renewals: Vec::new(),
                leaves: Vec::new(),
                silences: Vec::new(),
            };
            let gateway = gateways.entry(&*call.id).or_insert_with(new);
            if call.is_leaving {
                gateway.leaves.push(call);
            } else {
                let latest = tolerances.latest_effect(call.sent, call.ended, call.status.is_some());
                gateway.renewals.push(Renewal { call, latest });
            }
        }
        let ttl = history.timing.gateway_ttl;
        for gateway in gateways.values_mut() {
            gateway.renewals.sort_by_key(|renewal| renewal.call.sent);
            gateway.leaves.sort_by_key(|leave| leave.sent);
            gateway.silences = gateway.find_silences(ttl, tolerances);
        }
        let mut leases = Self(gateways);
        let judged: Vec<_> = leases
            .0
            .keys()
            .map(|id| leases.judge(id, history, tolerances))
            .collect();
        for (gateway, silences) in leases.0.values_mut().zip(judged) {
            gateway.silences = silences;
        }
        leases
    }

    pub(super) fn of(&self, id: &str) -> Option<&GatewayLease<'a>> {
        self.0.get(id)
    }

    /// Checks the responses to gateways about their own leases.
    pub(super) fn check(&self, tolerances: &Tolerances<'_>, report: &mut Report) {
        for (id, gateway) in &self.0 {
            for renewal in &gateway.renewals {
                let call = renewal.call;
                report.count("renewals of gateway leases");
                if call.status == Some(GatewayStatus::New)
                    && !gateway.may_be_unknown(call, tolerances)
                {
                    let text = format!(
                        "gateway {id} was unknown, and its lease had not expired, or was held"
                    );
                    report.violate(Invariant::NoFalseLoss, None, call.sent, text);
                }
                if call.status == Some(GatewayStatus::Alive) && gateway.must_be_unknown(call) {
                    let text =
                        format!("gateway {id} was known, and its lease had expired long before");
                    report.violate(Invariant::PromptEnd, None, call.sent, text);
                }
            }
        }
    }

    /// Decides whether a gateway may have been lost in its silences. That depends on the silences
    /// of all gateways.
    fn judge(&self, id: &str, history: &History, tolerances: &Tolerances<'_>) -> Vec<Silence> {
        let gateway = &self.0[id];
        let timing = history.timing;
        let judge = |silence: &Silence| {
            let mut hold_ends = silence.expired_at;
            if self.is_mass_expiry(id, silence, history, tolerances) {
                hold_ends = silence.expired_at + timing.gateway_ttl;
            }
            let from = tolerances.held_until(hold_ends);
            let may_be_lost = from <= silence.ends
                && !gateway.has_left_before(silence)
                && !gateway.was_known_at_end(silence, timing.gateway_ttl, tolerances);
            let unless_held = tolerances.gateway_ended_by(silence.expired_by, 0);
            let begin = silence.expired_at.saturating_sub(3 * timing.gateway_ttl);
            let is_alone = self.count_expiries(begin, unless_held.min(silence.ends)) == 1;
            let ended_by = if is_alone {
                unless_held
            } else {
                tolerances.gateway_ended_by(silence.expired_by, timing.gateway_ttl)
            };
            let is_ended = ended_by < silence.next_sent
                && gateway.leaves.is_empty()
                && !tolerances.has_lost_gateways(
                    silence.expired_at.saturating_sub(timing.gateway_ttl),
                    ended_by,
                );
            Silence {
                loss: may_be_lost.then_some((from, silence.ends)),
                ended_by: is_ended.then_some(ended_by),
                ..*silence
            }
        };
        gateway.silences.iter().map(judge).collect()
    }

    /// The number of leases that may have expired between two moments.
    fn count_expiries(&self, from: Millis, to: Millis) -> usize {
        let silences = self.0.values().flat_map(|gateway| &gateway.silences);
        silences
            .filter(|silence| silence.expired_at <= to && silence.expired_by >= from)
            .count()
    }

    /// Whether a gateway is certainly one of half of the known ones that expire within one TTL, and
    /// not the first of them: then nothing is ended for another TTL.
    fn is_mass_expiry(
        &self,
        id: &str,
        silence: &Silence,
        history: &History,
        tolerances: &Tolerances<'_>,
    ) -> bool {
        let ttl = history.timing.gateway_ttl;
        let begin = silence.expired_at.saturating_sub(3 * ttl);
        let expired_at = silence.expired_at;
        let looked_by = silence.expired_by + history.timing.sweep + LOOK_SLACK;
        if !tolerances.is_calm_for_gateways(begin, looked_by) {
            return false;
        }
        let is_before = |other: &&Silence| {
            other.expired_by <= expired_at
                && other.expired_at + ttl > silence.expired_by
                && other.next_sent > looked_by
        };
        let others = self.0.iter().filter(|(other, _)| **other != id);
        let expired = 1 + others
            .filter(|(_, other)| other.silences.iter().any(|other| is_before(&other)))
            .count();
        let may_be_known = self
            .0
            .values()
            .filter(|gateway| gateway.may_be_known(begin, looked_by))
            .count();
        let are_known = self
            .0
            .values()
            .filter(|gateway| gateway.is_certain(expired_at))
            .count()
            + expired;
        // An earlier hold would have ended by itself, and with it what waited for its end.
        let is_first = self.count_expiries(begin, expired_at) <= expired;
        expired >= 2 && 2 * expired >= may_be_known && are_known >= 3 && is_first
    }
}

impl GatewayLease<'_> {
    /// Whether the leases of the gateway's connections may have been ended between two moments. An
    /// end does not concern leases that are renewed later.
    pub(super) fn may_end(&self, since: Millis, until: Millis) -> bool {
        self.leaves.first().is_some_and(|leave| leave.sent <= until)
            || self.may_be_lost(since, until)
    }

    /// Whether the gateway may have been lost between two moments.
    pub(super) fn may_be_lost(&self, since: Millis, until: Millis) -> bool {
        self.losses().any(|(from, to)| from <= until && since <= to)
    }

    /// The times from when to when the service may have counted the gateway as lost.
    pub(super) fn losses(&self) -> impl Iterator<Item = (Millis, Millis)> {
        self.silences.iter().filter_map(|silence| silence.loss)
    }

    /// Whether a lease of a connection that was last renewed at `renewed` has certainly ended with
    /// the gateway's before `at`. Also returns the time at which that began.
    pub(super) fn ended_at(&self, renewed: Millis, at: Millis) -> Option<Millis> {
        let crash = self.silences.iter().find(|silence| {
            silence.ended_by.is_some_and(|ended_by| ended_by < at) && renewed < silence.expired_at
        });
        let leave = self
            .leave()
            .filter(|leave| leave.ended < at && renewed < leave.sent);
        crash
            .map(|silence| silence.expired_at)
            .or(leave.map(|leave| leave.sent))
    }

    /// The call that has certainly ended the lease and those of all connections; `None` if it is
    /// not certain that the service knew the gateway, or the call failed.
    pub(super) fn leave(&self) -> Option<&LeaseCall> {
        let leave = self
            .leaves
            .first()
            .filter(|leave| leave.status == Some(GatewayStatus::Left))?;
        (self.is_certain(leave.sent) && !self.may_be_lost(leave.sent, leave.ended))
            .then_some(*leave)
    }

    /// The calls that may have ended the lease.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &LeaseCall> {
        self.leaves.iter().copied()
    }

    /// Whether the lease certainly counts at a moment.
    fn is_certain(&self, at: Millis) -> bool {
        let is_silent = |silence: &Silence| silence.expired_at <= at && at <= silence.ends;
        self.renewals
            .iter()
            .any(|renewal| renewal.call.status.is_some() && renewal.call.ended < at)
            && !self.silences.iter().any(is_silent)
            && !self.leaves.iter().any(|leave| leave.sent < at)
    }

    fn may_be_known(&self, from: Millis, to: Millis) -> bool {
        self.renewals
            .iter()
            .any(|renewal| renewal.call.sent <= to && renewal.latest >= from)
    }

    /// From the moment at which the lease may have expired to the moment from which on a renewal is
    /// certain to count.
    fn find_silences(&self, ttl: Millis, tolerances: &Tolerances<'_>) -> Vec<Silence> {
        let Some(first) = self.renewals.first() else {
            return Vec::new();
        };
        let mut accepted: Vec<_> = self
            .renewals
            .iter()
            .filter(|renewal| renewal.call.status.is_some())
            .collect();
        accepted.sort_by_key(|renewal| renewal.call.ended);
        let mut silences = Vec::new();
        let mut certain_until = first.call.sent + ttl;
        for renewal in accepted {
            let until = tolerances.gateway_lease_until(renewal.call, ttl);
            if until <= renewal.call.ended {
                continue; // it may have been lost at once
            }
            if renewal.call.ended > certain_until {
                silences.push(self.silence(certain_until, renewal.call.ended, ttl));
            }
            certain_until = certain_until.max(until);
        }
        silences.push(self.silence(certain_until, Millis::MAX, ttl));
        silences
    }

    fn silence(&self, expired_at: Millis, ends: Millis, ttl: Millis) -> Silence {
        let (before, after): (Vec<_>, Vec<_>) = self
            .renewals
            .iter()
            .partition(|call| call.call.sent <= expired_at);
        let expired_by = before
            .iter()
            .map(|renewal| renewal.latest + ttl)
            .fold(expired_at, Millis::max);
        let next_sent = after
            .first()
            .map_or(Millis::MAX, |renewal| renewal.call.sent);
        Silence {
            expired_at,
            expired_by,
            next_sent,
            ends,
            loss: None,
            ended_by: None,
        }
    }

    /// Whether the renewal that ends a silence found the gateway known: then it was not lost. The
    /// same must hold for all others that may have taken effect in the silence.
    fn was_known_at_end(
        &self,
        silence: &Silence,
        ttl: Millis,
        tolerances: &Tolerances<'_>,
    ) -> bool {
        let mut during = self.renewals.iter().filter(|renewal| {
            renewal.call.sent <= silence.ends && renewal.latest >= silence.expired_at
        });
        silence.ends != Millis::MAX
            && during.all(|renewal| renewal.call.status == Some(GatewayStatus::Alive))
            && !tolerances.has_lost_gateways(silence.expired_at.saturating_sub(ttl), silence.ends)
    }

    /// Whether the gateway has certainly left before its lease could expire, and no late renewal
    /// made it known again.
    fn has_left_before(&self, silence: &Silence) -> bool {
        self.leave().is_some_and(|leave| {
            leave.sent < silence.expired_at
                && self
                    .renewals
                    .iter()
                    .all(|renewal| renewal.latest < leave.sent)
        })
    }

    /// Whether there is a reason why a renewal found the gateway unknown.
    fn may_be_unknown(&self, call: &LeaseCall, tolerances: &Tolerances<'_>) -> bool {
        let mut accepted = self
            .renewals
            .iter()
            .filter(|renewal| renewal.call.status.is_some());
        let Some(earlier) = accepted.rfind(|earlier| earlier.call.ended < call.sent) else {
            return true;
        };
        let since = earlier.call.sent;
        self.may_end(since, call.ended) || tolerances.has_lost_gateways(since, call.ended)
    }

    /// Whether the service cannot have known the gateway any more when a renewal was sent: no other
    /// one was sent since it was lost.
    fn must_be_unknown(&self, call: &LeaseCall) -> bool {
        let mut silences = self.silences.iter();
        silences.any(|silence| silence.ended_by.is_some() && silence.next_sent == call.sent)
    }
}
