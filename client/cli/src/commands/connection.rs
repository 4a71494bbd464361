//! `presence connect`, `presence heartbeat` and `presence disconnect`: the calls of gateways, to
//! try them out.

use presence_client::{ConnectionId, PlayerId, Presence, Reason};

use super::players;
use crate::{
    failure::{Failure, Status},
    output::{Output, span},
    service::Service,
    style::FAINT,
};

pub(super) async fn connect(
    service: &Service,
    player: &PlayerId,
    connection: &ConnectionId,
    output: Output,
) -> Result<Status, Failure> {
    let connected = service
        .players
        .connect(player, connection)
        .await
        .map_err(|error| service.failure(&error))?;
    let to_text = || {
        let ttl = span(connected.ttl_ms);
        let interval = span(connected.heartbeat_interval_ms);
        let table = players::table(&[&connected.presence]);
        format!(
            "{table}\n{FAINT}The connection expires in {ttl}. A gateway sends a heartbeat every {interval}.{FAINT:#}\n"
        )
    };
    output.show(&connected, to_text)?;
    Ok(Status::Done)
}

pub(super) async fn heartbeat(
    service: &Service,
    player: &PlayerId,
    connection: &ConnectionId,
    output: Output,
) -> Result<Status, Failure> {
    let presence = service
        .players
        .heartbeat(player, connection)
        .await
        .map_err(|error| service.failure(&error))?;
    show(&presence, output)
}

pub(super) async fn disconnect(
    service: &Service,
    player: &PlayerId,
    connection: &ConnectionId,
    reason: Reason,
    output: Output,
) -> Result<Status, Failure> {
    let presence = service.players.disconnect(player, connection, reason).await;
    show(&presence.map_err(|error| service.failure(&error))?, output)
}

fn show(presence: &Presence, output: Output) -> Result<Status, Failure> {
    output.show(presence, || players::table(&[presence]))?;
    Ok(Status::Done)
}
