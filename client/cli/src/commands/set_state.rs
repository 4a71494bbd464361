//! `presence set-state` and `presence sign-out`.

use std::io::{self, IsTerminal as _};

use presence_client::{PlayerId, State};

use super::players;
use crate::{
    failure::{Failure, Status},
    output::Output,
    service::Service,
};

pub(super) async fn run(
    service: &Service,
    player: &PlayerId,
    state: State,
    is_confirmed: bool,
    output: Output,
) -> Result<Status, Failure> {
    if state == State::Offline && !is_confirmed {
        confirm(player)?;
    }
    let presence = service.players.set_state(player, state).await.map_err(|error| service.failure(&error))?;
    output.show(&presence, || players::table([&presence]))?;
    Ok(Status::Done)
}

/// Asks whether a player is to be signed out, as that cannot be undone: the connections stay closed.
fn confirm(player: &PlayerId) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(Status::Usage, "signing a player out asks first, and there is nobody to ask")
            .with_hint("--yes is the answer in advance."));
    }
    anstream::eprint!("Sign {player} out, on every device? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Status::Usage, format!("{player} was not signed out"))),
    }
}
