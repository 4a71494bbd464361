//! Removal of everything that a load created.

use std::ops::Range;

use presence_client::{CallError, State};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::run::Load;
use crate::table::grouped;

/// Players per read.
const BATCH: u32 = 1_000;

/// The most sign-outs in flight.
const MAX_SIGN_OUTS: usize = 16;

/// Ends the gateways, and with them all connections. Returns the number of players that are not
/// OFFLINE then; `None` if the service did not answer in time.
pub(super) async fn remove(load: &mut Load<'_>) -> Option<u64> {
    load.stop();
    let removed = format!("removing {} players", grouped(load.started.into()));
    load.progress.begin(&removed);
    let limit = load.plan.removal_timeout();
    let end = Instant::now() + 2 * limit;
    let leaving: JoinSet<()> = load
        .gateways
        .drain(..)
        .map(|gateway| gateway.leave(limit))
        .collect();
    leaving.join_all().await;
    let remaining = timeout(
        end.saturating_duration_since(Instant::now()),
        sign_out_all(load),
    )
    .await;
    remaining.ok()?.ok()
}

/// Signs out the players that are not OFFLINE. Returns how many are still not OFFLINE.
async fn sign_out_all(load: &Load<'_>) -> Result<u64, CallError> {
    let mut remaining = 0;
    for first in (0..load.started).step_by(BATCH as usize) {
        let numbers = first..load.started.min(first + BATCH);
        let online = find_online(load, numbers.clone()).await?;
        if !online.is_empty() {
            sign_out(load, &online).await;
            remaining += find_online(load, numbers).await?.len() as u64;
        }
    }
    Ok(remaining)
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
                let (players, id) = (load.service.players.clone(), load.roster.id(*number));
                async move {
                    // The result does not matter, as the players are read again.
                    let _ = players.set_state(&id, State::Offline).await;
                }
            })
            .collect();
        calls.join_all().await;
    }
}
