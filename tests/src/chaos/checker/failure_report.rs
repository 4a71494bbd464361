//! Report of a violation: everything that was seen of the player around it.

use std::collections::BTreeSet;

use super::Violation;
use crate::chaos::history::{History, Loss, Millis};

/// The time before and after the violation that is reported.
const BEFORE: Millis = 8_000;
const AFTER: Millis = 4_000;

/// One line per observation, in order; times are seconds from the violation.
pub(super) fn describe(history: &History, violation: &Violation) -> String {
    let Some(player) = violation.player else {
        return String::new();
    };
    let at = violation.at;
    let is_near = |time: Millis| time + BEFORE >= at && time <= at + AFTER;
    let mut lines = Vec::new();
    for fault in history
        .faults
        .iter()
        .filter(|fault| is_near(fault.from) || is_near(fault.to))
    {
        let failover = if matches!(fault.loss, Loss::Writes(_)) {
            ", failover"
        } else {
            ""
        };
        let concerned = if fault.concerns(player) {
            ""
        } else {
            " (of others)"
        };
        let what = format!("{:?} {:?}{failover}{concerned}", fault.kind, fault.part);
        lines.push((fault.from, Some(fault.to), what));
    }
    for socket in history
        .sockets
        .iter()
        .filter(|socket| socket.player == player)
    {
        let what = format!("socket {} at gateway {}", socket.connection, socket.gateway);
        lines.push((socket.opened, socket.closed, what));
    }
    let of_player = history.calls.iter().filter(|call| call.player == player);
    let gateways: BTreeSet<_> = of_player.filter_map(|call| call.owner.as_ref()).collect();
    for call in history
        .lease_calls
        .iter()
        .filter(|call| gateways.contains(&call.id) && is_near(call.sent))
    {
        let kind = if call.is_leaving { "left" } else { "renewed" };
        lines.push((
            call.sent,
            Some(call.ended),
            format!("gateway {} {kind} → {:?}", call.id, call.status),
        ));
    }
    for call in history
        .calls
        .iter()
        .filter(|call| call.player == player && is_near(call.sent))
    {
        let seen = call
            .seen
            .map(|seen| format!(" {seen:?}"))
            .unwrap_or_default();
        let connection = call.connection.as_deref().unwrap_or_default();
        let what = format!("{:?} {connection} → {:?}{seen}", call.verb, call.outcome);
        lines.push((call.sent, Some(call.ended), what));
    }
    for event in history
        .events
        .iter()
        .filter(|event| event.player == player && is_near(event.occurred_at))
    {
        let what = format!(
            "EVENT {:?} → {:?} {} {}",
            event.previous_state, event.state, event.reason, event.version
        );
        lines.push((event.occurred_at, Some(event.published), what));
    }
    for read in history
        .reads
        .iter()
        .filter(|read| read.player == player && is_near(read.as_of))
    {
        let what = format!("read {:?} {} {:?}", read.state, read.count, read.version);
        lines.push((read.as_of, Some(read.ended), what));
    }
    for delivery in history
        .deliveries
        .iter()
        .filter(|delivery| delivery.player == player && is_near(delivery.at))
    {
        let watcher = history
            .streams
            .get(delivery.stream)
            .map(|stream| (stream.watcher, stream.server));
        let what = format!(
            "sent to (watcher, server) {watcher:?}: {:?} {:?}",
            delivery.state, delivery.version
        );
        lines.push((delivery.at, None, what));
    }
    lines.sort();
    let to_seconds = |time: Millis| (time as f64 - at as f64) / 1_000.0;
    let to_line = |(from, to, what): (Millis, Option<Millis>, String)| {
        let to = to.map_or("…".to_owned(), |to| format!("{:+.3}", to_seconds(to)));
        format!("    {:+8.3} {to:>8} {what}\n", to_seconds(from))
    };
    lines.into_iter().map(to_line).collect()
}
