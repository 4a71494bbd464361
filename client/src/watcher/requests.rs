//! Requests to make on the stream: one at a time, many players each.
//!
//! While a request is on its way, others gather behind it. So ten thousand sockets that watch their friends at once are
//! a few requests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::message::{Request, RequestKind};
use crate::{PlayerId, Problem};

/// The most players of one request. The service takes 2,000 unless it is configured to take fewer.
const MAX_BATCH: usize = 1_000;

/// The pauses while requests are refused: from 100–200 ms to 2–4 s.
const DELAYS: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_delay(Duration::from_secs(2))
    .without_max_times();

/// A stream on which a request gets no reply for this long is replaced.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// The players that the service is to watch, and how far it does.
#[derive(Debug)]
pub(super) struct RequestQueue {
    stages: HashMap<PlayerId, Stage>,
    /// The players to request, by the place that their [`Stage`] names.
    to_watch: BTreeMap<u64, PlayerId>,
    /// Players that the service watches although no subscription does. Disjoint from `stages`.
    to_unwatch: BTreeSet<PlayerId>,
    in_flight: Option<InFlight>,
    last_kind: RequestKind,
    next_place: u64,
    /// What is held of players is current once all places below this one are done.
    resumed_at: u64,
    next_id: u64,
    max_batch: usize,
    delays: ExponentialBackoff,
    ready_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// To be requested, at this place of the queue.
    Queued(u64),
    /// In the request that has no reply yet.
    Requested,
    /// The service watches it.
    Watched,
}

#[derive(Debug)]
struct InFlight {
    id: u64,
    kind: RequestKind,
    players: Vec<PlayerId>,
    /// The first of the places that its players had; for `unwatch` the end of the queue.
    place: u64,
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
            next_place: 0,
            resumed_at: 0,
            next_id: 0,
            max_batch: MAX_BATCH,
            delays: DELAYS.build(),
            ready_at: None,
        }
    }

    /// Adds a player.
    pub(super) fn add(&mut self, player: &PlayerId) {
        // The service is asked again also if it still watches the player: what it sent is no longer held.
        self.to_unwatch.remove(player);
        if !self.stages.contains_key(player) {
            self.enqueue(player.clone());
        }
    }

    /// Removes a player.
    pub(super) fn remove(&mut self, player: &PlayerId) {
        match self.stages.remove(player) {
            Some(Stage::Queued(place)) => _ = self.to_watch.remove(&place),
            Some(Stage::Requested | Stage::Watched) => _ = self.to_unwatch.insert(player.clone()),
            None => {}
        }
    }

    /// Begins with a new stream, on which the service watches nothing yet.
    pub(super) fn restart(&mut self) {
        self.in_flight = None;
        self.to_unwatch.clear();
        self.end_pause();
        let watched = self.stages.iter().filter(|(_, stage)| !matches!(stage, Stage::Queued(_)));
        let watched: Vec<_> = watched.map(|(player, _)| player.clone()).collect();
        watched.into_iter().for_each(|player| self.enqueue(player));
        self.resumed_at = self.next_place;
    }

    /// Whether the service has sent the presences of all players that were watched when the stream began.
    pub(super) fn is_resumed(&self) -> bool {
        let is_waiting_for_reply = self.in_flight.as_ref().is_some_and(|request| request.place < self.resumed_at);
        let is_queued = self.to_watch.first_key_value().is_some_and(|(place, _)| *place < self.resumed_at);
        !is_waiting_for_reply && !is_queued
    }

    /// The next request, if there is one to make now. `known` returns the version that is held of a player.
    pub(super) fn next(&mut self, now: Instant, known: impl Fn(&PlayerId) -> Option<u64>) -> Option<Request> {
        if self.in_flight.is_some() || self.ready_at.is_some_and(|ready_at| now < ready_at) {
            return None;
        }
        let kind = self.next_kind()?;
        let place = match (kind, self.to_watch.first_key_value()) {
            (RequestKind::Watch, Some((place, _))) => *place,
            _ => self.next_place,
        };
        let players = match kind {
            RequestKind::Watch => self.take_to_watch(),
            RequestKind::Unwatch => self.take_to_unwatch(),
        };
        self.last_kind = kind;
        self.next_id += 1;
        let known = match kind {
            RequestKind::Watch => players.iter().filter_map(|player| Some((player.clone(), known(player)?))).collect(),
            RequestKind::Unwatch => Vec::new(),
        };
        let due_at = now + REPLY_TIMEOUT;
        self.in_flight = Some(InFlight { id: self.next_id, kind, players: players.clone(), place, due_at });
        Some(Request { id: self.next_id, kind, players, known })
    }

    /// Takes turns, so that neither kind waits for the end of the other.
    fn next_kind(&self) -> Option<RequestKind> {
        match (self.to_watch.is_empty(), self.to_unwatch.is_empty(), self.last_kind) {
            (true, true, _) => None,
            (false, true, _) | (false, false, RequestKind::Unwatch) => Some(RequestKind::Watch),
            (true, false, _) | (false, false, RequestKind::Watch) => Some(RequestKind::Unwatch),
        }
    }

    fn take_to_watch(&mut self) -> Vec<PlayerId> {
        let batch: Vec<_> =
            std::iter::from_fn(|| self.to_watch.pop_first()).take(self.max_batch).map(|(_, player)| player).collect();
        for player in &batch {
            self.stages.insert(player.clone(), Stage::Requested);
        }
        batch
    }

    fn take_to_unwatch(&mut self) -> Vec<PlayerId> {
        std::iter::from_fn(|| self.to_unwatch.pop_first()).take(self.max_batch).collect()
    }

    /// Notes that a request is complete.
    pub(super) fn complete(&mut self, id: u64) {
        let Some(InFlight { kind: RequestKind::Watch, players, .. }) = self.take_in_flight(Some(id)) else { return };
        self.end_pause();
        for player in players {
            if let Some(stage @ Stage::Requested) = self.stages.get_mut(&player) {
                *stage = Stage::Watched;
            }
        }
    }

    /// Notes that the service refused a request: it is made again, later or with fewer players. `None` as the number
    /// means the request that is on its way.
    pub(super) fn refused(&mut self, id: Option<u64>, problem: &Problem, now: Instant) {
        let Some(InFlight { kind, players, place, .. }) = self.take_in_flight(id) else { return };
        let is_too_long = problem.slug == "invalid-request" && problem.field.as_deref() == Some(kind.member());
        if is_too_long && players.len() > 1 {
            self.max_batch = players.len() / 2;
        } else {
            self.ready_at = self.delays.next().map(|delay| now + delay);
        }
        for player in players {
            match (kind, self.stages.get(&player)) {
                (RequestKind::Watch, Some(Stage::Requested)) => self.enqueue(player),
                // The service does not watch it, so there is nothing to end.
                (RequestKind::Watch, _) => _ = self.to_unwatch.remove(&player),
                (RequestKind::Unwatch, None) => _ = self.to_unwatch.insert(player),
                (RequestKind::Unwatch, Some(_)) => {}
            }
        }
        // These players have later places now.
        if kind == RequestKind::Watch && place < self.resumed_at {
            self.resumed_at = self.next_place;
        }
    }

    /// When to ask for the next request, if nothing else happens before.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.in_flight.is_some() || self.next_kind().is_none() { None } else { self.ready_at }
    }

    /// When the reply to the request that is on its way is overdue.
    pub(super) fn reply_due_at(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|request| request.due_at)
    }

    /// The number of players that the service does not watch yet.
    pub(super) fn waiting(&self) -> usize {
        self.stages.values().filter(|stage| **stage != Stage::Watched).count()
    }

    /// Whether there are no players.
    pub(super) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    fn enqueue(&mut self, player: PlayerId) {
        self.stages.insert(player.clone(), Stage::Queued(self.next_place));
        self.to_watch.insert(self.next_place, player);
        self.next_place += 1;
    }

    fn take_in_flight(&mut self, id: Option<u64>) -> Option<InFlight> {
        self.in_flight.take_if(|request| id.is_none_or(|id| id == request.id))
    }

    fn end_pause(&mut self) {
        self.ready_at = None;
        self.delays = DELAYS.build();
    }
}

#[cfg(test)]
mod tests;
