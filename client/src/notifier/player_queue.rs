//! Queue of one player: the open connections and the tasks that the service has not confirmed yet.
//!
//! First in, first out, one call at a time, so that the service receives what happens to a player
//! in order.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    activity::LatestActivity,
    call::{Task, TaskKind},
    heartbeats::Heartbeat,
    outcome::EntryOutcome,
    timer_queue::TimerKey,
};
use crate::{Activity, ConnectionId, Reason, State};

/// The queue of one player. It has at most two tasks per connection, three about the state, and one
/// about the activity.
#[derive(Debug, Default)]
pub(super) struct PlayerQueue {
    open: Vec<OpenConnection>,
    pending: VecDeque<PendingTask>,
    /// The last state that the gateway reported. It is reported again if the service loses the
    /// player's record.
    state: Option<State>,
    activity: LatestActivity,
    /// Whether a call with the first pending task is in flight.
    is_in_flight: bool,
    /// Where the queue waits until its first task can be sent.
    pub(super) slot: Option<(TaskKind, TimerKey)>,
}

#[derive(Debug)]
struct OpenConnection {
    id: ConnectionId,
    /// The next heartbeat. `None` until the service has responded to the connect.
    heartbeat: Option<Heartbeat>,
    /// When the latest call was sent that renewed the lease.
    renewed_at: Option<Instant>,
}

#[derive(Debug)]
struct PendingTask {
    task: Task,
    queued_at: Instant,
    was_sent: bool,
}

/// The first task of a queue, which is sent now.
#[derive(Debug)]
pub(super) struct StartedTask {
    pub(super) task: Task,
    pub(super) was_sent: bool,
    /// When it was due.
    pub(super) due_at: Instant,
}

impl PlayerQueue {
    pub(super) fn connect(&mut self, id: &ConnectionId, now: Instant) {
        if !self.is_open(id) {
            self.open.push(OpenConnection {
                id: id.clone(),
                heartbeat: None,
                renewed_at: None,
            });
            self.push(Task::Connect(id.clone()), now);
        }
    }

    /// Queues a state. It replaces a state that still waits, but not a sign-out, which also closes
    /// connections.
    pub(super) fn set_state(&mut self, state: State, now: Instant) {
        self.remove_waiting(|task| match task {
            Task::SetState(State::Offline) => state == State::Offline,
            Task::SetState(_) => true,
            _ => false,
        });
        self.state = (state != State::Offline).then_some(state);
        if state == State::Offline {
            self.activity.forget();
        }
        self.push(Task::SetState(state), now);
    }

    /// Sets the activity in place of one that still waits. Returns whether it will be sent: only if
    /// the player has an open connection, since an OFFLINE player can have no activity.
    pub(super) fn set_activity(&mut self, activity: Option<Activity>) -> bool {
        let is_connected = !self.open.is_empty();
        if is_connected {
            self.activity.set(activity);
        }
        is_connected
    }

    /// Records that a call sent at `sent_at` renewed a connection's lease.
    ///
    /// If no lease of the player was valid before, the service may have lost the player's record
    /// and with it the state, even if no response said so (it may have been lost). The state is
    /// then reported again.
    pub(super) fn lease_renewed(
        &mut self,
        id: &ConnectionId,
        sent_at: Instant,
        ttl: Duration,
        now: Instant,
    ) {
        let has_lease = |open: &OpenConnection| {
            open.renewed_at
                .is_some_and(|renewed_at| now < renewed_at + ttl)
        };
        if !self.open.iter().any(has_lease) {
            self.report_state_again(now);
        }
        if let Some(open) = self.open.iter_mut().find(|open| open.id == *id) {
            open.renewed_at = open.renewed_at.max(Some(sent_at));
        }
    }

    /// Reports state and activity again, unless newer ones wait, since the service lost the
    /// player's record.
    pub(super) fn report_state_again(&mut self, now: Instant) {
        self.activity.report_again();
        if let Some(state) = self.state
            && self.waiting_state().is_none()
        {
            self.push(Task::SetState(state), now);
        }
    }

    /// Moves the first task to the end, as if it had been queued now, if it is the current state of
    /// a connected player. Returns whether it was moved. So a state that cannot be reported is kept
    /// while it is current, and delays no other task.
    pub(super) fn postpone_state(&mut self, now: Instant) -> bool {
        let is_current_state = |pending: &PendingTask| matches!(pending.task, Task::SetState(state) if Some(state) == self.state);
        if self.open.is_empty() || !self.pending.front().is_some_and(is_current_state) {
            return false;
        }
        self.pending.rotate_left(1);
        if let Some(last) = self.pending.back_mut() {
            last.queued_at = now;
        }
        true
    }

    /// Queues a disconnect, unless the connect was never sent. Returns the heartbeat to cancel.
    pub(super) fn disconnect(
        &mut self,
        id: &ConnectionId,
        reason: Reason,
        now: Instant,
    ) -> Option<Heartbeat> {
        let heartbeat = self.remove_connection(id)?;
        if self.open.is_empty() {
            self.state = None;
            self.activity.forget();
        }
        let connect = Task::Connect(id.clone());
        let waiting = self.first_waiting()..self.pending.len();
        let connect_index = waiting
            .into_iter()
            .find(|&index| self.pending[index].task == connect);
        let was_never_sent = connect_index.is_some_and(|index| !self.pending[index].was_sent);
        if let Some(index) = connect_index {
            self.pending.remove(index);
            self.repair_order(index);
        }
        if !was_never_sent {
            self.push(Task::Disconnect(id.clone(), reason), now);
        }
        heartbeat
    }

    /// Forgets state and activity after the service closed a connection, as it does with all
    /// connections of a player who is signed out. A state that still waits is kept.
    pub(super) fn forget_state(&mut self) {
        self.activity.forget();
        self.state = self
            .waiting_state()
            .filter(|state| *state != State::Offline);
    }

    /// Removes a connection that the service refused or closed. Returns its heartbeat, to be
    /// canceled; `None` if the connection was not open.
    pub(super) fn remove_connection(&mut self, id: &ConnectionId) -> Option<Option<Heartbeat>> {
        let index = self.open.iter().position(|open| open.id == *id)?;
        Some(self.open.swap_remove(index).heartbeat)
    }

    /// The next heartbeat of an open connection; `None` if the connection is not open.
    pub(super) fn heartbeat_mut(&mut self, id: &ConnectionId) -> Option<&mut Option<Heartbeat>> {
        self.open
            .iter_mut()
            .find(|open| open.id == *id)
            .map(|open| &mut open.heartbeat)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &ConnectionId> {
        self.open.iter().map(|open| &open.id)
    }

    /// The kind and the earliest time of the next call, which is not made before `earliest`. `None`
    /// while a call is in flight, or if there is nothing to send. The activity comes after all
    /// other tasks.
    pub(super) fn next_call(&self, earliest: Instant) -> Option<(TaskKind, Instant)> {
        match self.pending.front() {
            _ if self.has_call_in_flight() => None,
            Some(first) => Some((first.task.kind(), earliest)),
            None => self
                .activity
                .ready_at(earliest)
                .map(|ready_at| (TaskKind::SetActivity, ready_at)),
        }
    }

    /// The first task, if it waits and was queued at `oldest` or earlier.
    pub(super) fn waiting_since(&self, oldest: Instant) -> Option<&Task> {
        let first = self
            .pending
            .front()
            .filter(|first| first.queued_at <= oldest && !self.has_call_in_flight())?;
        Some(&first.task)
    }

    /// Returns the first task, to be sent now. An activity is delayed by design, so it counts as
    /// due now.
    pub(super) fn start(&mut self, now: Instant) -> Option<StartedTask> {
        let Some(first) = self.pending.front_mut() else {
            let (activity, was_sent) = self.activity.start(now)?;
            return Some(StartedTask {
                task: Task::SetActivity(activity),
                was_sent,
                due_at: now,
            });
        };
        self.is_in_flight = true;
        let was_sent = std::mem::replace(&mut first.was_sent, true);
        Some(StartedTask {
            task: first.task.clone(),
            was_sent,
            due_at: first.queued_at,
        })
    }

    /// Records the outcome of the call with `task`: the task leaves the queue, or is sent again.
    pub(super) fn settle(&mut self, task: &Task, outcome: EntryOutcome) {
        use EntryOutcome::{Invalid, Refused, Retry};
        match (task, outcome) {
            (Task::Heartbeat(_), _) => {} // heartbeats are not in the queue
            (Task::SetActivity(_), Retry) => self.activity.requeue(),
            (Task::SetActivity(_), _) => self.activity.finish(matches!(outcome, Refused | Invalid)),
            (_, Retry) => self.requeue(),
            (_, _) => {
                self.is_in_flight = false;
                self.pending.pop_front();
            }
        }
    }

    /// Keeps the first task, to be sent again, unless it is a connect whose disconnect waits behind
    /// it.
    fn requeue(&mut self) {
        self.is_in_flight = false;
        if let Some(PendingTask {
            task: Task::Connect(id),
            ..
        }) = self.pending.front()
            && !self.is_open(id)
        {
            self.pending.pop_front();
            self.repair_order(0);
        }
    }

    /// The number of tasks that wait or are in flight.
    pub(super) fn task_count(&self) -> usize {
        self.pending.len() + self.activity.task_count()
    }

    /// Whether there is neither an open connection nor a task.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.pending.is_empty() && !self.activity.is_in_flight()
    }

    /// Whether the activity changed so recently that the next change has to wait, even if the
    /// player reconnects first.
    pub(super) fn has_recent_activity(&self, now: Instant) -> bool {
        self.activity.is_recent(now)
    }

    fn has_call_in_flight(&self) -> bool {
        self.is_in_flight || self.activity.is_in_flight()
    }

    fn is_open(&self, id: &ConnectionId) -> bool {
        self.open().any(|open| open == id)
    }

    fn push(&mut self, task: Task, now: Instant) {
        self.pending.push_back(PendingTask {
            task,
            queued_at: now,
            was_sent: false,
        });
    }

    /// Repairs the order after a connect at `index` was removed. The states that follow it need
    /// another connection: without one the service would reject them, or make a player ONLINE or
    /// AWAY who is not connected.
    fn repair_order(&mut self, index: usize) {
        // The states end at the next task of another kind, or at a sign-out, which needs no
        // connection.
        let needs_connection = |pending: &PendingTask| matches!(pending.task, Task::SetState(state) if state != State::Offline);
        let next = (index..self.pending.len()).find(|&next| !needs_connection(&self.pending[next]));
        let next_connect = next.filter(|&next| matches!(self.pending[next].task, Task::Connect(_)));
        if let Some(connect) = next_connect {
            // Connects of different connections may change places, so this one moves in front of
            // the states.
            if let Some(connect) = self.pending.remove(connect) {
                self.pending.insert(index, connect);
            }
            return;
        }
        // A connection counts if its connect does not follow: then the service receives that before
        // the states.
        let has_connection = self.open().any(|id| {
            let connect = Task::Connect(id.clone());
            !self
                .pending
                .range(index..)
                .any(|pending| pending.task == connect)
        });
        if !has_connection {
            self.pending
                .drain(index..next.unwrap_or(self.pending.len()));
        }
    }

    /// Removes matching tasks, except one that is in flight.
    fn remove_waiting(&mut self, is_obsolete: impl Fn(&Task) -> bool) {
        let first_waiting = self.first_waiting();
        let mut index = 0;
        self.pending.retain(|pending| {
            let is_waiting = index >= first_waiting;
            index += 1;
            !(is_waiting && is_obsolete(&pending.task))
        });
    }

    /// The newest state that waits to be sent.
    fn waiting_state(&self) -> Option<State> {
        self.pending
            .iter()
            .skip(self.first_waiting())
            .rev()
            .find_map(|pending| match pending.task {
                Task::SetState(state) => Some(state),
                _ => None,
            })
    }

    /// The index of the first task that is not in flight.
    fn first_waiting(&self) -> usize {
        usize::from(self.is_in_flight)
    }
}
