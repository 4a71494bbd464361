//! `presence friends`: several players, read at one moment.

use presence_client::{History, PlayerId};

use super::players;
use crate::{
    failure::{Failure, Status},
    output::Output,
    service::Service,
};

pub(super) async fn run(
    service: &Service,
    players: &[PlayerId],
    history: History,
    output: Output,
) -> Result<Status, Failure> {
    let friends = service.players.friends(players, history).await.map_err(|error| service.failure(&error))?;
    output.show(&friends, || players::table(&friends.presences.iter().collect::<Vec<_>>()))?;
    Ok(Status::Done)
}
