//! `presence set-state` and `presence sign-out`.

use presence_client::{Activity, PlayerId, State};

use super::players;
use crate::{
    confirm::confirm,
    failure::{Failure, Status},
    output::Output,
    service::Service,
};

/// A change of a player. `None` leaves a member as it is.
pub(super) struct Change {
    pub(super) state: Option<State>,
    /// `Some(None)` removes it.
    pub(super) activity: Option<Option<Activity>>,
}

pub(super) async fn run(
    service: &Service,
    player: &PlayerId,
    change: &Change,
    is_confirmed: bool,
    output: Output,
) -> Result<Status, Failure> {
    if change.state == Some(State::Offline) && !is_confirmed {
        // A sign-out cannot be undone: the connections stay closed.
        let question = format!("Sign {player} out, on every device?");
        let refused = format!("{player} was not signed out");
        confirm("a sign-out", &question, refused)?;
    }
    let players = &service.players;
    let presence = match change {
        Change {
            state: Some(state),
            activity: None,
        } => players.set_state(player, *state).await,
        Change {
            state: Some(state),
            activity: Some(activity),
        } => {
            players
                .set_state_and_activity(player, *state, activity.as_ref())
                .await
        }
        Change {
            state: None,
            activity,
        } => {
            players
                .set_activity(player, activity.as_ref().and_then(Option::as_ref))
                .await
        }
    };
    let presence = presence.map_err(|error| service.failure(&error))?;
    output.show(&presence, || players::table(&[&presence]))?;
    Ok(Status::Done)
}
