//! Which of a player's connections have a lease at a moment: for certain, or possibly. Known from the calls alone.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::excuses::Excuses;
use crate::chaos::history::{Call, Millis, Outcome, State, Verb};

/// A player's calls, by connection.
pub(super) struct Leases<'a> {
    player: u32,
    ttl: Millis,
    excuses: &'a Excuses<'a>,
    connections: BTreeMap<&'a str, Connection<'a>>,
    states: Vec<Told<'a>>,
}

#[derive(Default)]
struct Connection<'a> {
    /// Connects and heartbeats.
    renewals: Vec<Told<'a>>,
    disconnects: Vec<Told<'a>>,
}

/// A call, and when it took effect at the latest; at the earliest it did when it was sent.
#[derive(Clone, Copy)]
struct Told<'a> {
    call: &'a Call,
    latest: Millis,
}

impl<'a> Leases<'a> {
    pub(super) fn new(calls: &[&'a Call], ttl: Millis, excuses: &'a Excuses<'a>, player: u32) -> Self {
        let mut leases = Self { player, ttl, excuses, connections: BTreeMap::new(), states: Vec::new() };
        for call in calls {
            let told = Told { call, latest: excuses.latest_effect(call) };
            let connection = call.connection.as_deref().map(|id| leases.connections.entry(id).or_default());
            match (call.verb, connection) {
                (Verb::Connect | Verb::Heartbeat, Some(connection)) => connection.renewals.push(told),
                (Verb::Quit | Verb::Lost, Some(connection)) => connection.disconnects.push(told),
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
            Verb::Quit | Verb::Lost => &connection.disconnects,
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

    fn sign_outs(&self) -> impl Iterator<Item = &Told<'a>> {
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
        })
    }

    fn is_possible(&self, connection: &Connection<'a>, when: &RangeInclusive<Millis>) -> bool {
        let (first, last) = (*when.start(), *when.end());
        let is_renewed = connection.renewals.iter().any(|told| {
            told.call.outcome != Outcome::Closed && told.call.sent <= last && told.latest + self.ttl > first
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
