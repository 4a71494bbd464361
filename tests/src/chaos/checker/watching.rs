//! Presences that watchers were sent.

use super::{Context, Invariant, Report};
use crate::chaos::history::{Delivery, History, Millis, Read, Snapshot, State, WatchStream};

/// A watcher holds what Redis does within this time after the last fault and the last transition.
const CONVERGENCE: Millis = 2_000;

/// The longest delay of a change, as the machine is busy.
const SLACK: Millis = 1_500;

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    for (index, stream) in context.history.streams.iter().enumerate() {
        check_order(context, index, report);
        let player = context.player.number;
        for snapshot in stream
            .snapshots
            .iter()
            .filter(|snapshot| (snapshot.first..snapshot.end).contains(&player))
        {
            check_snapshot(context, index, snapshot, report);
            check_truth(context, index, snapshot, report);
        }
    }
}

fn check_order(context: &Context<'_>, stream: usize, report: &mut Report) {
    let mut highest = 0;
    for delivery in context
        .player
        .deliveries
        .iter()
        .filter(|delivery| delivery.stream == stream)
    {
        report.count("presences sent to watchers");
        let version = delivery.version.unwrap_or(highest);
        if version < highest {
            let text = format!("version {version} was sent after {highest}");
            report.violate(
                Invariant::RisingOnStream,
                Some(delivery.player),
                delivery.at,
                text,
            );
        }
        highest = version;
    }
}

/// Checks that the last event before the request, or a newer one, has arrived with the reply at the
/// latest.
fn check_snapshot(context: &Context<'_>, stream: usize, snapshot: &Snapshot, report: &mut Report) {
    report.count("snapshots of a player");
    let player = context.player.number;
    let from = *context
        .tolerances
        .moments_between(snapshot.sent, snapshot.completed)
        .start();
    let before = context
        .player
        .events
        .partition_point(|event| event.occurred_at < from);
    let Some(event) = before
        .checked_sub(1)
        .map(|index| context.player.events[index])
    else {
        return;
    };
    let held = held(context, stream, snapshot.completed);
    if held.is_some_and(|held| held.version >= Some(event.version)) {
        return;
    }
    if context.tolerances.has_lost_write(
        player,
        event.occurred_at..=event.occurred_at,
        snapshot.completed,
    ) {
        report.count("allowed after a loss: an older snapshot");
    } else {
        let text = format!(
            "version {} is older than the request, and the watcher holds {held:?}",
            event.version
        );
        report.violate(
            Invariant::FreshSnapshot,
            Some(player),
            snapshot.completed,
            text,
        );
    }
}

/// Checks that the watcher holds what the responses say whenever nothing has happened for a while.
fn check_truth(context: &Context<'_>, index: usize, snapshot: &Snapshot, report: &mut Report) {
    let stream = &context.history.streams[index];
    let mut since: Option<&Read> = None;
    for read in &context.player.reads {
        let is_same = |first: &&Read| (first.state, first.version) == (read.state, read.version);
        let first = *since.filter(is_same).get_or_insert(read);
        since = Some(first);
        let begin = read.as_of.saturating_sub(CONVERGENCE + SLACK);
        let is_open =
            snapshot.completed <= begin && stream.ended.is_none_or(|ended| ended > read.ended);
        if !is_open || first.as_of > begin || !is_quiet(context, stream, read, begin) {
            continue;
        }
        report.count("comparisons of a watcher with Redis");
        let held = held(context, index, read.ended);
        if !held.is_some_and(|held| equals(context, held, read)) {
            let text = format!(
                "the watcher holds {held:?}, and Redis {:?} {:?}",
                read.state, read.version
            );
            report.violate(Invariant::WatcherTruth, Some(read.player), read.as_of, text);
        }
    }
}

fn is_quiet(context: &Context<'_>, stream: &WatchStream, read: &Read, begin: Millis) -> bool {
    let events = &context.player.events;
    let last = events
        .partition_point(|event| event.occurred_at <= read.ended)
        .checked_sub(1);
    let is_settled = last.is_none_or(|last| {
        // A record that has expired is OFFLINE, until the sweep makes the transition with the same
        // version.
        let is_ahead = read.state == State::Offline && events[last].state != State::Offline;
        events[last].occurred_at < begin
            && !(is_ahead && read.version == Some(events[last].version))
    });
    is_settled && context.tolerances.is_calm(stream, begin, read.ended)
}

/// Whether the watcher holds what the response says. A version below one that was sent before is
/// omitted: Redis has lost the higher one.
fn equals(context: &Context<'_>, held: &Delivery, read: &Read) -> bool {
    let has_sent_more = || {
        let deliveries = context
            .player
            .deliveries
            .iter()
            .filter(|delivery| delivery.at <= held.at);
        deliveries.map(|delivery| delivery.version).max().flatten() > read.version
    };
    held.state == read.state
        && (held.version == read.version || (held.version.is_none() && has_sent_more()))
}

/// The presence of the player that the watcher of a stream holds at a moment.
fn held<'a>(context: &Context<'a>, stream: usize, at: Millis) -> Option<&'a Delivery> {
    let deliveries = context.player.deliveries.iter().rev();
    deliveries
        .copied()
        .find(|delivery| delivery.at <= at && is_kept(context.history, delivery.stream, stream))
}

/// Whether a watcher still holds, on one stream, what it was sent on an earlier one.
fn is_kept(history: &History, earlier: usize, stream: usize) -> bool {
    let watcher = history.streams[stream].watcher;
    let mut between = history.streams[..=stream]
        .iter()
        .skip(earlier + 1)
        .filter(|other| other.watcher == watcher);
    earlier <= stream
        && history.streams[earlier].watcher == watcher
        && !between.any(|other| other.knows_nothing)
}
