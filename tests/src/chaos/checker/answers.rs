//! What the service answered.

use super::{Invariant, Report, Scene};
use crate::chaos::history::{Read, State};

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    for read in &scene.player.reads {
        check_leases(scene, read, report);
        check_events(scene, read, report);
    }
    check_versions(scene, report);
}

fn check_leases(scene: &Scene<'_>, read: &Read, report: &mut Report) {
    let when = scene.excuses.moments(read);
    let (certain, possible) = (scene.leases.certain(&when), scene.leases.possible(&when));
    let is_offline = read.state == State::Offline;
    report.count("answers");
    if certain > 0 {
        report.count("answers about a player who is certainly there");
        if is_offline || (read.count as usize) < certain {
            let text = format!("{:?}, count {}, of {certain} certain leases", read.state, read.count);
            report.violate(Invariant::NoFalseOffline, Some(read.player), read.as_of, text);
        }
    }
    if is_offline && scene.leases.is_moving(&when) {
        let text = "OFFLINE within the move grace".to_owned();
        report.violate(Invariant::QuietMove, Some(read.player), read.as_of, text);
    }
    if possible == 0 {
        report.count("answers about a player who certainly has no lease");
        if scene.leases.possible_without_gateways(&when) > 0 {
            report.count("answers about a player whose leases ended with a gateway's");
        }
    }
    let may_be_bare = scene.leases.may_have_bare_record(&when) || scene.leases.may_be_moving(&when);
    let may_be = |leases: usize| (is_offline || leases > 0 || may_be_bare) && read.count as usize <= leases;
    if !may_be(possible) {
        // The connection has no lease, or would have one if its gateway's had not ended.
        let is_of_gateway = may_be(scene.leases.possible_without_gateways(&when));
        let invariant = if is_of_gateway { Invariant::PromptEnd } else { Invariant::NoGhost };
        let text = format!("{:?}, count {}, of {possible} possible leases", read.state, read.count);
        report.violate(invariant, Some(read.player), read.as_of, text);
    }
}

/// The last event, or one that happened while the answer was made, has the answer's state; or the answer is OFFLINE, and
/// the sweep had not yet had its turn.
fn check_events(scene: &Scene<'_>, read: &Read, report: &mut Report) {
    let (events, moments) = (&scene.player.events, scene.excuses.moments(read));
    let before = events.partition_point(|event| event.occurred_at < *moments.start());
    let during = events[before..].iter().take_while(|event| event.occurred_at <= read.ended);
    let last = before.checked_sub(1).map(|index| events[index]);
    let last_state = last.map_or(State::Offline, |event| event.state);
    if last_state == read.state || during.clone().any(|event| event.state == read.state) {
        return;
    }
    let since = last.map_or(0, |event| event.occurred_at);
    let noticed_by = scene.excuses.swept_by(read.player, read.as_of);
    let is_noticed = || events[before..].first().is_some_and(|event| event.occurred_at <= noticed_by);
    let has_no_event = |version| events.binary_search_by_key(&version, |event| event.version).is_err();
    let is_event_lost = |version| has_no_event(version) && scene.excuses.has_lost_event(read.player, version);
    if scene.excuses.has_lost_write(read.player, since..=since, read.ended) || read.version.is_some_and(is_event_lost) {
        report.count("excused by a loss: a state without its event");
    } else if read.state == State::Offline && is_noticed() {
        report.count("answers that were ahead of the sweep");
    } else if read.state == State::Offline && scene.excuses.has_lost_end(read.player, read.as_of, noticed_by) {
        report.count("excused by a loss: an end that nobody noticed before");
    } else {
        let invariant = match read.state {
            State::Offline => Invariant::PromptExpiry,
            _ => Invariant::NoTransitionWithoutEvent,
        };
        let text = format!("{:?} is answered, {last_state:?} is the last event's", read.state);
        report.violate(invariant, Some(read.player), read.as_of, text);
    }
}

/// Each version that was answered is an event's, and they do not fall.
fn check_versions(scene: &Scene<'_>, report: &mut Report) {
    let player = scene.player.number;
    let seen = scene.player.reads.iter().filter_map(|read| Some((read.state, read.version?, read.as_of)));
    let answered = scene.player.calls.iter().filter_map(|call| {
        let (state, version) = call.seen?;
        Some((state, version, call.ended))
    });
    let sights = scene.player.sights.iter().filter_map(|sight| Some((sight.state, sight.version?, sight.at)));
    for (state, version, at) in seen.chain(answered).chain(sights) {
        report.count("versions answered");
        let event = scene.player.events.binary_search_by_key(&version, |event| event.version);
        match event.map(|index| scene.player.events[index].state) {
            // The record of one who is answered to be OFFLINE may have run out since.
            Ok(told) if told == state || state == State::Offline => {}
            Err(_) if scene.excuses.has_lost_event(player, version) => {
                report.count("excused by a loss: a version without its event");
            }
            told => {
                let text = format!("version {version} is {state:?} in an answer, and {told:?} in the stream");
                report.violate(Invariant::NoTransitionWithoutEvent, Some(player), at, text);
            }
        }
    }
    for pair in scene.player.reads.windows(2) {
        let has_fallen = pair[0].version > pair[1].version && pair[0].ended < *scene.excuses.moments(pair[1]).start();
        let made = pair[0].version.unwrap_or_default(); // a version is the time of its making, or little more
        if has_fallen && !scene.excuses.has_lost_write(player, made..=made, pair[1].ended) {
            let text = format!("version {:?} is answered after {:?}", pair[1].version, pair[0].version);
            report.violate(Invariant::RisingVersions, Some(player), pair[1].as_of, text);
        }
    }
}
