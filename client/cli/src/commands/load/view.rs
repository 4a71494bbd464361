//! The players that a simulated gateway watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use presence_client::{CallError, FeedState, PlayerId, State, Subscription, WatchStatus, Watcher};
use tokio::{task::JoinHandle, time::Instant};

use super::{recorder::Recorder, roster::Roster};

/// The most changes per receive.
const CHANGES: usize = 1_000;

/// The players that a gateway watches: consecutive numbers, modulo the number of players.
#[derive(Debug)]
pub(super) struct View {
    first: u32,
    count: u32,
    players: u32,
    shared: Arc<Mutex<Shown>>,
    task: JoinHandle<()>,
}

/// What the gateway has received.
#[derive(Debug)]
struct Shown {
    /// The state of each watched player, from the first one on.
    states: Vec<Option<State>>,
    /// Changes that were not received yet, only the newest of each player.
    awaited: HashMap<u32, (State, Instant)>,
    /// Whether the feed was live all the time since [`View::begin`].
    was_live: bool,
    /// Whether the feed is live now.
    is_live: bool,
    is_offered: bool,
}

impl View {
    /// Watches `count` players from the player `first` on.
    pub(super) fn start(
        watcher: &Watcher,
        recorder: &Recorder,
        roster: &Roster,
        first: u32,
        count: u32,
    ) -> Self {
        let players = roster.len();
        let ids: Vec<PlayerId> = (0..count)
            .map(|offset| roster.id(position(first, offset, players)))
            .collect();
        let states = vec![None; count as usize];
        let shown = Shown {
            states,
            awaited: HashMap::new(),
            was_live: true,
            is_live: true,
            is_offered: true,
        };
        let shared = Arc::new(Mutex::new(shown));
        let follower = Follower {
            shared: Arc::clone(&shared),
            recorder: recorder.clone(),
            prefix: roster.prefix().to_owned(),
            first,
            players,
        };
        let task = tokio::spawn(follower.follow(watcher.clone(), watcher.watch(&ids)));
        Self {
            first,
            count,
            players,
            shared,
            task,
        }
    }

    /// Records that a player has another state, since `at`.
    pub(super) fn expect(&self, player: u32, state: State, at: Instant) {
        if offset(self.first, player, self.players) < self.count {
            self.shown().awaited.insert(player, (state, at));
        }
    }

    /// Starts the measurement.
    pub(super) fn begin(&self) {
        let mut shown = self.shown();
        shown.was_live = shown.is_live;
    }

    /// The number of watched players whose current state was not received.
    pub(super) fn missing(&self, roster: &Roster) -> u64 {
        let shown = self.shown();
        let states = (0..self.count).zip(&shown.states);
        let is_missing = |(offset, state): &(u32, &Option<State>)| {
            **state != Some(roster.state(position(self.first, *offset, self.players)))
        };
        states.filter(is_missing).count() as u64
    }

    /// Whether the service supports watching.
    pub(super) fn is_offered(&self) -> bool {
        self.shown().is_offered
    }

    /// Whether the feed was live all the time since [`begin`](Self::begin).
    pub(super) fn was_live(&self) -> bool {
        self.shown().was_live
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Receives what the service sends.
struct Follower {
    shared: Arc<Mutex<Shown>>,
    recorder: Recorder,
    prefix: String,
    first: u32,
    players: u32,
}

impl Follower {
    async fn follow(self, watcher: Watcher, mut subscription: Subscription) {
        let mut statuses = watcher.status_changes();
        loop {
            tokio::select! {
                changes = subscription.recv_many(CHANGES) => {
                    changes.iter().for_each(|change| self.show(&change.player_id, change.state));
                }
                Some(status) = statuses.next() => {
                    if !self.record(&status) {
                        return;
                    }
                }
            }
        }
    }

    fn show(&self, id: &PlayerId, state: State) {
        let Some(player) = Roster::number(&self.prefix, id) else {
            return;
        };
        let mut shown = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let index = offset(self.first, player, self.players) as usize;
        if let Some(position) = shown.states.get_mut(index) {
            *position = Some(state);
        }
        if let Some((awaited, since)) = shown.awaited.get(&player).copied()
            && awaited == state
        {
            shown.awaited.remove(&player);
            self.recorder.record_change(since.elapsed());
        }
    }

    /// Records a status. Returns whether the service supports watching: functions do not.
    fn record(&self, WatchStatus { feed, error, .. }: &WatchStatus) -> bool {
        let is_offered = !error.as_deref().is_some_and(is_not_offered);
        let mut shown = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shown.is_offered = is_offered;
        // A watcher that is connecting has no error.
        shown.is_live =
            *feed == FeedState::Live || (*feed == FeedState::Disconnected && error.is_none());
        shown.was_live &= shown.is_live;
        if let Some(error) = error.as_deref().filter(|_| is_offered) {
            self.recorder.record_watch_error(error);
        }
        is_offered
    }
}

/// Whether the service does not support watching. REST APIs of API Gateway respond with 403 for an
/// unknown path.
fn is_not_offered(error: &CallError) -> bool {
    matches!(error, CallError::Problem(problem)
        if matches!(problem.status, 404 | 405) || (problem.status == 403 && problem.slug == "about:blank"))
}

/// The distance of a player from the first one.
fn offset(first: u32, player: u32, players: u32) -> u32 {
    if player >= first {
        player - first
    } else {
        player + (players - first)
    }
}

/// The player at a distance from the first one.
fn position(first: u32, offset: u32, players: u32) -> u32 {
    if offset < players - first {
        first + offset
    } else {
        offset - (players - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_continues_after_the_last_player_with_the_first() {
        assert_eq!(
            [0, 1, 2, 3].map(|number| position(7, number, 10)),
            [7, 8, 9, 0]
        );
        for player in 0..10 {
            assert_eq!(position(7, offset(7, player, 10), 10), player);
        }
    }
}
