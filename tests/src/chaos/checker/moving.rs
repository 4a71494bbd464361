//! Planned restarts: when a player whose gateway left keeps the record without any lease.

use std::ops::RangeInclusive;

use super::{
    Context, Invariant, Report,
    gateway_leases::GatewayLease,
    leases::{Connection, Leases},
};
use crate::chaos::history::{LeaseCall, Millis, Outcome, Verb};

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    for (gateway, leave) in context.leases.leaves() {
        let within = leave.ended..=leave.sent + context.leases.move_grace - 1;
        if within.is_empty()
            || !context
                .leases
                .is_moving_with(gateway, leave, &(leave.ended..=leave.ended))
        {
            continue;
        }
        report.count("players whose gateway left");
        // In a cluster, players may be back before the last of the leases has ended.
        if context.leases.has_connected(&(leave.sent..=*within.end())) {
            report.count("players who moved within the grace");
        }
    }
}

/// An OFFLINE event of a player who is moving.
pub(super) fn check_event(context: &Context<'_>, at: Millis, report: &mut Report) {
    if context.leases.is_moving(&(at..=at)) {
        let text = "OFFLINE within the move grace".to_owned();
        report.violate(Invariant::QuietMove, Some(context.player.number), at, text);
    }
}

impl<'a> Leases<'a> {
    /// Whether the player certainly has a record at all of these moments, as its gateway left for a
    /// planned restart.
    pub(super) fn is_moving(&self, when: &RangeInclusive<Millis>) -> bool {
        self.leaves()
            .any(|(gateway, leave)| self.is_moving_with(gateway, leave, when))
    }

    /// Whether the player may have a record without a lease at one of these moments, as a gateway
    /// left.
    pub(super) fn may_be_moving(&self, when: &RangeInclusive<Millis>) -> bool {
        self.moves()
            .any(|(sent, latest)| sent <= *when.end() && latest + self.move_grace >= *when.start())
    }

    /// Whether a move grace may have expired before this moment.
    pub(super) fn may_have_stopped_moving(&self, at: Millis) -> bool {
        let is_over = |(sent, latest): (Millis, Millis)| {
            let noticed_by = self
                .tolerances
                .swept_by(self.player, latest + self.move_grace);
            sent + self.move_grace <= at && at <= noticed_by
        };
        self.moves().any(is_over)
    }

    /// Whether a connect that was sent at one of these moments took effect by the last of them.
    fn has_connected(&self, when: &RangeInclusive<Millis>) -> bool {
        let mut renewals = self
            .connections
            .values()
            .flat_map(|connection| &connection.renewals);
        renewals.any(|timed| {
            let call = timed.call;
            let is_accepted = call.verb == Verb::Connect && call.outcome == Outcome::Accepted;
            is_accepted && when.contains(&call.sent) && call.ended <= *when.end()
        })
    }

    /// The gateways that left while they may have had a connection of the player, each with the
    /// call that ended its lease.
    fn leaves(&self) -> impl Iterator<Item = (&'a GatewayLease<'a>, &'a LeaseCall)> {
        let gateways = self.gateways.iter().copied();
        gateways.filter_map(|gateway| Some((gateway, gateway.leave()?)))
    }

    /// When leases may have ended with a move grace: from when to when.
    fn moves(&self) -> impl Iterator<Item = (Millis, Millis)> {
        let leaves = self
            .gateways
            .iter()
            .flat_map(|gateway| gateway.leaves())
            .map(move |leave| {
                let is_known = leave.status.is_some();
                let latest = self
                    .tolerances
                    .latest_effect(leave.sent, leave.ended, is_known);
                // Sweeps complete a call that failed half-way, and no lease outlives its TTL.
                (
                    leave.sent,
                    if is_known { latest } else { latest + self.ttl },
                )
            });
        let disconnects = self
            .connections
            .values()
            .flat_map(|connection| &connection.disconnects);
        let moving = disconnects.filter(|timed| timed.call.verb == Verb::Moving);
        leaves.chain(moving.map(|timed| (timed.call.sent, timed.latest)))
    }

    fn is_moving_with(
        &self,
        gateway: &GatewayLease<'_>,
        leave: &LeaseCall,
        when: &RangeInclusive<Millis>,
    ) -> bool {
        let first = *when.start();
        let last = *when.end();
        leave.sent <= first
            && last < leave.sent + self.move_grace
            && !self
                .tolerances
                .has_lost_write(self.player, leave.sent..=leave.ended, last)
            && self
                .connections
                .values()
                .any(|connection| self.moves_with(connection, gateway, leave, last))
            && self
                .connections
                .values()
                .all(|connection| self.cannot_end_record(connection, gateway, leave, last))
    }

    /// Whether the connection certainly had a lease until its gateway left.
    fn moves_with(
        &self,
        connection: &Connection<'a>,
        gateway: &GatewayLease<'_>,
        leave: &LeaseCall,
        last: Millis,
    ) -> bool {
        let mut renewals = connection
            .renewals
            .iter()
            .filter(|timed| connection.names(timed, gateway));
        !connection
            .disconnects
            .iter()
            .any(|close| close.call.sent <= leave.ended)
            && renewals.any(|timed| {
                let renewal = timed.call;
                renewal.outcome == Outcome::Accepted
                    && renewal.ended < leave.sent
                    && leave.ended < renewal.sent + self.ttl
                    && !gateway.may_be_lost(renewal.sent, leave.ended)
                    && !self
                        .sign_outs()
                        .any(|timed| timed.call.sent <= last && timed.latest >= renewal.sent)
                    && !self.tolerances.has_lost_write(
                        self.player,
                        renewal.sent..=renewal.ended,
                        last,
                    )
            })
    }

    /// Whether the connection cannot end the record within the grace: it belongs to the gateway or
    /// had no lease when that left, and no call or other gateway ends it afterwards.
    fn cannot_end_record(
        &self,
        connection: &Connection<'a>,
        gateway: &GatewayLease<'_>,
        leave: &LeaseCall,
        last: Millis,
    ) -> bool {
        if !self.is_possible(connection, &(leave.sent..=last)) {
            return true; // it ended before, also if its gateway was lost
        }
        let is_closed = connection.disconnects.iter().any(|close| {
            close.call.verb != Verb::Moving && close.call.sent <= last && close.latest >= leave.sent
        });
        let belongs = connection.renewals.iter().any(|timed| {
            timed.call.outcome == Outcome::Accepted
                && timed.call.ended < leave.sent
                && connection.names(timed, gateway)
        });
        let mut others = connection
            .gateways
            .iter()
            .filter(|other| !std::ptr::eq(**other, gateway));
        // Late copies of calls may restore the connection and renew the gateway's lease, which then
        // expires.
        let is_restored = connection
            .renewals
            .iter()
            .any(|timed| timed.call.sent <= last && timed.latest >= leave.sent);
        let may_end = is_closed
            || others.any(|other| other.may_end(leave.sent, last))
            || (is_restored && gateway.may_be_lost(leave.sent, last));
        !may_end && (belongs || !self.is_possible(connection, &(leave.sent..=leave.ended)))
    }
}
