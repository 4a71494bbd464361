//! Reads after a step, compared with the reference.

use presence::{
    PresenceService,
    model::{Presence, State},
    operator::OperatorQueries,
};
use presence_tests::player;
use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{PLAYERS, activities::activity, gateways::GATEWAYS, reference::Reference, unexpected};

/// Checks that the presence in a response is what a read would show.
pub(super) fn compare_response(reference: &Reference, shown: &Presence) -> TestCaseResult {
    let at = PLAYERS
        .iter()
        .position(|name| player(name) == shown.player_id);
    prop_assert_eq!(shown, &presence(reference, at.unwrap(), History::Hidden));
    Ok(())
}

pub(super) async fn compare_with_history(
    service: &PresenceService,
    reference: &Reference,
) -> TestCaseResult {
    let snapshot = service
        .presences(&PLAYERS.map(player), true)
        .await
        .map_err(unexpected)?;
    let expected: Vec<_> = (0..PLAYERS.len())
        .map(|at| presence(reference, at, History::Shown))
        .collect();
    prop_assert_eq!(&snapshot.presences, &expected, "{:?}", reference.players);
    prop_assert_eq!(snapshot.as_of, reference.now);
    Ok(())
}

pub(super) async fn compare_together(
    service: &PresenceService,
    reference: &Reference,
) -> TestCaseResult {
    let snapshot = service
        .presences(&PLAYERS.map(player), false)
        .await
        .map_err(unexpected)?;
    let expected: Vec<_> = (0..PLAYERS.len())
        .map(|at| presence(reference, at, History::Hidden))
        .collect();
    prop_assert_eq!(&snapshot.presences, &expected, "{:?}", reference.players);
    Ok(())
}

pub(super) async fn compare_alone(
    service: &PresenceService,
    reference: &Reference,
    at: usize,
) -> TestCaseResult {
    let snapshot = service
        .presences(&[player(PLAYERS[at])], false)
        .await
        .map_err(unexpected)?;
    prop_assert_eq!(
        &snapshot.presences,
        &[presence(reference, at, History::Hidden)],
        "{:?}",
        reference.players
    );
    Ok(())
}

/// Whether the past of an OFFLINE player is asked for.
#[derive(Clone, Copy, PartialEq)]
enum History {
    Shown,
    Hidden,
}

/// The history adds to an OFFLINE player what is still known, and nothing to other players.
fn presence(reference: &Reference, at: usize, history: History) -> Presence {
    let player_now = &reference.players[at];
    let state = player_now.state();
    let retention = reference.rules.retention;
    let last_seen = player_now
        .last_seen(reference.now, retention)
        .filter(|_| history == History::Shown || state != State::Offline);
    Presence {
        player_id: player(PLAYERS[at]),
        state,
        last_seen,
        connection_count: player_now.leases(reference.now).count() as u32,
        version: last_seen.map(|_| player_now.version),
        activity: player_now.activity().map(|position| activity(position, 0)),
    }
}

/// Operators see the leases that count, soonest expiry first.
pub(super) async fn compare_explanation(
    operator_queries: &OperatorQueries,
    reference: &Reference,
    at: usize,
) -> TestCaseResult {
    let explanation = operator_queries
        .explain(&player(PLAYERS[at]))
        .await
        .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    let player_now = &reference.players[at];
    let mut sorted: Vec<_> = player_now.leases(reference.now).collect();
    sorted.sort_by_key(|lease| (lease.until, lease.opened));
    let expected: Vec<_> = sorted
        .iter()
        .map(|lease| (player_now.connection_id(lease.socket), lease.until))
        .collect();
    let shown = explanation
        .connections
        .into_iter()
        .map(|lease| (lease.connection_id, lease.expires_at));
    prop_assert_eq!(shown.collect::<Vec<_>>(), expected);
    prop_assert_eq!(
        explanation.presence,
        presence(reference, at, History::Shown)
    );
    Ok(())
}

/// Operators see the known gateways. The connections of each are those whose leases count; some may
/// be among them whose leases have expired since the player was stored.
pub(super) async fn compare_gateways(
    operator_queries: &OperatorQueries,
    reference: &Reference,
) -> TestCaseResult {
    let gateways = operator_queries
        .gateways()
        .await
        .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
    prop_assert_eq!(gateways.as_of, reference.now);
    let shown = gateways
        .gateways
        .iter()
        .map(|gateway| (gateway.gateway_id.as_str(), gateway.expires_in_ms));
    let get_expires_in = |expires_at: u64| expires_at.saturating_sub(reference.now);
    let known = reference
        .gateways
        .leases
        .iter()
        .map(|(at, expires_at)| (GATEWAYS[*at], get_expires_in(*expires_at)));
    prop_assert_eq!(shown.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    for (gateway, at) in gateways
        .gateways
        .iter()
        .zip(reference.gateways.leases.keys())
    {
        let players = &reference.players;
        let all_counted = players
            .iter()
            .flat_map(|player| player.leases(reference.now));
        let all_stored = players.iter().flat_map(|player| player.all_leases());
        let counted = all_counted
            .filter(|lease| lease.gateway == Some(*at))
            .count() as u64;
        let stored = all_stored
            .filter(|lease| lease.gateway == Some(*at))
            .count() as u64;
        prop_assert!(
            (counted..=stored).contains(&gateway.connections),
            "{gateway:?}: {counted} to {stored}"
        );
    }
    Ok(())
}
