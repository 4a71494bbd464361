//! What is still to be told about all players.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Stats,
    agenda::Agenda,
    beats::Beats,
    call::{Connection, Kind, Notice, Task},
    lane::Lane,
    outcome::Verdict,
};
use crate::{Activity, ConnectionId, PlayerId, Reason, State};

/// How long news may wait for other news that can share its call.
const LINGER: Duration = Duration::from_millis(5);

/// The lanes of the players, where they wait for their turns, and the heartbeats.
#[derive(Debug)]
pub(super) struct Players {
    lanes: HashMap<PlayerId, Lane>,
    /// Players whose lanes are empty, and are kept until their next activity need not wait.
    leaving: HashSet<PlayerId>,
    /// By the kind of the lane's first task. That of the heartbeats stays empty.
    waiting: [Agenda<PlayerId>; Kind::ALL.len()],
    pub(super) beats: Beats,
    /// How long a lease lasts.
    pub(super) ttl: Duration,
}

/// The end of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settlement {
    pub(super) sent_at: Instant,
    pub(super) now: Instant,
    /// When tasks are sent again that the service could not see to.
    pub(super) again_at: Instant,
}

impl Players {
    pub(super) fn new(beats: Beats, ttl: Duration) -> Self {
        Self {
            lanes: HashMap::new(),
            leaving: HashSet::new(),
            waiting: std::array::from_fn(|_| Agenda::new()),
            beats,
            ttl,
        }
    }

    pub(super) fn connected(&mut self, player: &PlayerId, id: &ConnectionId, now: Instant) {
        self.lanes.entry(player.clone()).or_default().connect(id, now);
        self.place(player, now + LINGER);
    }

    pub(super) fn state_changed(&mut self, player: &PlayerId, state: State, now: Instant) {
        self.lanes.entry(player.clone()).or_default().set_state(state, now);
        self.place(player, now + LINGER);
    }

    /// An OFFLINE player can have no activity: that of a player without an open connection here is not sent.
    pub(super) fn activity_changed(&mut self, player: &PlayerId, activity: Option<Activity>, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(player)
            && lane.set_activity(activity)
        {
            self.place(player, now + LINGER);
        }
    }

    pub(super) fn disconnected(&mut self, player: &PlayerId, id: &ConnectionId, reason: Reason, now: Instant) {
        let Some(lane) = self.lanes.get_mut(player) else { return };
        if let Some(beat) = lane.disconnect(id, reason, now) {
            self.beats.remove(beat);
        }
        self.place(player, now + LINGER);
    }

    /// When tasks of the kind are to be told.
    pub(super) fn ready_at(&self, kind: Kind, max_batch: usize) -> Option<Instant> {
        match kind {
            Kind::Beat => self.beats.next_at(max_batch),
            _ => self.waiting[kind as usize].first_at(),
        }
    }

    /// Takes tasks of the kind, to tell them now.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        max_batch: usize,
        now: Instant,
        stats: &mut Stats,
    ) -> Vec<(PlayerId, Task)> {
        if kind == Kind::Beat {
            return self.take_beats(max_batch, now, stats);
        }
        let most = if kind.has_batches() { max_batch } else { 1 };
        let mut tasks = Vec::new();
        while tasks.len() < most
            && let Some((_, player)) = self.waiting[kind as usize].pop(now + LINGER)
        {
            let Some(lane) = self.lanes.get_mut(&player) else { continue };
            lane.place = None;
            if let Some((task, was_sent)) = lane.start(now) {
                stats.retries += u64::from(was_sent);
                tasks.push((player, task));
            }
        }
        tasks
    }

    /// A call with the task ended. Returns what the gateway is to be notified of.
    pub(super) fn settle(&mut self, player: PlayerId, task: &Task, verdict: Verdict, at: Settlement) -> Option<Notice> {
        let lane = self.lanes.get_mut(&player)?;
        match (task, verdict) {
            (Task::Beat(_), _) => {}
            (Task::SetActivity(_), Verdict::Again) => lane.put_activity_back(),
            (Task::SetActivity(_), _) => lane.finish_activity(matches!(verdict, Verdict::Refused | Verdict::Invalid)),
            (_, Verdict::Again) => lane.put_back(),
            (_, _) => lane.finish(),
        }
        if let (Task::Connect(id) | Task::Beat(id), Verdict::Done | Verdict::Restored) = (task, verdict) {
            lane.renewed(id, at.sent_at, self.ttl, at.now);
        }
        let mut notice = None;
        match (task, verdict) {
            (Task::Beat(id), Verdict::Again) => {
                if let Some(Some(beat)) = lane.beat_mut(id) {
                    *beat = self.beats.again(*beat, Connection::new(&player, id), at.again_at);
                }
            }
            (Task::Beat(id), Verdict::Restored) => {
                lane.report_state_again(at.now);
                notice = lane.beat_mut(id).map(|_| Notice::Restored(Connection::new(&player, id)));
            }
            // A connect that the service refused is made up for by the next heartbeat.
            (Task::Connect(id), Verdict::Done | Verdict::Restored | Verdict::Refused) => {
                if let Some(beat) = lane.beat_mut(id) {
                    *beat = Some(self.beats.add(Connection::new(&player, id), at.sent_at, at.now));
                }
            }
            (Task::Connect(id) | Task::Beat(id), Verdict::Closed | Verdict::Invalid) => {
                if let Some(beat) = lane.forget(id) {
                    beat.into_iter().for_each(|beat| self.beats.remove(beat));
                    if verdict == Verdict::Closed {
                        lane.forget_state();
                        notice = Some(Notice::Closed(Connection::new(&player, id)));
                    }
                }
            }
            _ => {}
        }
        self.place(&player, if verdict == Verdict::Again { at.again_at } else { at.now });
        notice
    }

    /// Gives up the tasks that have waited since `oldest` or longer. Returns how many.
    pub(super) fn give_up(&mut self, oldest: Instant, now: Instant) -> u64 {
        let is_old = |player: &&PlayerId| self.lanes.get(*player).and_then(|lane| lane.waiting_since(oldest)).is_some();
        let players: Vec<_> = self.waiting.iter().flat_map(Agenda::iter).filter(is_old).cloned().collect();
        let given_up = players.into_iter().map(|player| self.give_up_of(player, oldest, now));
        given_up.sum()
    }

    /// Forgets the players whose lanes were kept for their activity alone.
    pub(super) fn forget_leaving(&mut self, now: Instant) {
        for player in std::mem::take(&mut self.leaving) {
            self.remove_empty(&player, now);
        }
    }

    fn give_up_of(&mut self, player: PlayerId, oldest: Instant, now: Instant) -> u64 {
        let at = Settlement { sent_at: now, now, again_at: now };
        let mut given_up = 0;
        while let Some(lane) = self.lanes.get_mut(&player)
            && let Some(task) = lane.waiting_since(oldest).cloned()
        {
            if lane.keep_state(now) {
                self.place(&player, now);
            } else {
                self.settle(player.clone(), &task, Verdict::Refused, at);
                given_up += 1;
            }
        }
        given_up
    }

    /// Forgets all open connections: the service has ended their leases.
    pub(super) fn forget_open(&mut self, now: Instant) {
        for Connection { player_id, connection_id } in self.open() {
            let Some(lane) = self.lanes.get_mut(&player_id) else { continue };
            if let Some(Some(beat)) = lane.forget(&connection_id) {
                self.beats.remove(beat);
            }
            lane.forget_state();
            self.place(&player_id, now);
        }
    }

    /// Whether no call other than heartbeats waits to be made.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.iter().all(|agenda| agenda.len() == 0)
    }

    /// All open connections.
    pub(super) fn open(&self) -> Vec<Connection> {
        let connections =
            self.lanes.iter().flat_map(|(player, lane)| lane.open().map(|id| Connection::new(player, id)));
        connections.collect()
    }

    /// The number of open connections, and of tasks that wait or are being told, heartbeats apart.
    pub(super) fn count(&self) -> (usize, usize) {
        let lanes = self.lanes.values();
        lanes.fold((0, 0), |(open, tasks), lane| (open + lane.open().count(), tasks + lane.tasks()))
    }

    /// Whether no connection is open, and all was told.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    fn take_beats(&mut self, max_batch: usize, now: Instant, stats: &mut Stats) -> Vec<(PlayerId, Task)> {
        let (connections, missed) = self.beats.take(max_batch, now);
        stats.dropped += missed;
        for connection in &connections {
            let lane = self.lanes.get_mut(&connection.player_id);
            if let Some(beat) = lane.and_then(|lane| lane.beat_mut(&connection.connection_id)) {
                *beat = Some(self.beats.add(connection.clone(), now, now));
            }
        }
        connections.into_iter().map(|connection| (connection.player_id, Task::Beat(connection.connection_id))).collect()
    }

    /// Has the lane wait where its first task says; from `at` on, if it did not wait there already.
    fn place(&mut self, player: &PlayerId, at: Instant) {
        let Some(lane) = self.lanes.get_mut(player) else { return };
        let next = lane.next(at);
        let kind = next.map(|(kind, _)| kind);
        if lane.place.map(|(kind, _)| kind) != kind
            && let Some((kind, ticket)) = lane.place.take()
        {
            self.waiting[kind as usize].remove(ticket);
        }
        match next {
            Some((kind, at)) if lane.place.is_none() => {
                lane.place = Some((kind, self.waiting[kind as usize].add(at, player.clone())));
            }
            None if lane.is_empty() => self.remove_empty(player, at),
            _ => {}
        }
    }

    /// Removes the player's lane if it is empty, or keeps it until the player's next activity need not wait.
    fn remove_empty(&mut self, player: &PlayerId, now: Instant) {
        let Some(lane) = self.lanes.get(player).filter(|lane| lane.is_empty()) else { return };
        if lane.has_recent_activity(now) {
            self.leaving.insert(player.clone());
        } else {
            self.lanes.remove(player);
        }
    }
}
