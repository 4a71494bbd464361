//! `presence watch`: changes of players.

mod everyone;
mod named;

use std::fmt;

use presence_client::{Activity, PlayerId, State};

use crate::{
    activity,
    failure::{Failure, Status},
    output::{Output, moment},
    service::Service,
    style::{FAINT, of_state},
};

/// Watches the named players, or all players if no player is named.
pub(super) async fn run(
    service: &Service,
    players: Vec<PlayerId>,
    count: Option<u64>,
    output: Output,
) -> Result<Status, Failure> {
    if players.is_empty() {
        everyone::run(service, count, output).await
    } else {
        named::run(service, &players, count, output).await
    }
}

fn line(at: u64, player: &PlayerId, width: usize, what: impl fmt::Display) -> String {
    format!(
        "{FAINT}{}{FAINT:#}  {:width$}  {what}\n",
        moment(at),
        player.as_str()
    )
}

fn write_activity(f: &mut fmt::Formatter<'_>, activity: Option<&Activity>) -> fmt::Result {
    activity.map_or(Ok(()), |activity| {
        write!(f, ": {}", activity::summary(activity))
    })
}

fn write_state(f: &mut fmt::Formatter<'_>, state: State) -> fmt::Result {
    let style = of_state(state);
    write!(f, "{style}{state}{style:#}")
}
