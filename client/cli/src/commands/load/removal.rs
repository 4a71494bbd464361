//! Removal of everything that a load created.

use std::ops::Range;

use presence_client::{CallError, State};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::run::Load;
use crate::table::grouped;

/// Players per read.
const BATCH: u32 = 1_000;

/// The most sign-outs in flight.
const MAX_SIGN_OUTS: usize = 16;

/// Ends the gateways, and with them all connections, then signs out the players that are not
/// OFFLINE. Returns how many may not be OFFLINE in the end: those that the service did not report
/// as OFFLINE in time count, too.
pub(super) async fn remove(load: &mut Load<'_>) -> u64 {
    load.stop();
    let removed = format!("removing {} players", grouped(load.started.into()));
    load.progress.begin(&removed);
    let step_timeout = load.plan.removal_timeout();
    let end = Instant::now() + 2 * step_timeout;
    let leaving: JoinSet<()> = load
        .gateways
        .drain(..)
        .map(|gateway| gateway.leave(step_timeout))
        .collect();
    leaving.join_all().await;
    sign_out_all(load, end).await
}

/// What becomes of players that were not removed, and what to do. `remaining` is their number, if
/// it is known.
pub(super) fn note(remaining: Option<u64>) -> String {
    let players = match remaining {
        Some(1) => "1 player of the load".to_owned(),
        Some(remaining) => format!("{} players of the load", grouped(remaining)),
        None => "Players of the load".to_owned(),
    };
    format!(
        "{players} may remain: the service did not confirm that they are OFFLINE. They expire by themselves, \
         after PRESENCE_TTL at the latest. Check the service with `presence probe` before the next load."
    )
}

/// Signs out the players that are not OFFLINE. A batch that fails does not end the removal of the
/// others. Returns the number of players that may not be OFFLINE at `end`.
async fn sign_out_all(load: &Load<'_>, end: Instant) -> u64 {
    let mut remaining = 0;
    for first in (0..load.started).step_by(BATCH as usize) {
        // A batch that is late would still send its first call.
        if Instant::now() >= end {
            return remaining + u64::from(load.started - first);
        }
        let numbers = first..load.started.min(first + BATCH);
        let size = numbers.len() as u64;
        let batch = timeout_at(end, sign_out_batch(load, numbers)).await;
        remaining += batch.unwrap_or(size);
    }
    remaining
}

/// Signs out the players of a batch that are not OFFLINE. Returns how many may not be OFFLINE then.
/// A player that cannot be read is one of them, because unknown is not OFFLINE.
async fn sign_out_batch(load: &Load<'_>, numbers: Range<u32>) -> u64 {
    let Ok(online) = find_online(load, numbers.clone()).await else {
        return numbers.len() as u64;
    };
    if online.is_empty() {
        return 0;
    }
    sign_out(load, &online).await;
    let still_online = find_online(load, numbers).await;
    still_online.map_or(online.len(), |players| players.len()) as u64
}

/// The numbers of the players that are not OFFLINE.
async fn find_online(load: &Load<'_>, numbers: Range<u32>) -> Result<Vec<u32>, CallError> {
    let states = load.states(numbers.clone()).await?;
    let online = numbers
        .zip(states)
        .filter(|(_, state)| *state != State::Offline);
    Ok(online.map(|(number, _)| number).collect())
}

async fn sign_out(load: &Load<'_>, players: &[u32]) {
    for some in players.chunks(MAX_SIGN_OUTS) {
        let calls: JoinSet<()> = some
            .iter()
            .map(|number| {
                let players = load.service.players.clone();
                let id = load.roster.id(*number);
                async move {
                    // The result does not matter, as the players are read again.
                    let _ = players.set_state(&id, State::Offline).await;
                }
            })
            .collect();
        calls.join_all().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_counts_the_players_if_their_number_is_known() {
        assert!(note(Some(1_000)).starts_with("1,000 players of the load may remain: "));
        assert!(note(Some(1)).starts_with("1 player of the load may remain: "));
        assert!(note(None).starts_with("Players of the load may remain: "));
    }
}
