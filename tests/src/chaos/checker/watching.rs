//! What watchers were sent.

use super::{Invariant, Report, Scene};
use crate::chaos::history::{History, Millis, Read, Sight, Snapshot, State, WatchStream};

/// A watcher holds what Redis does within this time after the last fault and the last transition.
const CONVERGENCE: Millis = 2_000;

/// A change is late by that much at most, as its machine is busy.
const SLACK: Millis = 1_500;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for (index, stream) in scene.history.streams.iter().enumerate() {
        check_order(scene, index, report);
        let player = scene.player.number;
        for snapshot in stream.snapshots.iter().filter(|snapshot| (snapshot.first..snapshot.end).contains(&player)) {
            check_snapshot(scene, index, snapshot, report);
            check_truth(scene, index, snapshot, report);
        }
    }
}

fn check_order(scene: &Scene<'_>, stream: usize, report: &mut Report) {
    let mut highest = 0;
    for sight in scene.player.sights.iter().filter(|sight| sight.stream == stream) {
        report.count("presences sent to watchers");
        let version = sight.version.unwrap_or(highest);
        if version < highest {
            let text = format!("version {version} was sent after {highest}");
            report.violate(Invariant::RisingOnStream, Some(sight.player), sight.at, text);
        }
        highest = version;
    }
}

/// The last event before the request, or a newer one, has arrived with the reply at the latest.
fn check_snapshot(scene: &Scene<'_>, stream: usize, snapshot: &Snapshot, report: &mut Report) {
    report.count("snapshots of a player");
    let player = scene.player.number;
    let from = *scene.excuses.moments_between(snapshot.sent, snapshot.completed).start();
    let before = scene.player.events.partition_point(|event| event.occurred_at < from);
    let Some(event) = before.checked_sub(1).map(|index| scene.player.events[index]) else { return };
    let held = held(scene, stream, snapshot.completed);
    if held.is_some_and(|held| held.version >= Some(event.version)) {
        return;
    }
    if scene.excuses.has_lost_write(player, event.occurred_at..=event.occurred_at, snapshot.completed) {
        report.count("excused by a loss: an older snapshot");
    } else {
        let text = format!("version {} is older than the request, and the watcher holds {held:?}", event.version);
        report.violate(Invariant::FreshSnapshot, Some(player), snapshot.completed, text);
    }
}

/// Whenever nothing has happened for a while, the watcher holds what is answered.
fn check_truth(scene: &Scene<'_>, index: usize, snapshot: &Snapshot, report: &mut Report) {
    let stream = &scene.history.streams[index];
    let mut since: Option<&Read> = None;
    for read in &scene.player.reads {
        let is_same = |first: &&Read| (first.state, first.version) == (read.state, read.version);
        let first = *since.filter(is_same).get_or_insert(read);
        since = Some(first);
        let begin = read.as_of.saturating_sub(CONVERGENCE + SLACK);
        let is_open = snapshot.completed <= begin && stream.ended.is_none_or(|ended| ended > read.ended);
        if !is_open || first.as_of > begin || !is_quiet(scene, stream, read, begin) {
            continue;
        }
        report.count("comparisons of a watcher with Redis");
        let held = held(scene, index, read.ended);
        if !held.is_some_and(|held| equals(scene, held, read)) {
            let text = format!("the watcher holds {held:?}, and Redis {:?} {:?}", read.state, read.version);
            report.violate(Invariant::WatcherTruth, Some(read.player), read.as_of, text);
        }
    }
}

fn is_quiet(scene: &Scene<'_>, stream: &WatchStream, read: &Read, begin: Millis) -> bool {
    let events = &scene.player.events;
    let last = events.partition_point(|event| event.occurred_at <= read.ended).checked_sub(1);
    let is_settled = last.is_none_or(|last| {
        // A record that has expired is OFFLINE, until the sweep makes the transition with the same version.
        let is_ahead = read.state == State::Offline && events[last].state != State::Offline;
        events[last].occurred_at < begin && !(is_ahead && read.version == Some(events[last].version))
    });
    is_settled && scene.excuses.is_calm(stream, begin, read.ended)
}

/// A version below one that the stream was sent before is left out: Redis has lost the higher one.
fn equals(scene: &Scene<'_>, held: &Sight, read: &Read) -> bool {
    let has_sent_more = || {
        let sights = scene.player.sights.iter().filter(|sight| sight.at <= held.at);
        sights.map(|sight| sight.version).max().flatten() > read.version
    };
    held.state == read.state && (held.version == read.version || (held.version.is_none() && has_sent_more()))
}

/// What the watcher of a stream holds of the player at a moment.
fn held<'a>(scene: &Scene<'a>, stream: usize, at: Millis) -> Option<&'a Sight> {
    let sights = scene.player.sights.iter().rev();
    sights.copied().find(|sight| sight.at <= at && is_kept(scene.history, sight.stream, stream))
}

/// Whether a watcher still holds on one stream what it was sent on an earlier one.
fn is_kept(history: &History, earlier: usize, stream: usize) -> bool {
    let watcher = history.streams[stream].watcher;
    let mut between = history.streams[..=stream].iter().skip(earlier + 1).filter(|other| other.watcher == watcher);
    earlier <= stream && history.streams[earlier].watcher == watcher && !between.any(|other| other.knows_nothing)
}
