//! Queues of all players, and their order: which player's task is sent when.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Stats,
    call::{Connection, Notice, Task, TaskKind},
    heartbeats::HeartbeatSchedule,
    outcome::EntryOutcome,
    player_queue::PlayerQueue,
    timer_queue::TimerQueue,
};
use crate::{Activity, ConnectionId, PlayerId, Reason, State};

/// How long a task may wait for others that can share its call.
const LINGER: Duration = Duration::from_millis(5);

/// One queue per player, the order in which these queues are served, and the schedule of the
/// heartbeats.
#[derive(Debug)]
pub(super) struct Players {
    queues: HashMap<PlayerId, PlayerQueue>,
    /// Players whose empty queues are kept for a while, since the rate of activity changes also
    /// holds for a player who reconnects.
    rate_limited: HashSet<PlayerId>,
    /// The players whose first task waits, by the kind of that task. The queue for heartbeats stays
    /// empty.
    waiting: [TimerQueue<PlayerId>; TaskKind::ALL.len()],
    pub(super) heartbeats: HeartbeatSchedule,
    /// How long a lease lasts.
    pub(super) ttl: Duration,
}

/// The tasks of one call that is due.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) tasks: Vec<(PlayerId, Task)>,
    /// When the oldest task was due.
    pub(super) due_at: Instant,
}

/// The times that count when a call has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallTimes {
    pub(super) sent_at: Instant,
    pub(super) now: Instant,
    /// When the entries that failed are sent again.
    pub(super) retry_at: Instant,
}

impl Players {
    pub(super) fn new(heartbeats: HeartbeatSchedule, ttl: Duration) -> Self {
        Self {
            queues: HashMap::new(),
            rate_limited: HashSet::new(),
            waiting: std::array::from_fn(|_| TimerQueue::new()),
            heartbeats,
            ttl,
        }
    }

    pub(super) fn connected(&mut self, player: &PlayerId, id: &ConnectionId, now: Instant) {
        self.queues
            .entry(player.clone())
            .or_default()
            .connect(id, now);
        self.schedule(player, now + LINGER);
    }

    pub(super) fn state_changed(&mut self, player: &PlayerId, state: State, now: Instant) {
        self.queues
            .entry(player.clone())
            .or_default()
            .set_state(state, now);
        self.schedule(player, now + LINGER);
    }

    /// Queues an activity, unless the player has no open connection here: an OFFLINE player can
    /// have no activity.
    pub(super) fn activity_changed(
        &mut self,
        player: &PlayerId,
        activity: Option<Activity>,
        now: Instant,
    ) {
        if let Some(queue) = self.queues.get_mut(player)
            && queue.set_activity(activity)
        {
            self.schedule(player, now + LINGER);
        }
    }

    pub(super) fn disconnected(
        &mut self,
        player: &PlayerId,
        id: &ConnectionId,
        reason: Reason,
        now: Instant,
    ) {
        let Some(queue) = self.queues.get_mut(player) else {
            return;
        };
        if let Some(heartbeat) = queue.disconnect(id, reason, now) {
            self.heartbeats.cancel(heartbeat);
        }
        self.schedule(player, now + LINGER);
    }

    /// When the next call of the kind is due; `None` if there is nothing to send.
    pub(super) fn ready_at(&self, kind: TaskKind, max_batch: usize) -> Option<Instant> {
        match kind {
            TaskKind::Heartbeat => self.heartbeats.next_at(max_batch),
            _ => self.waiting[kind as usize].next_at(),
        }
    }

    /// Takes the tasks of the next call of the kind, to be sent now.
    pub(super) fn take(
        &mut self,
        kind: TaskKind,
        max_batch: usize,
        now: Instant,
        stats: &mut Stats,
    ) -> Due {
        if kind == TaskKind::Heartbeat {
            return self.take_heartbeats(max_batch, now, stats);
        }
        let limit = if kind.is_batched() { max_batch } else { 1 };
        let mut due = Due {
            tasks: Vec::new(),
            due_at: now,
        };
        // Tasks that still linger join a call that is made anyway.
        while due.tasks.len() < limit
            && let Some((_, player)) = self.waiting[kind as usize].pop(now + LINGER)
        {
            let Some(queue) = self.queues.get_mut(&player) else {
                continue;
            };
            queue.slot = None;
            if let Some(started) = queue.start(now) {
                stats.retries += u64::from(started.was_sent);
                due.due_at = due.due_at.min(started.due_at);
                due.tasks.push((player, started.task));
            }
        }
        due
    }

    /// Applies the outcome of a call to one of its tasks. Returns what the gateway has to be
    /// notified of.
    pub(super) fn settle(
        &mut self,
        player: PlayerId,
        task: &Task,
        outcome: EntryOutcome,
        times: CallTimes,
    ) -> Option<Notice> {
        let queue = self.queues.get_mut(&player)?;
        queue.settle(task, outcome);
        if let (
            Task::Connect(id) | Task::Heartbeat(id),
            EntryOutcome::Applied | EntryOutcome::Restored,
        ) = (task, outcome)
        {
            queue.lease_renewed(id, times.sent_at, self.ttl, times.now);
        }
        let notice = self.settle_heartbeat(&player, task, outcome, times);
        let earliest = if outcome == EntryOutcome::Retry {
            times.retry_at
        } else {
            times.now
        };
        self.schedule(&player, earliest);
        notice
    }

    /// Schedules, retries or cancels the next heartbeat of a task's connection. Returns what the
    /// gateway has to be notified of.
    fn settle_heartbeat(
        &mut self,
        player: &PlayerId,
        task: &Task,
        outcome: EntryOutcome,
        times: CallTimes,
    ) -> Option<Notice> {
        let queue = self.queues.get_mut(player)?;
        let mut notice = None;
        match (task, outcome) {
            (Task::Heartbeat(id), EntryOutcome::Retry) => {
                if let Some(Some(heartbeat)) = queue.heartbeat_mut(id) {
                    let connection = Connection::new(player, id);
                    *heartbeat = self
                        .heartbeats
                        .retry(*heartbeat, connection, times.retry_at);
                }
            }
            (Task::Heartbeat(id), EntryOutcome::Restored) => {
                queue.report_state_again(times.now);
                notice = queue
                    .heartbeat_mut(id)
                    .map(|_| Notice::Restored(Connection::new(player, id)));
            }
            // If the service refused the connect, the next heartbeat opens the connection.
            (
                Task::Connect(id),
                EntryOutcome::Applied | EntryOutcome::Restored | EntryOutcome::Refused,
            ) => {
                if let Some(heartbeat) = queue.heartbeat_mut(id) {
                    let connection = Connection::new(player, id);
                    *heartbeat = Some(self.heartbeats.schedule(
                        connection,
                        times.sent_at,
                        times.now,
                    ));
                }
            }
            (
                Task::Connect(id) | Task::Heartbeat(id),
                EntryOutcome::Closed | EntryOutcome::Invalid,
            ) => {
                if let Some(heartbeat) = queue.remove_connection(id) {
                    heartbeat
                        .into_iter()
                        .for_each(|heartbeat| self.heartbeats.cancel(heartbeat));
                    if outcome == EntryOutcome::Closed {
                        queue.forget_state();
                        notice = Some(Notice::Closed(Connection::new(player, id)));
                    }
                }
            }
            _ => {}
        }
        notice
    }

    /// Gives up the tasks that were queued at `oldest` or earlier. Returns how many.
    pub(super) fn give_up(&mut self, oldest: Instant, now: Instant) -> u64 {
        let has_old_task = |player: &&PlayerId| {
            let queue = self.queues.get(*player);
            queue
                .and_then(|queue| queue.waiting_since(oldest))
                .is_some()
        };
        let waiting = self.waiting.iter().flat_map(TimerQueue::iter);
        let players: Vec<_> = waiting.filter(has_old_task).cloned().collect();
        players
            .into_iter()
            .map(|player| self.give_up_tasks_of(player, oldest, now))
            .sum()
    }

    /// Removes the empty queues that were kept for the rate of activity changes and are no longer
    /// needed.
    pub(super) fn remove_rate_limited(&mut self, now: Instant) {
        for player in std::mem::take(&mut self.rate_limited) {
            self.remove_empty(&player, now);
        }
    }

    fn give_up_tasks_of(&mut self, player: PlayerId, oldest: Instant, now: Instant) -> u64 {
        let times = CallTimes {
            sent_at: now,
            now,
            retry_at: now,
        };
        let mut given_up = 0;
        while let Some(queue) = self.queues.get_mut(&player)
            && let Some(task) = queue.waiting_since(oldest).cloned()
        {
            if queue.postpone_state(now) {
                self.schedule(&player, now);
            } else {
                self.settle(player.clone(), &task, EntryOutcome::Refused, times);
                given_up += 1;
            }
        }
        given_up
    }

    /// Forgets all open connections, since the service has ended their leases.
    pub(super) fn forget_open(&mut self, now: Instant) {
        for Connection {
            player_id,
            connection_id,
        } in self.open()
        {
            let Some(queue) = self.queues.get_mut(&player_id) else {
                continue;
            };
            if let Some(Some(heartbeat)) = queue.remove_connection(&connection_id) {
                self.heartbeats.cancel(heartbeat);
            }
            queue.forget_state();
            self.schedule(&player_id, now);
        }
    }

    /// Whether no task waits to be sent, heartbeats aside.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.iter().all(TimerQueue::is_empty)
    }

    /// All open connections.
    pub(super) fn open(&self) -> Vec<Connection> {
        let queues = self.queues.iter();
        queues
            .flat_map(|(player, queue)| queue.open().map(|id| Connection::new(player, id)))
            .collect()
    }

    /// The number of open connections, and the number of tasks that wait or are in flight,
    /// heartbeats aside.
    pub(super) fn count(&self) -> (usize, usize) {
        let queues = self.queues.values();
        queues.fold((0, 0), |(open, tasks), queue| {
            (open + queue.open().count(), tasks + queue.task_count())
        })
    }

    /// Whether no connection is open and no task waits or is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    fn take_heartbeats(&mut self, max_batch: usize, now: Instant, stats: &mut Stats) -> Due {
        let due_at = self
            .heartbeats
            .next_at(max_batch)
            .map_or(now, |next_at| next_at.min(now));
        let (connections, missed) = self.heartbeats.take_due(max_batch, now);
        stats.dropped += missed;
        // The next heartbeat is due one interval after this one, whatever the outcome of this one.
        for connection in &connections {
            let queue = self.queues.get_mut(&connection.player_id);
            if let Some(heartbeat) =
                queue.and_then(|queue| queue.heartbeat_mut(&connection.connection_id))
            {
                *heartbeat = Some(self.heartbeats.schedule(connection.clone(), now, now));
            }
        }
        let tasks = connections.into_iter().map(|connection| {
            (
                connection.player_id,
                Task::Heartbeat(connection.connection_id),
            )
        });
        Due {
            tasks: tasks.collect(),
            due_at,
        }
    }

    /// Updates the player's slot to the kind of the first task. A queue that waits for a call of
    /// that kind already keeps its slot; otherwise its call is made at `earliest` or later.
    fn schedule(&mut self, player: &PlayerId, earliest: Instant) {
        let Some(queue) = self.queues.get_mut(player) else {
            return;
        };
        let next = queue.next_call(earliest);
        let kind = next.map(|(kind, _)| kind);
        // The queue no longer waits for a call of the previous kind.
        if queue.slot.map(|(kind, _)| kind) != kind
            && let Some((kind, key)) = queue.slot.take()
        {
            self.waiting[kind as usize].remove(key);
        }
        match next {
            Some((kind, due_at)) if queue.slot.is_none() => {
                let key = self.waiting[kind as usize].insert(due_at, player.clone());
                queue.slot = Some((kind, key));
            }
            None if queue.is_empty() => self.remove_empty(player, earliest),
            _ => {}
        }
    }

    /// Removes the player's queue if it is empty, unless it has to limit the rate of activity
    /// changes for a while.
    fn remove_empty(&mut self, player: &PlayerId, now: Instant) {
        let Some(queue) = self.queues.get(player).filter(|queue| queue.is_empty()) else {
            return;
        };
        if queue.has_recent_activity(now) {
            self.rate_limited.insert(player.clone());
        } else {
            self.queues.remove(player);
        }
    }
}
