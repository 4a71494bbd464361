//! Named players: the presence of each one, then its changes.

use std::{
    collections::HashMap,
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use presence_client::{Activity, FeedState, PlayerId, State, WatchStatus, WatchedPresence};

use super::{line, write_activity, write_state};
use crate::{
    failure::{Failure, Status, root_cause},
    output::Output,
    service::Service,
};

/// Shows the presence of each player, and then `count` changes.
pub(super) async fn run(
    service: &Service,
    players: &[PlayerId],
    count: Option<u64>,
    output: Output,
) -> Result<Status, Failure> {
    let watcher = service.watcher()?;
    let mut subscription = watcher.watch(players);
    let mut statuses = watcher.status_changes();
    let width = players
        .iter()
        .map(|player| player.as_str().len())
        .max()
        .unwrap_or_default();
    let mut view = View {
        service,
        output,
        width,
        shown: HashMap::new(),
        changes: 0,
        feed: None,
        was_connected: false,
        is_interrupted: false,
    };
    while count.is_none_or(|count| view.changes < count) {
        tokio::select! {
            presence = subscription.recv() => view.show(&presence)?,
            Some(status) = statuses.next() => view.record(&status)?,
        }
    }
    Ok(Status::Done)
}

struct View<'a> {
    service: &'a Service,
    output: Output,
    /// The width of the column of ids.
    width: usize,
    /// The state that was shown of each player.
    shown: HashMap<PlayerId, State>,
    /// The number of changes that were shown.
    changes: u64,
    /// The feed state that was reported last.
    feed: Option<FeedState>,
    was_connected: bool,
    /// Whether it was reported that changes are not live.
    is_interrupted: bool,
}

impl View<'_> {
    fn show(&mut self, presence: &WatchedPresence) -> Result<(), Failure> {
        let state = presence.state;
        self.was_connected = true;
        let before = self.shown.insert(presence.player_id.clone(), state);
        self.changes += u64::from(before.is_some());
        let activity = presence.activity.as_ref();
        self.output.show(presence, || {
            line(
                now(),
                &presence.player_id,
                self.width,
                Change {
                    before,
                    state,
                    activity,
                },
            )
        })?;
        Ok(())
    }

    /// Reports when the changes stop arriving, and when they arrive again.
    fn record(&mut self, WatchStatus { feed, error, .. }: &WatchStatus) -> Result<(), Failure> {
        if let Some(error) = error
            && !(self.was_connected && error.is_transient())
        {
            return Err(self.service.server_failure(error));
        }
        let is_connecting = *feed == FeedState::Disconnected && error.is_none();
        if is_connecting || self.feed.replace(*feed) == Some(*feed) {
            return Ok(());
        }
        self.was_connected |= *feed != FeedState::Disconnected;
        match (feed, error) {
            (FeedState::Live, _) if self.is_interrupted => {
                anstream::eprintln!("presence: changes are live again")
            }
            (FeedState::Polling, _) => anstream::eprintln!(
                "presence: the service has no live events: its NATS is down or not configured; changes are shown some seconds late"
            ),
            (FeedState::Stale, _) => {
                anstream::eprintln!(
                    "presence: the service cannot read its store; the data may be outdated"
                );
            }
            (FeedState::Disconnected, Some(error)) => {
                anstream::eprintln!("presence: {}; trying again", root_cause(&**error));
            }
            _ => return Ok(()),
        }
        self.is_interrupted = *feed != FeedState::Live;
        Ok(())
    }
}

/// Unix milliseconds of this machine's clock.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A player's state and activity, after the state that was shown before.
struct Change<'a> {
    before: Option<State>,
    state: State,
    activity: Option<&'a Activity>,
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.before.filter(|before| *before != self.state) {
            write_state(f, before)?;
            f.write_str(" → ")?;
        }
        write_state(f, self.state)?;
        write_activity(f, self.activity)
    }
}
