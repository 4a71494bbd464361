//! `presence explain`: why a player is in the state that it is in, and what comes next.

use std::fmt::Write as _;

use presence_client::{
    PlayerId, State,
    operator::{EventReason, Explanation, Lease},
};

use crate::{
    activity,
    failure::{Failure, Status},
    output::{Output, span},
    service::Service,
    style::{STRONG, of_state},
    table::{Cell, Table},
};

pub(super) async fn run(service: &Service, player: &PlayerId, output: Output) -> Result<Status, Failure> {
    let explanation = service.operator.explain(player).await;
    let explanation = explanation.map_err(|error| service.server_failure(&error, "more of a player than its state"))?;
    output.show(&explanation, || text(&explanation))?;
    Ok(Status::Done)
}

fn text(explanation: &Explanation) -> String {
    let Explanation { as_of, presence, connections, closed_connections, last_transition, .. } = explanation;
    let (name, state) = (&presence.player_id, presence.state);
    let style = of_state(state);
    let mut text = format!("{STRONG}{name}{STRONG:#} is {style}{state}{style:#}");
    if let Some(last_seen) = presence.last_seen {
        let _ = write!(text, ", last heard of {} ago", span(as_of.saturating_sub(last_seen)));
    }
    let _ = write!(text, ".\n{}\n", outlook(explanation));
    if let Some(activity) = &presence.activity {
        let _ = writeln!(text, "Its activity: {}.", activity::summary(activity));
    }
    if !connections.is_empty() {
        let _ = write!(text, "\n{}", leases(connections));
    }
    if let Some(last) = last_transition {
        let ago = span(as_of.saturating_sub(last.at));
        let why = last.reason.as_ref().map(|reason| format!(": {}", because(reason))).unwrap_or_default();
        let _ = write!(text, "\nThe last change was to {}, {ago} ago{why}.\n", last.state);
    }
    match closed_connections {
        0 => {}
        1 => text.push_str("1 connection is remembered as closed.\n"),
        more => _ = writeln!(text, "{more} connections are remembered as closed."),
    }
    text
}

fn leases(connections: &[Lease]) -> Table<2> {
    let mut table = Table::new(["CONNECTION", "RUNS OUT IN"]);
    for lease in connections {
        table.push([Cell::plain(&lease.connection_id), Cell::plain(span(lease.expires_in_ms))]);
    }
    table
}

/// What comes next, or why nothing does.
fn outlook(explanation: &Explanation) -> String {
    let Explanation { as_of, presence, connections, last_transition, next_transition, .. } = explanation;
    let Some(next) = next_transition else {
        return match last_transition {
            _ if presence.state != State::Offline => "It has just been renewed.".to_owned(),
            Some(_) => "It stays so until a connection comes.".to_owned(),
            None => "Nothing is known of it: it was never seen, or longer ago than the history is kept.".to_owned(),
        };
    };
    if presence.state == State::Offline {
        let ago = span(as_of.saturating_sub(next.at));
        let why = next.reason.as_ref().map(because).unwrap_or_default();
        return format!("It ran out {ago} ago ({why}), and no sweep has made the event yet.");
    }
    let left = span(next.at.saturating_sub(*as_of));
    match (connections.is_empty(), &next.reason) {
        (false, _) => format!("Unless a connection beats, it is OFFLINE in {left}."),
        (true, Some(EventReason::Lost)) => {
            format!("Its last connection broke; unless it is back within the grace, it is OFFLINE in {left}.")
        }
        (true, _) => format!("The state was set without a connection; unless one comes, it is OFFLINE in {left}."),
    }
}

/// An event's reason, in words.
fn because(reason: &EventReason) -> &str {
    match reason {
        EventReason::Disconnect => "the player left",
        EventReason::Lost => "the last connection broke",
        EventReason::Expired => "nobody renewed the connections",
        EventReason::SignedOut => "the player was signed out",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use presence_client::{Presence, operator::Transition};

    use super::*;

    const NOW: u64 = 1_795_493_786_449;

    fn explanation(state: State) -> Explanation {
        let player_id = PlayerId::parse("alice").unwrap();
        Explanation {
            as_of: NOW,
            ttl_ms: 45_000,
            presence: Presence {
                player_id,
                state,
                last_seen: None,
                connection_count: 0,
                version: None,
                activity: None,
            },
            connections: Vec::new(),
            closed_connections: 0,
            last_transition: None,
            next_transition: None,
        }
    }

    fn transition(state: State, at: u64, reason: Option<EventReason>) -> Option<Transition> {
        Some(Transition { state, at, version: None, reason })
    }

    fn shown(explanation: &Explanation) -> String {
        anstream::adapter::strip_str(&text(explanation)).to_string()
    }

    #[test]
    fn a_player_who_is_there_has_leases_and_an_end() {
        let mut there = explanation(State::InMatch);
        there.presence.last_seen = Some(NOW - 4_000);
        there.connections =
            vec![Lease { connection_id: "phone".into(), expires_at: NOW + 41_000, expires_in_ms: 41_000 }];
        there.closed_connections = 1;
        there.last_transition = transition(State::InMatch, NOW - 600_000, None);
        there.next_transition = transition(State::Offline, NOW + 41_000, Some(EventReason::Expired));
        let expected = "alice is IN_MATCH, last heard of 4 s ago.\n\
                        Unless a connection beats, it is OFFLINE in 41 s.\n\
                        \n\
                        CONNECTION  RUNS OUT IN\n\
                        phone       41 s\n\
                        \n\
                        The last change was to IN_MATCH, 10 min ago.\n\
                        1 connection is remembered as closed.\n";
        assert_eq!(shown(&there), expected);
    }

    #[test]
    fn a_player_who_ran_out_is_told_from_one_who_left_and_from_one_who_was_never_there() {
        assert!(shown(&explanation(State::Offline)).contains("Nothing is known of it"));

        let mut left = explanation(State::Offline);
        left.last_transition = transition(State::Offline, NOW - 60_000, Some(EventReason::Disconnect));
        assert!(
            shown(&left).contains("The last change was to OFFLINE, 60 s ago: the player left."),
            "{}",
            shown(&left)
        );

        let mut ran_out = explanation(State::Offline);
        ran_out.next_transition = transition(State::Offline, NOW - 1_000, Some(EventReason::Expired));
        assert!(shown(&ran_out).contains("It ran out 1 s ago (nobody renewed the connections)"), "{}", shown(&ran_out));
    }

    #[test]
    fn a_player_in_the_grace_is_told_from_one_whose_state_was_set() {
        let mut without_connections = explanation(State::Online);
        without_connections.next_transition = transition(State::Offline, NOW + 5_000, Some(EventReason::Lost));
        assert!(shown(&without_connections).contains("within the grace, it is OFFLINE in 5 s"));
        without_connections.next_transition = transition(State::Offline, NOW + 5_000, Some(EventReason::Expired));
        assert!(shown(&without_connections).contains("set without a connection"));
    }
}
