//! `presence friends`: several players, read at one moment.

use presence_client::{CallError, Friends, History, PlayerId};

use super::players;
use crate::{
    failure::{Failure, Status},
    output::Output,
    service::Service,
};

/// The most players per call.
const MAX_BATCH: usize = 2_000;

pub(super) async fn run(
    service: &Service,
    players: &[PlayerId],
    history: History,
    output: Output,
) -> Result<Status, Failure> {
    let friends = read(service, players, history)
        .await
        .map_err(|error| service.failure(&error))?;
    output.show(&friends, || {
        players::table(&friends.presences.iter().collect::<Vec<_>>())
    })?;
    Ok(Status::Done)
}

/// Reads the players, in as few calls as possible. `as_of` is that of the first call.
async fn read(
    service: &Service,
    players: &[PlayerId],
    history: History,
) -> Result<Friends, CallError> {
    let mut all = Friends {
        as_of: u64::MAX,
        presences: Vec::with_capacity(players.len()),
    };
    for batch in players.chunks(MAX_BATCH) {
        let Friends { as_of, presences } = service.players.friends(batch, history).await?;
        all.as_of = all.as_of.min(as_of);
        all.presences.extend(presences);
    }
    Ok(all)
}
