//! Events in the stream.

use std::collections::HashSet;

use presence::model::EventReason;

use super::{Context, Invariant, Report, moving};
use crate::chaos::history::{Event, History, State, Verb, player_id};

/// Checks the stream as a whole.
pub(super) fn check_ids(history: &History, report: &mut Report) {
    let mut ids = HashSet::new();
    for pair in history
        .events
        .windows(2)
        .filter(|pair| pair[0].sequence + 1 < pair[1].sequence)
    {
        let text = format!(
            "the stream has nothing between {} and {}",
            pair[0].sequence, pair[1].sequence
        );
        report.violate(
            Invariant::NoTransitionWithoutEvent,
            None,
            pair[1].published,
            text,
        );
    }
    for event in &history.events {
        report.count("events");
        if !ids.insert(&event.id) {
            let text = format!("{} is in the stream again", event.id);
            report.violate(
                Invariant::NoEventTwice,
                Some(event.player),
                event.published,
                text,
            );
        }
        if event.id != event.message_id
            || event.id != format!("{}:{}", player_id(event.player), event.version)
        {
            let text = format!("{} is the id, {} the message's", event.id, event.message_id);
            report.violate(
                Invariant::NoEventTwice,
                Some(event.player),
                event.published,
                text,
            );
        }
    }
}

/// Checks one player's events.
pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    let mut before: Option<&Event> = None;
    for event in &context.player.events {
        check_order(context, before, event, report);
        check_cause(context, event, report);
        if event.state == State::Offline {
            check_end(context, event, report);
        }
        before = Some(event);
    }
}

fn check_order(context: &Context<'_>, before: Option<&Event>, event: &Event, report: &mut Report) {
    let player = context.player.number;
    let since = before.map_or(0, |before| before.occurred_at);
    let is_rising =
        before.is_none_or(|before| before.version < event.version || before.id == event.id);
    if !is_rising || since > event.occurred_at || event.version < event.occurred_at {
        let text = format!(
            "version {}, created at {}, after one created at {since}",
            event.version, event.occurred_at
        );
        report.violate(
            Invariant::RisingVersions,
            Some(player),
            event.occurred_at,
            text,
        );
    }
    let state = before.map_or(State::Offline, |before| before.state);
    if event.previous_state == state && event.state != state {
        return;
    }
    if event.state != event.previous_state
        && context
            .tolerances
            .has_lost_write(player, since..=since, event.occurred_at)
    {
        report.count("allowed after a loss: a chain that is broken");
    } else if before.is_none_or(|before| before.id != event.id) {
        let text = format!(
            "{:?} → {:?} follows on {state:?}",
            event.previous_state, event.state
        );
        report.violate(
            Invariant::UnbrokenChain,
            Some(player),
            event.occurred_at,
            text,
        );
    }
}

fn check_cause(context: &Context<'_>, event: &Event, report: &mut Report) {
    let verb = match event.reason {
        EventReason::Connect => Verb::Connect,
        EventReason::Restore => Verb::Heartbeat,
        EventReason::Disconnect => Verb::Quit,
        EventReason::Lost => Verb::Lost,
        EventReason::SetState | EventReason::SignedOut => Verb::SetState(event.state),
        _ => return,
    };
    let is_by_gateway = |at| {
        context.leases.may_have_ended_with_gateway(at) || context.leases.may_have_stopped_moving(at)
    };
    let is_caused = context
        .leases
        .may_have_taken_effect(verb, event.occurred_at)
        || (verb == Verb::Lost && is_by_gateway(event.occurred_at));
    if !is_caused {
        let text = format!("{} by {}, without a cause", event.id, event.reason);
        report.violate(
            Invariant::CausedEvent,
            Some(event.player),
            event.occurred_at,
            text,
        );
    }
}

fn check_end(context: &Context<'_>, event: &Event, report: &mut Report) {
    let at = event.occurred_at;
    report.count("OFFLINE events");
    let certain = context.leases.certain(&(at..=at));
    if certain > 0 {
        let text = format!(
            "{} by {}, of {certain} certain leases",
            event.id, event.reason
        );
        report.violate(Invariant::NoFalseOfflineEvent, Some(event.player), at, text);
    }
    moving::check_event(context, at, report);
    if event.reason == EventReason::Lost && context.leases.may_have_ended_with_gateway(at) {
        report.count("OFFLINE events that a lost gateway may have caused");
    }
    if event.reason == EventReason::Expired {
        report.count("expiries");
        let due = event.last_seen + context.history.timing.ttl;
        if at < due.saturating_sub(context.history.timing.ttl)
            || at > context.tolerances.swept_by(event.player, due)
        {
            let text = format!(
                "{} expired at {due} at the latest, and went OFFLINE at {at}",
                event.id
            );
            report.violate(Invariant::PromptExpiry, Some(event.player), at, text);
        }
    }
}
