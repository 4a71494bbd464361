//! Which of a player's connections have a lease at a moment: for certain, or possibly. Known from the calls alone.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    excuses::Excuses,
    gateway_leases::{GatewayLease, GatewayLeases},
};
use crate::chaos::history::{Call, Millis, Outcome, State, Verb};

/// A player's calls, by connection.
pub(super) struct Leases<'a> {
    pub(super) player: u32,
    pub(super) ttl: Millis,
    pub(super) move_grace: Millis,
    pub(super) excuses: &'a Excuses<'a>,
    pub(super) connections: BTreeMap<&'a str, Connection<'a>>,
    /// The gateways to which one of the connections may belong.
    pub(super) gateways: Vec<&'a GatewayLease<'a>>,
    states: Vec<Told<'a>>,
}

#[derive(Default)]
pub(super) struct Connection<'a> {
    /// Connects and heartbeats.
    pub(super) renewals: Vec<Told<'a>>,
    pub(super) disconnects: Vec<Told<'a>>,
    /// The gateways to which it may belong.
    pub(super) gateways: Vec<&'a GatewayLease<'a>>,
}

/// A call, and when it took effect at the latest; at the earliest it did when it was sent.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) call: &'a Call,
    pub(super) latest: Millis,
    /// The gateway that the call names, if that has a lease of its own.
    gateway: Option<&'a GatewayLease<'a>>,
}

impl<'a> Leases<'a> {
    pub(super) fn new(
        calls: &[&'a Call],
        gateways: &'a GatewayLeases<'a>,
        excuses: &'a Excuses<'a>,
        player: u32,
    ) -> Self {
        let pace = excuses.history.pace;
        let mut leases = Self {
            player,
            ttl: pace.ttl,
            move_grace: pace.move_grace,
            excuses,
            connections: BTreeMap::new(),
            gateways: Vec::new(),
            states: Vec::new(),
        };
        for call in calls {
            let latest = excuses.latest_effect(call.sent, call.ended, call.outcome != Outcome::Unknown);
            let gateway = call.owner.as_deref().and_then(|owner| gateways.of(owner));
            let told = Told { call, latest, gateway };
            let connection = call.connection.as_deref().map(|id| leases.connections.entry(id).or_default());
            match (call.verb, connection) {
                (Verb::Connect | Verb::Heartbeat, Some(connection)) => {
                    add(&mut connection.gateways, gateway);
                    add(&mut leases.gateways, gateway);
                    connection.renewals.push(told);
                }
                (Verb::Quit | Verb::Lost | Verb::Moving, Some(connection)) => connection.disconnects.push(told),
                _ => leases.states.push(told),
            }
        }
        leases
    }

    /// The number of connections that have a lease from the first to the last of these moments, whatever happened that
    /// nobody saw.
    pub(super) fn certain(&self, when: &RangeInclusive<Millis>) -> usize {
        self.connections.values().filter(|connection| self.is_certain(connection, when)).count()
    }

    /// The number of connections that may have a lease at one of these moments.
    pub(super) fn possible(&self, when: &RangeInclusive<Millis>) -> usize {
        self.connections.values().filter(|connection| self.is_possible(connection, when)).count()
    }

    /// The number of connections that could have a lease at one of these moments, had none ended with a gateway's.
    pub(super) fn possible_without_gateways(&self, when: &RangeInclusive<Millis>) -> usize {
        let is_possible = |connection: &&Connection<'a>| self.may_be_renewed(connection, when, |_| false);
        self.connections.values().filter(is_possible).count()
    }

    /// Whether a lease may have ended with a gateway's at this moment, as the gateway was lost.
    pub(super) fn may_have_ended_with_gateway(&self, at: Millis) -> bool {
        let mut losses = self.gateways.iter().flat_map(|gateway| gateway.losses());
        losses.any(|(from, to)| from <= at && at <= self.excuses.gateway_ended_by(to, 0))
    }

    /// Whether a state that was set may have made a record without a lease.
    pub(super) fn may_have_bare_record(&self, when: &RangeInclusive<Millis>) -> bool {
        self.states.iter().any(|told| {
            let makes_one = matches!(told.call.verb, Verb::SetState(State::Online | State::Away));
            makes_one && told.call.sent <= *when.end() && told.latest + self.ttl > *when.start()
        })
    }

    /// Whether a call of this kind may have taken effect at this moment.
    pub(super) fn may_have_been_told(&self, verb: Verb, at: Millis) -> bool {
        let of_connections = self.connections.values().flat_map(|connection| match verb {
            Verb::Quit | Verb::Lost | Verb::Moving => &connection.disconnects,
            _ => &connection.renewals,
        });
        let mut told = of_connections.chain(&self.states).filter(|told| told.call.verb == verb);
        told.any(|told| told.call.sent <= at && at <= told.latest && told.call.outcome != Outcome::Closed)
    }

    /// Connects and heartbeats that were accepted although the connection had been closed.
    pub(super) fn revived(&self) -> impl Iterator<Item = &'a Call> {
        self.connections.values().flat_map(|connection| {
            connection.renewals.iter().map(|told| told.call).filter(|renewal| {
                renewal.outcome == Outcome::Accepted
                    && connection.disconnects.iter().any(|close| {
                        close.call.outcome == Outcome::Accepted
                            && close.call.ended < renewal.sent
                            && renewal.ended < close.call.sent + 2 * self.ttl
                            && !self.has_lost(close.call, renewal.ended)
                    })
            })
        })
    }

    /// Connects and heartbeats that were refused although nobody had closed the connection.
    pub(super) fn refused(&self) -> impl Iterator<Item = &'a Call> {
        self.connections.values().flat_map(|connection| {
            connection.renewals.iter().map(|told| told.call).filter(|renewal| {
                let is_before = |told: &Told<'_>| told.call.sent <= renewal.ended;
                renewal.outcome == Outcome::Closed
                    && !connection.disconnects.iter().any(is_before)
                    && !self.sign_outs().any(is_before)
            })
        })
    }

    pub(super) fn sign_outs(&self) -> impl Iterator<Item = &Told<'a>> {
        self.states.iter().filter(|told| told.call.verb == Verb::SetState(State::Offline))
    }

    fn is_certain(&self, connection: &Connection<'a>, when: &RangeInclusive<Millis>) -> bool {
        let (first, last) = (*when.start(), *when.end());
        if connection.disconnects.iter().any(|close| close.call.sent <= last) {
            return false;
        }
        connection.renewals.iter().rev().any(|Told { call: renewal, .. }| {
            renewal.outcome == Outcome::Accepted
                && renewal.ended < first
                && last < renewal.sent + self.ttl
                && !self.sign_outs().any(|told| told.call.sent <= last && told.latest >= renewal.sent)
                && !self.has_lost(renewal, last)
                && !connection.gateways.iter().any(|gateway| gateway.may_end(renewal.sent, last))
        })
    }

    pub(super) fn is_possible(&self, connection: &Connection<'a>, when: &RangeInclusive<Millis>) -> bool {
        self.may_be_renewed(connection, when, |told| self.has_ended_with_gateway(told, *when.start()))
    }

    /// Whether a lease certainly ended with that of the gateway which its last renewal names.
    fn has_ended_with_gateway(&self, told: &Told<'a>, at: Millis) -> bool {
        let ended_at = told.gateway.and_then(|gateway| gateway.ended_at(told.latest, at));
        ended_at.is_some_and(|ended_at| !self.excuses.has_lost(self.player, ended_at, at))
    }

    fn may_be_renewed(
        &self,
        connection: &Connection<'a>,
        when: &RangeInclusive<Millis>,
        has_ended: impl Fn(&Told<'a>) -> bool,
    ) -> bool {
        let (first, last) = (*when.start(), *when.end());
        let is_renewed = connection.renewals.iter().any(|told| {
            told.call.outcome != Outcome::Closed
                && told.call.sent <= last
                && told.latest + self.ttl > first
                && !has_ended(told)
        });
        is_renewed && !connection.disconnects.iter().any(|close| self.is_over(connection, close.call, when))
    }

    /// Whether a disconnect is certain to have taken effect, and not to have been forgotten since.
    fn is_over(&self, connection: &Connection<'a>, close: &Call, when: &RangeInclusive<Millis>) -> bool {
        let forgotten_at = close.sent + 2 * self.ttl;
        close.outcome == Outcome::Accepted
            && close.ended < *when.start()
            && !self.has_lost(close, *when.end())
            && !connection.renewals.iter().any(|told| told.call.sent <= *when.end() && told.latest >= forgotten_at)
    }

    /// Whether what an accepted call wrote may have been lost until a moment.
    fn has_lost(&self, call: &Call, until: Millis) -> bool {
        self.excuses.has_lost_write(self.player, call.sent..=call.ended, until)
    }
}

impl<'a> Connection<'a> {
    /// Whether a renewal says that the connection belongs to a gateway, as do all others that name one.
    pub(super) fn names(&self, told: &Told<'a>, gateway: &GatewayLease<'_>) -> bool {
        self.gateways.len() == 1 && told.gateway.is_some_and(|named| std::ptr::eq(named, gateway))
    }
}

fn add<'a>(gateways: &mut Vec<&'a GatewayLease<'a>>, gateway: Option<&'a GatewayLease<'a>>) {
    if let Some(gateway) = gateway
        && !gateways.iter().any(|known| std::ptr::eq(*known, gateway))
    {
        gateways.push(gateway);
    }
}
