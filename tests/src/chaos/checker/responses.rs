//! Responses of the service to the observer and to gateways.

use super::{Context, Invariant, Report};
use crate::chaos::history::{Read, State};

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    for read in &context.player.reads {
        check_leases(context, read, report);
        check_events(context, read, report);
    }
    check_versions(context, report);
}

fn check_leases(context: &Context<'_>, read: &Read, report: &mut Report) {
    let when = context.tolerances.moments(read);
    let certain = context.leases.certain(&when);
    let possible = context.leases.possible(&when);
    let is_offline = read.state == State::Offline;
    report.count("responses");
    if certain > 0 {
        report.count("responses about a player with a certain lease");
        if is_offline || (read.count as usize) < certain {
            let text = format!(
                "{:?}, count {}, of {certain} certain leases",
                read.state, read.count
            );
            report.violate(
                Invariant::NoFalseOffline,
                Some(read.player),
                read.as_of,
                text,
            );
        }
    }
    if is_offline && context.leases.is_moving(&when) {
        let text = "OFFLINE within the move grace".to_owned();
        report.violate(Invariant::QuietMove, Some(read.player), read.as_of, text);
    }
    if possible == 0 {
        report.count("responses about a player without a possible lease");
        if context.leases.possible_without_gateways(&when) > 0 {
            report.count("responses about a player whose leases ended with a gateway's");
        }
    }
    let may_be_bare =
        context.leases.may_have_bare_record(&when) || context.leases.may_be_moving(&when);
    let may_be =
        |leases: usize| (is_offline || leases > 0 || may_be_bare) && read.count as usize <= leases;
    if !may_be(possible) {
        // The connection has no lease, or would have one if its gateway's had not ended.
        let is_of_gateway = may_be(context.leases.possible_without_gateways(&when));
        let invariant = if is_of_gateway {
            Invariant::PromptEnd
        } else {
            Invariant::NoGhost
        };
        let text = format!(
            "{:?}, count {}, of {possible} possible leases",
            read.state, read.count
        );
        report.violate(invariant, Some(read.player), read.as_of, text);
    }
}

/// Checks that the last event, or one during the read, has the state of the response; or that the
/// response is OFFLINE, and the sweep may not have made the transition yet.
fn check_events(context: &Context<'_>, read: &Read, report: &mut Report) {
    let events = &context.player.events;
    let moments = context.tolerances.moments(read);
    let before = events.partition_point(|event| event.occurred_at < *moments.start());
    let during = events[before..]
        .iter()
        .take_while(|event| event.occurred_at <= read.ended);
    let last = before.checked_sub(1).map(|index| events[index]);
    let last_state = last.map_or(State::Offline, |event| event.state);
    if last_state == read.state || during.clone().any(|event| event.state == read.state) {
        return;
    }
    let since = last.map_or(0, |event| event.occurred_at);
    let noticed_by = context.tolerances.swept_by(read.player, read.as_of);
    let is_noticed = || {
        events[before..]
            .first()
            .is_some_and(|event| event.occurred_at <= noticed_by)
    };
    let has_no_event = |version| {
        events
            .binary_search_by_key(&version, |event| event.version)
            .is_err()
    };
    let is_event_lost =
        |version| has_no_event(version) && context.tolerances.has_lost_event(read.player, version);
    if context
        .tolerances
        .has_lost_write(read.player, since..=since, read.ended)
        || read.version.is_some_and(is_event_lost)
    {
        report.count("allowed after a loss: a state without its event");
    } else if read.state == State::Offline && is_noticed() {
        report.count("responses that were ahead of the sweep");
    } else if read.state == State::Offline
        && context
            .tolerances
            .has_lost_end(read.player, read.as_of, noticed_by)
    {
        report.count("allowed after a loss: an expiry before the sweep noticed it");
    } else {
        let invariant = match read.state {
            State::Offline => Invariant::PromptExpiry,
            _ => Invariant::NoTransitionWithoutEvent,
        };
        let text = format!(
            "the response is {:?}, and the last event {last_state:?}",
            read.state
        );
        report.violate(invariant, Some(read.player), read.as_of, text);
    }
}

/// Checks that each version in a response is that of an event, and that versions do not decrease.
fn check_versions(context: &Context<'_>, report: &mut Report) {
    let player = context.player.number;
    let seen = context
        .player
        .reads
        .iter()
        .filter_map(|read| Some((read.state, read.version?, read.as_of)));
    let responses = context.player.calls.iter().filter_map(|call| {
        let (state, version) = call.seen?;
        Some((state, version, call.ended))
    });
    let deliveries = context
        .player
        .deliveries
        .iter()
        .filter_map(|delivery| Some((delivery.state, delivery.version?, delivery.at)));
    for (state, version, at) in seen.chain(responses).chain(deliveries) {
        report.count("versions in responses");
        let event = context
            .player
            .events
            .binary_search_by_key(&version, |event| event.version);
        match event.map(|index| context.player.events[index].state) {
            // A record that has expired reads as OFFLINE, with its last version.
            Ok(of_event) if of_event == state || state == State::Offline => {}
            Err(_) if context.tolerances.has_lost_event(player, version) => {
                report.count("allowed after a loss: a version without its event");
            }
            of_event => {
                let text = format!(
                    "version {version} is {state:?} in a response, and {of_event:?} in the stream"
                );
                report.violate(Invariant::NoTransitionWithoutEvent, Some(player), at, text);
            }
        }
    }
    for pair in context.player.reads.windows(2) {
        let has_fallen = pair[0].version > pair[1].version
            && pair[0].ended < *context.tolerances.moments(pair[1]).start();
        let made = pair[0].version.unwrap_or_default(); // a version is the time of its transition, or little more
        if has_fallen
            && !context
                .tolerances
                .has_lost_write(player, made..=made, pair[1].ended)
        {
            let text = format!(
                "version {:?} in a response after {:?}",
                pair[1].version, pair[0].version
            );
            report.violate(Invariant::RisingVersions, Some(player), pair[1].as_of, text);
        }
    }
}
