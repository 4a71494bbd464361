//! `presence get`: one player.

use presence_client::{History, PlayerId};

use super::players;
use crate::{
    failure::{Failure, Status},
    output::Output,
    service::Service,
};

pub(super) async fn run(
    service: &Service,
    player: &PlayerId,
    history: History,
    output: Output,
) -> Result<Status, Failure> {
    let presence = service
        .players
        .get(player, history)
        .await
        .map_err(|error| service.failure(&error))?;
    output.show(&presence, || players::table(&[&presence]))?;
    Ok(Status::Done)
}
