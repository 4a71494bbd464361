//! Request body of `POST /presence/state`.

use serde::Deserialize;

use super::{Problem, Request, parse_post};
use crate::model::{ActivityChange, PlayerId, State, StateChange, json::present};

/// `{"player_id","state","activity"}`. One of the last two may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    player_id: PlayerId,
    #[serde(default, deserialize_with = "present")]
    state: Option<State>,
    #[serde(default)]
    activity: ActivityChange,
}

/// Parses a call that sets a player's state, activity, or both.
///
/// # Errors
/// As for [`parse_post`]; 400 if state and activity are both missing, and for an activity together
/// with the state OFFLINE.
pub fn parse_state_change(request: &Request) -> Result<(PlayerId, StateChange), Problem> {
    let Body {
        player_id,
        state,
        activity,
    } = parse_post(request)?;
    match (state, &activity) {
        (None, ActivityChange::Keep) => {
            Err(Problem::invalid_request("set state, activity, or both").with_field("state"))
        }
        (Some(State::Offline), ActivityChange::Set(_)) => Err(Problem::invalid_request(
            "an OFFLINE player has no activity; leave it out",
        )
        .with_field("activity")),
        _ => Ok((player_id, StateChange { state, activity })),
    }
}
