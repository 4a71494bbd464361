//! Leases of a player's connections: those that are certain at a moment, and those that are
//! possible. Computed from the calls alone.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    gateway_leases::{GatewayLease, GatewayLeases},
    tolerances::Tolerances,
};
use crate::chaos::history::{Call, Millis, Outcome, State, Verb};

/// A player's calls, by connection.
pub(super) struct Leases<'a> {
    pub(super) player: u32,
    pub(super) ttl: Millis,
    pub(super) move_grace: Millis,
    pub(super) tolerances: &'a Tolerances<'a>,
    pub(super) connections: BTreeMap<&'a str, Connection<'a>>,
    /// The gateways to which one of the connections may belong.
    pub(super) gateways: Vec<&'a GatewayLease<'a>>,
    states: Vec<TimedCall<'a>>,
}

#[derive(Default)]
pub(super) struct Connection<'a> {
    /// Connects and heartbeats.
    pub(super) renewals: Vec<TimedCall<'a>>,
    pub(super) disconnects: Vec<TimedCall<'a>>,
    /// The gateways to which it may belong.
    pub(super) gateways: Vec<&'a GatewayLease<'a>>,
}

/// A call, and the latest time at which it took effect; the earliest is when it was sent.
#[derive(Clone, Copy)]
pub(super) struct TimedCall<'a> {
    pub(super) call: &'a Call,
    pub(super) latest: Millis,
    /// The gateway that the call names, if that has a lease of its own.
    gateway: Option<&'a GatewayLease<'a>>,
}

impl<'a> Leases<'a> {
    pub(super) fn new(
        calls: &[&'a Call],
        gateways: &'a GatewayLeases<'a>,
        tolerances: &'a Tolerances<'a>,
        player: u32,
    ) -> Self {
        let timing = tolerances.history.timing;
        let mut leases = Self {
            player,
            ttl: timing.ttl,
            move_grace: timing.move_grace,
            tolerances,
            connections: BTreeMap::new(),
            gateways: Vec::new(),
            states: Vec::new(),
        };
        for call in calls {
            let latest =
                tolerances.latest_effect(call.sent, call.ended, call.outcome != Outcome::Unknown);
            let gateway = call.owner.as_deref().and_then(|owner| gateways.of(owner));
            let timed = TimedCall {
                call,
                latest,
                gateway,
            };
            let connection = call
                .connection
                .as_deref()
                .map(|id| leases.connections.entry(id).or_default());
            match (call.verb, connection) {
                (Verb::Connect | Verb::Heartbeat, Some(connection)) => {
                    add(&mut connection.gateways, gateway);
                    add(&mut leases.gateways, gateway);
                    connection.renewals.push(timed);
                }
                (Verb::Quit | Verb::Lost | Verb::Moving, Some(connection)) => {
                    connection.disconnects.push(timed)
                }
                _ => leases.states.push(timed),
            }
        }
        leases
    }

    /// The number of connections that certainly have a lease from the first to the last of these
    /// moments.
    pub(super) fn certain(&self, when: &RangeInclusive<Millis>) -> usize {
        self.connections
            .values()
            .filter(|connection| self.is_certain(connection, when))
            .count()
    }

    /// The number of connections that may have a lease at one of these moments.
    pub(super) fn possible(&self, when: &RangeInclusive<Millis>) -> usize {
        self.connections
            .values()
            .filter(|connection| self.is_possible(connection, when))
            .count()
    }

    /// The number of connections that could have a lease at one of these moments, had none ended
    /// with a gateway's.
    pub(super) fn possible_without_gateways(&self, when: &RangeInclusive<Millis>) -> usize {
        let is_possible =
            |connection: &&Connection<'a>| self.may_be_renewed(connection, when, |_| false);
        self.connections.values().filter(is_possible).count()
    }

    /// Whether a lease may have ended with a gateway's at this moment, as the gateway was lost.
    pub(super) fn may_have_ended_with_gateway(&self, at: Millis) -> bool {
        let mut losses = self.gateways.iter().flat_map(|gateway| gateway.losses());
        losses.any(|(from, to)| from <= at && at <= self.tolerances.gateway_ended_by(to, 0))
    }

    /// Whether a state that was set may have made a record without a lease.
    pub(super) fn may_have_bare_record(&self, when: &RangeInclusive<Millis>) -> bool {
        self.states.iter().any(|timed| {
            let makes_one = matches!(timed.call.verb, Verb::SetState(State::Online | State::Away));
            makes_one && timed.call.sent <= *when.end() && timed.latest + self.ttl > *when.start()
        })
    }

    /// Whether a call of this kind may have taken effect at this moment.
    pub(super) fn may_have_taken_effect(&self, verb: Verb, at: Millis) -> bool {
        let of_connections = self.connections.values().flat_map(|connection| match verb {
            Verb::Quit | Verb::Lost | Verb::Moving => &connection.disconnects,
            _ => &connection.renewals,
        });
        let mut timed = of_connections
            .chain(&self.states)
            .filter(|timed| timed.call.verb == verb);
        timed.any(|timed| {
            timed.call.sent <= at && at <= timed.latest && timed.call.outcome != Outcome::Closed
        })
    }

    /// Connects and heartbeats that were accepted although the connection had been closed.
    pub(super) fn revived(&self) -> impl Iterator<Item = &'a Call> {
        self.connections.values().flat_map(|connection| {
            connection
                .renewals
                .iter()
                .map(|timed| timed.call)
                .filter(|renewal| {
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

    /// Connects and heartbeats that were refused although the connection had not been closed.
    pub(super) fn refused(&self) -> impl Iterator<Item = &'a Call> {
        self.connections.values().flat_map(|connection| {
            connection
                .renewals
                .iter()
                .map(|timed| timed.call)
                .filter(|renewal| {
                    let is_before = |timed: &TimedCall<'_>| timed.call.sent <= renewal.ended;
                    renewal.outcome == Outcome::Closed
                        && !connection.disconnects.iter().any(is_before)
                        && !self.sign_outs().any(is_before)
                })
        })
    }

    pub(super) fn sign_outs(&self) -> impl Iterator<Item = &TimedCall<'a>> {
        self.states
            .iter()
            .filter(|timed| timed.call.verb == Verb::SetState(State::Offline))
    }

    fn is_certain(&self, connection: &Connection<'a>, when: &RangeInclusive<Millis>) -> bool {
        let first = *when.start();
        let last = *when.end();
        if connection
            .disconnects
            .iter()
            .any(|close| close.call.sent <= last)
        {
            return false;
        }
        connection
            .renewals
            .iter()
            .rev()
            .any(|TimedCall { call: renewal, .. }| {
                renewal.outcome == Outcome::Accepted
                    && renewal.ended < first
                    && last < renewal.sent + self.ttl
                    && !self
                        .sign_outs()
                        .any(|timed| timed.call.sent <= last && timed.latest >= renewal.sent)
                    && !self.has_lost(renewal, last)
                    && !connection
                        .gateways
                        .iter()
                        .any(|gateway| gateway.may_end(renewal.sent, last))
            })
    }

    pub(super) fn is_possible(
        &self,
        connection: &Connection<'a>,
        when: &RangeInclusive<Millis>,
    ) -> bool {
        self.may_be_renewed(connection, when, |timed| {
            self.has_ended_with_gateway(timed, *when.start())
        })
    }

    /// Whether a lease certainly ended with that of the gateway which its last renewal names.
    fn has_ended_with_gateway(&self, timed: &TimedCall<'a>, at: Millis) -> bool {
        let ended_at = timed
            .gateway
            .and_then(|gateway| gateway.ended_at(timed.latest, at));
        ended_at.is_some_and(|ended_at| !self.tolerances.has_lost(self.player, ended_at, at))
    }

    fn may_be_renewed(
        &self,
        connection: &Connection<'a>,
        when: &RangeInclusive<Millis>,
        has_ended: impl Fn(&TimedCall<'a>) -> bool,
    ) -> bool {
        let first = *when.start();
        let last = *when.end();
        let is_renewed = connection.renewals.iter().any(|timed| {
            timed.call.outcome != Outcome::Closed
                && timed.call.sent <= last
                && timed.latest + self.ttl > first
                && !has_ended(timed)
        });
        is_renewed
            && !connection
                .disconnects
                .iter()
                .any(|close| self.is_over(connection, close.call, when))
    }

    /// Whether a disconnect has certainly taken effect, and has not been forgotten since.
    fn is_over(
        &self,
        connection: &Connection<'a>,
        close: &Call,
        when: &RangeInclusive<Millis>,
    ) -> bool {
        let forgotten_at = close.sent + 2 * self.ttl;
        close.outcome == Outcome::Accepted
            && close.ended < *when.start()
            && !self.has_lost(close, *when.end())
            && !connection
                .renewals
                .iter()
                .any(|timed| timed.call.sent <= *when.end() && timed.latest >= forgotten_at)
    }

    /// Whether what an accepted call wrote may have been lost until a moment.
    fn has_lost(&self, call: &Call, until: Millis) -> bool {
        self.tolerances
            .has_lost_write(self.player, call.sent..=call.ended, until)
    }
}

impl<'a> Connection<'a> {
    /// Whether a renewal says that the connection belongs to a gateway, as do all others that name
    /// one.
    pub(super) fn names(&self, timed: &TimedCall<'a>, gateway: &GatewayLease<'_>) -> bool {
        self.gateways.len() == 1
            && timed
                .gateway
                .is_some_and(|named| std::ptr::eq(named, gateway))
    }
}

fn add<'a>(gateways: &mut Vec<&'a GatewayLease<'a>>, gateway: Option<&'a GatewayLease<'a>>) {
    if let Some(gateway) = gateway
        && !gateways.iter().any(|known| std::ptr::eq(*known, gateway))
    {
        gateways.push(gateway);
    }
}
