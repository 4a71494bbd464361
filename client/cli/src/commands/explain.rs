//! `presence explain`: the reason for a player's state, and the next change.

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

pub(super) async fn run(
    service: &Service,
    player: &PlayerId,
    output: Output,
) -> Result<Status, Failure> {
    let explanation = service
        .operator
        .explain(player)
        .await
        .map_err(|error| service.server_failure(&error))?;
    output.show(&explanation, || text(&explanation))?;
    Ok(Status::Done)
}

fn text(explanation: &Explanation) -> String {
    let Explanation {
        as_of,
        presence,
        connections,
        closed_connections,
        last_transition,
        ..
    } = explanation;
    let name = &presence.player_id;
    let state = presence.state;
    let style = of_state(state);
    let mut text = format!("{STRONG}{name}{STRONG:#} is {style}{state}{style:#}");
    if let Some(last_seen) = presence.last_seen {
        let _ = write!(
            text,
            ", last seen {} ago",
            span(as_of.saturating_sub(last_seen))
        );
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
        let why = last
            .reason
            .as_ref()
            .map(|reason| format!(": {}", because(reason)))
            .unwrap_or_default();
        let _ = write!(
            text,
            "\nThe last change was to {}, {ago} ago{why}.\n",
            last.state
        );
    }
    match closed_connections {
        0 => {}
        1 => text.push_str("1 connection is remembered as closed.\n"),
        more => _ = writeln!(text, "{more} connections are remembered as closed."),
    }
    text
}

fn leases(connections: &[Lease]) -> Table<2> {
    let mut table = Table::new(["CONNECTION", "EXPIRES IN"]);
    for lease in connections {
        table.push([
            Cell::plain(&lease.connection_id),
            Cell::plain(span(lease.expires_in_ms)),
        ]);
    }
    table
}

/// The next change, or why there is none.
fn outlook(explanation: &Explanation) -> String {
    let Explanation {
        as_of,
        presence,
        connections,
        last_transition,
        next_transition,
        ..
    } = explanation;
    let Some(next) = next_transition else {
        return match last_transition {
            _ if presence.state != State::Offline => {
                "Its record was renewed a moment ago.".to_owned()
            }
            Some(_) => "It stays OFFLINE until it connects.".to_owned(),
            None => {
                "The service does not know it: it was never connected, or its history has expired."
                    .to_owned()
            }
        };
    };
    if presence.state == State::Offline {
        let ago = span(as_of.saturating_sub(next.at));
        let why = next.reason.as_ref().map(because).unwrap_or_default();
        return format!("It expired {ago} ago ({why}); the next sweep creates the event.");
    }
    let left = span(next.at.saturating_sub(*as_of));
    match (connections.is_empty(), &next.reason) {
        (false, _) => format!("Without a heartbeat it is OFFLINE in {left}."),
        (true, Some(EventReason::Lost)) => {
            format!(
                "Its last connection was lost. Unless it connects within the grace, it is OFFLINE in {left}."
            )
        }
        (true, _) => format!(
            "Its state was set without a connection. Unless it connects, it is OFFLINE in {left}."
        ),
    }
}

/// The reason of an event, in words.
fn because(reason: &EventReason) -> &str {
    match reason {
        EventReason::Disconnect => "the player disconnected",
        EventReason::Lost => "the last connection was lost",
        EventReason::Expired => "no heartbeat renewed its connections",
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
        Some(Transition {
            state,
            at,
            version: None,
            reason,
        })
    }

    fn shown(explanation: &Explanation) -> String {
        anstream::adapter::strip_str(&text(explanation)).to_string()
    }

    #[test]
    fn a_connected_player_has_leases_and_an_expiry() {
        let mut connected = explanation(State::InMatch);
        connected.presence.last_seen = Some(NOW - 4_000);
        connected.connections = vec![Lease {
            connection_id: "phone".into(),
            expires_at: NOW + 41_000,
            expires_in_ms: 41_000,
        }];
        connected.closed_connections = 1;
        connected.last_transition = transition(State::InMatch, NOW - 600_000, None);
        connected.next_transition =
            transition(State::Offline, NOW + 41_000, Some(EventReason::Expired));
        let expected = "alice is IN_MATCH, last seen 4 s ago.\n\
                        Without a heartbeat it is OFFLINE in 41 s.\n\
                        \n\
                        CONNECTION  EXPIRES IN\n\
                        phone       41 s\n\
                        \n\
                        The last change was to IN_MATCH, 10 min ago.\n\
                        1 connection is remembered as closed.\n";
        assert_eq!(shown(&connected), expected);
    }

    #[test]
    fn expired_players_disconnected_players_and_unknown_players_are_explained_differently() {
        assert!(shown(&explanation(State::Offline)).contains("The service does not know it"));

        let mut left = explanation(State::Offline);
        left.last_transition =
            transition(State::Offline, NOW - 60_000, Some(EventReason::Disconnect));
        assert!(
            shown(&left)
                .contains("The last change was to OFFLINE, 60 s ago: the player disconnected."),
            "{}",
            shown(&left)
        );

        let mut expired = explanation(State::Offline);
        expired.next_transition =
            transition(State::Offline, NOW - 1_000, Some(EventReason::Expired));
        assert!(
            shown(&expired).contains("It expired 1 s ago (no heartbeat renewed its connections)"),
            "{}",
            shown(&expired)
        );
    }

    #[test]
    fn a_player_in_the_grace_and_a_player_whose_state_was_set_are_explained_differently() {
        let mut without_connections = explanation(State::Online);
        without_connections.next_transition =
            transition(State::Offline, NOW + 5_000, Some(EventReason::Lost));
        assert!(shown(&without_connections).contains("within the grace, it is OFFLINE in 5 s"));
        without_connections.next_transition =
            transition(State::Offline, NOW + 5_000, Some(EventReason::Expired));
        assert!(shown(&without_connections).contains("set without a connection"));
    }
}
