//! Checks at the end of a load: whether everything was delivered, and is correct.

use std::{ops::Range, time::Duration};

use presence_client::{CallError, History, PlayerId, Presence, State};
use tokio::time::{Instant, sleep};

use super::{findings::WatchFound, gateway::Gateway, run::Load};

/// The time limit for calls that were due before the end, and again for changes to reach the
/// watchers: enough for a service without events, which reads the watched players every few
/// seconds.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The pause between two checks.
const SETTLE_INTERVAL: Duration = Duration::from_millis(50);

/// The time after which a crash counts as unnoticed, and the pause between two reads.
const CRASH_TIMEOUT: Duration = Duration::from_secs(30);
const CRASH_INTERVAL: Duration = Duration::from_millis(100);

/// Players per read.
const BATCH: u32 = 1_000;

impl Load<'_> {
    /// Waits for calls that were due before the end, because their latencies count. Returns how
    /// many have no response.
    pub(super) async fn settle(&mut self) -> u64 {
        let end = Instant::now() + SETTLE_TIMEOUT;
        loop {
            while self.reads.try_join_next().is_some() {}
            let reports: u64 = self.gateways.iter().map(Gateway::waiting).sum();
            let unanswered = reports + self.reads.len() as u64;
            if unanswered == 0 || Instant::now() >= end {
                return unanswered;
            }
            sleep(SETTLE_INTERVAL).await;
        }
    }

    /// Waits until the watching gateways have received everything. `None` if no gateway watches.
    pub(super) async fn watched(&self) -> Option<WatchFound> {
        let end = Instant::now() + SETTLE_TIMEOUT;
        let get_views = || self.gateways.iter().filter_map(Gateway::view);
        get_views().next()?;
        loop {
            let missing = get_views().map(|view| view.missing(&self.roster)).sum();
            if missing == 0 || Instant::now() >= end {
                return Some(WatchFound {
                    missing,
                    was_live: get_views().all(|view| view.was_live()),
                });
            }
            sleep(SETTLE_INTERVAL).await;
        }
    }

    /// Reads all players. Returns how many have another state than the reported one.
    pub(super) async fn wrong_states(&self) -> Result<u64, CallError> {
        let mut wrong = 0;
        for first in (0..self.started).step_by(BATCH as usize) {
            let numbers = first..self.started.min(first + BATCH);
            let states = self.states(numbers.clone()).await?;
            let is_wrong = |(number, state): &(u32, State)| self.roster.state(*number) != *state;
            wrong += numbers.zip(states).filter(is_wrong).count() as u64;
        }
        Ok(wrong)
    }

    /// Stops a gateway without a last call, and waits until reads return its players as OFFLINE.
    pub(super) async fn crash(&mut self) -> Duration {
        let number = self.plan.gateways - 1;
        self.progress.begin("letting a gateway crash");
        self.gateways.truncate(number as usize);
        let crashed_at = Instant::now();
        let numbers = (number..self.started).step_by(self.plan.gateways as usize);
        let players: Vec<_> = numbers
            .take(BATCH as usize)
            .map(|number| self.roster.id(number))
            .collect();
        let is_offline = |presence: &Presence| presence.state == State::Offline;
        while crashed_at.elapsed() < CRASH_TIMEOUT {
            let friends = self.service.players.friends(&players, History::Omit).await;
            if friends.is_ok_and(|friends| friends.presences.iter().all(is_offline)) {
                break;
            }
            sleep(CRASH_INTERVAL).await;
        }
        crashed_at.elapsed()
    }

    /// Reads the states of players. If the service accepts only shorter lists, the list is halved.
    pub(super) async fn states(&self, numbers: Range<u32>) -> Result<Vec<State>, CallError> {
        let ids: Vec<PlayerId> = numbers
            .clone()
            .map(|number| self.roster.id(number))
            .collect();
        match self.service.players.friends(&ids, History::Omit).await {
            Ok(friends) => Ok(friends
                .presences
                .iter()
                .map(|presence| presence.state)
                .collect()),
            Err(CallError::Problem(problem)) if problem.status == 400 && ids.len() > 1 => {
                let middle = numbers.start + (numbers.end - numbers.start) / 2;
                let mut states = Box::pin(self.states(numbers.start..middle)).await?;
                states.extend(Box::pin(self.states(middle..numbers.end)).await?);
                Ok(states)
            }
            Err(error) => Err(error),
        }
    }
}
