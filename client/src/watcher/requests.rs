//! Queue of the players to request on the stream: one request at a time, with many players each.
//!
//! While a request is in flight, further players gather behind it. So ten thousand sockets that
//! watch their friends at the same time cause a few requests only. Part of the sans-IO core: the
//! caller passes the time in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::message::{Request, RequestKind};
use crate::{PlayerId, Problem, ProblemKind};

/// The most players per request. The service accepts 2,000 unless it is configured to accept fewer.
const MAX_BATCH: usize = 1_000;

/// Pauses while requests are refused: from 100–200 ms to 2–4 s.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(2))
    .without_max_times();

/// Time limit for the reply to a request. After that, the stream is replaced.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The players that the service should watch, and the requests that are still needed for that.
#[derive(Debug)]
pub(super) struct RequestQueue {
    stages: HashMap<PlayerId, Stage>,
    /// The players to request, by the position in their [`Stage`].
    to_watch: BTreeMap<u64, PlayerId>,
    /// Players that the service still watches although no subscription has them. Disjoint from
    /// `stages`.
    to_unwatch: BTreeSet<PlayerId>,
    in_flight: Option<InFlight>,
    last_kind: RequestKind,
    next_position: u64,
    /// The presences that are known are current once all positions below this one are complete.
    resume_position: u64,
    next_id: u64,
    max_batch: usize,
    backoff: ExponentialBackoff,
    /// The end of the pause after a refusal.
    ready_at: Option<Instant>,
}

/// How far the request for a player has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits to be requested, at this position of the queue.
    Queued(u64),
    /// Part of the request in flight.
    Requested,
    /// Watched by the service.
    Watched,
}

/// The request that has no reply yet.
#[derive(Debug)]
struct InFlight {
    id: u64,
    kind: RequestKind,
    players: Vec<PlayerId>,
    /// The first of the positions that its players had; for `unwatch` the end of the queue.
    position: u64,
    due_at: Instant,
}

impl RequestQueue {
    pub(super) fn new() -> Self {
        Self {
            stages: HashMap::new(),
            to_watch: BTreeMap::new(),
            to_unwatch: BTreeSet::new(),
            in_flight: None,
            last_kind: RequestKind::Unwatch,
            next_position: 0,
            resume_position: 0,
            next_id: 0,
            max_batch: MAX_BATCH,
            backoff: BACKOFF.build(),
            ready_at: None,
        }
    }

    /// Adds a player.
    pub(super) fn add(&mut self, player: &PlayerId) {
        // The player is requested even if the service still watches it, since its presence is no
        // longer known here.
        self.to_unwatch.remove(player);
        if !self.stages.contains_key(player) {
            self.enqueue(player.clone());
        }
    }

    /// Removes a player.
    pub(super) fn remove(&mut self, player: &PlayerId) {
        match self.stages.remove(player) {
            Some(Stage::Queued(position)) => _ = self.to_watch.remove(&position),
            Some(Stage::Requested | Stage::Watched) => _ = self.to_unwatch.insert(player.clone()),
            None => {}
        }
    }

    /// Starts over on a new stream, on which the service watches no player yet.
    pub(super) fn restart(&mut self) {
        self.in_flight = None;
        self.to_unwatch.clear();
        self.end_pause();
        let not_queued = self
            .stages
            .iter()
            .filter(|(_, stage)| !matches!(stage, Stage::Queued(_)));
        let to_request: Vec<_> = not_queued.map(|(player, _)| player.clone()).collect();
        to_request
            .into_iter()
            .for_each(|player| self.enqueue(player));
        self.resume_position = self.next_position;
    }

    /// Whether the service has sent the presences of all players that were watched when the stream
    /// began.
    pub(super) fn is_resumed(&self) -> bool {
        let is_waiting_for_reply = self
            .in_flight
            .as_ref()
            .is_some_and(|request| request.position < self.resume_position);
        let is_queued = self
            .to_watch
            .first_key_value()
            .is_some_and(|(position, _)| *position < self.resume_position);
        !is_waiting_for_reply && !is_queued
    }

    /// Returns the request to send now, if any. `known_version` returns the latest known version of
    /// a player.
    pub(super) fn next(
        &mut self,
        now: Instant,
        known_version: impl Fn(&PlayerId) -> Option<u64>,
    ) -> Option<Request> {
        if self.in_flight.is_some() || self.ready_at.is_some_and(|ready_at| now < ready_at) {
            return None;
        }
        let kind = self.next_kind()?;
        // Read before the players leave the queue.
        let position = match (kind, self.to_watch.first_key_value()) {
            (RequestKind::Watch, Some((position, _))) => *position,
            _ => self.next_position,
        };
        let players = match kind {
            RequestKind::Watch => self.take_to_watch(),
            RequestKind::Unwatch => self.take_to_unwatch(),
        };
        self.last_kind = kind;
        self.next_id += 1;
        let known = match kind {
            RequestKind::Watch => players
                .iter()
                .filter_map(|player| Some((player.clone(), known_version(player)?)))
                .collect(),
            RequestKind::Unwatch => Vec::new(),
        };
        let due_at = now + REPLY_TIMEOUT;
        self.in_flight = Some(InFlight {
            id: self.next_id,
            kind,
            players: players.clone(),
            position,
            due_at,
        });
        Some(Request {
            id: self.next_id,
            kind,
            players,
            known,
        })
    }

    /// The kind of the next request. Both kinds take turns, so that neither has to wait until the
    /// other has ended.
    fn next_kind(&self) -> Option<RequestKind> {
        match (
            self.to_watch.is_empty(),
            self.to_unwatch.is_empty(),
            self.last_kind,
        ) {
            (true, true, _) => None,
            (false, true, _) | (false, false, RequestKind::Unwatch) => Some(RequestKind::Watch),
            (true, false, _) | (false, false, RequestKind::Watch) => Some(RequestKind::Unwatch),
        }
    }

    fn take_to_watch(&mut self) -> Vec<PlayerId> {
        let first_players = std::iter::from_fn(|| self.to_watch.pop_first()).take(self.max_batch);
        let batch: Vec<_> = first_players.map(|(_, player)| player).collect();
        for player in &batch {
            self.stages.insert(player.clone(), Stage::Requested);
        }
        batch
    }

    fn take_to_unwatch(&mut self) -> Vec<PlayerId> {
        std::iter::from_fn(|| self.to_unwatch.pop_first())
            .take(self.max_batch)
            .collect()
    }

    /// Records that the service has completed a request.
    pub(super) fn complete(&mut self, id: u64) {
        let Some(InFlight {
            kind: RequestKind::Watch,
            players,
            ..
        }) = self.take_in_flight(Some(id))
        else {
            return;
        };
        self.end_pause();
        for player in players {
            if let Some(stage @ Stage::Requested) = self.stages.get_mut(&player) {
                *stage = Stage::Watched;
            }
        }
    }

    /// Records that the service refused a request, which is sent again, later or with fewer
    /// players. Without an `id`, that is the request in flight.
    pub(super) fn refused(&mut self, id: Option<u64>, problem: &Problem, now: Instant) {
        let Some(InFlight {
            kind,
            players,
            position,
            ..
        }) = self.take_in_flight(id)
        else {
            return;
        };
        let is_too_long = problem.slug == ProblemKind::InvalidRequest.slug()
            && problem.field.as_deref() == Some(kind.member());
        if is_too_long && players.len() > 1 {
            self.max_batch = players.len() / 2;
        } else {
            self.ready_at = self.backoff.next().map(|delay| now + delay);
        }
        for player in players {
            match (kind, self.stages.get(&player)) {
                (RequestKind::Watch, Some(Stage::Requested)) => self.enqueue(player),
                // The player was removed, and the service does not watch it: nothing is left to
                // unwatch.
                (RequestKind::Watch, _) => _ = self.to_unwatch.remove(&player),
                (RequestKind::Unwatch, None) => _ = self.to_unwatch.insert(player),
                (RequestKind::Unwatch, Some(_)) => {}
            }
        }
        // Its players have moved to later positions.
        if kind == RequestKind::Watch && position < self.resume_position {
            self.resume_position = self.next_position;
        }
    }

    /// When to ask for the next request, if nothing else happens before that. `None` if there is no
    /// pause to wait for.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.in_flight.is_some() || self.next_kind().is_none() {
            None
        } else {
            self.ready_at
        }
    }

    /// When the reply to the request in flight is overdue.
    pub(super) fn reply_due_at(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|request| request.due_at)
    }

    /// The number of players that the service does not watch yet.
    pub(super) fn waiting(&self) -> usize {
        self.stages
            .values()
            .filter(|stage| **stage != Stage::Watched)
            .count()
    }

    /// Whether no player is to be watched.
    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    fn enqueue(&mut self, player: PlayerId) {
        self.stages
            .insert(player.clone(), Stage::Queued(self.next_position));
        self.to_watch.insert(self.next_position, player);
        self.next_position += 1;
    }

    fn take_in_flight(&mut self, id: Option<u64>) -> Option<InFlight> {
        self.in_flight
            .take_if(|request| id.is_none_or(|id| id == request.id))
    }

    fn end_pause(&mut self) {
        self.ready_at = None;
        self.backoff = BACKOFF.build();
    }
}

#[cfg(test)]
mod tests;
