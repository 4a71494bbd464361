//! One player's connections, and what is still to be told about the player: first in, first out, one call at a time.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    activity::LatestActivity,
    agenda::Ticket,
    beats::Beat,
    call::{Kind, Task},
};
use crate::{Activity, ConnectionId, Reason, State};

/// A lane has at most two tasks per connection, three about the state, and one about the activity.
#[derive(Debug, Default)]
pub(super) struct Lane {
    open: Vec<Open>,
    work: VecDeque<Work>,
    /// The last state that the gateway reported: the service has to be told again if it loses the player's record.
    state: Option<State>,
    activity: LatestActivity,
    /// The first task is being told.
    is_under_way: bool,
    /// Where the lane waits for its first task to be told.
    pub(super) place: Option<(Kind, Ticket)>,
}

#[derive(Debug)]
struct Open {
    id: ConnectionId,
    /// The next heartbeat, from when on the service was told of the connection.
    beat: Option<Beat>,
    /// When the last call was sent by which the service renewed the lease.
    renewed_at: Option<Instant>,
}

#[derive(Debug)]
struct Work {
    task: Task,
    since: Instant,
    was_sent: bool,
}

impl Lane {
    pub(super) fn connect(&mut self, id: &ConnectionId, now: Instant) {
        if !self.is_open(id) {
            self.open.push(Open { id: id.clone(), beat: None, renewed_at: None });
            self.push(Task::Connect(id.clone()), now);
        }
    }

    /// The latest state replaces one that still waits, but no sign-out: that closes connections, too.
    pub(super) fn set_state(&mut self, state: State, now: Instant) {
        self.drop_from(self.waiting_from(), |task| match task {
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

    /// The latest activity replaces one that still waits. Returns whether it is to be sent: only of a player who is
    /// connected, as an OFFLINE player can have none.
    pub(super) fn set_activity(&mut self, activity: Option<Activity>) -> bool {
        if !self.open.is_empty() {
            self.activity.set(activity);
        }
        !self.open.is_empty()
    }

    /// The service renewed a connection's lease by a call that was sent at `sent_at`. If it had no lease of the player
    /// left before, it may have lost the player's record and with it the state, also if the answer that said so did not
    /// arrive: that is reported again.
    pub(super) fn renewed(&mut self, id: &ConnectionId, sent_at: Instant, ttl: Duration, now: Instant) {
        let has_lease = |open: &Open| open.renewed_at.is_some_and(|renewed_at| now < renewed_at + ttl);
        if !self.open.iter().any(has_lease) {
            self.report_state_again(now);
        }
        if let Some(open) = self.open.iter_mut().find(|open| open.id == *id) {
            open.renewed_at = open.renewed_at.max(Some(sent_at));
        }
    }

    /// The service lost the player's record: state and activity are reported again, unless newer ones wait anyway.
    pub(super) fn report_state_again(&mut self, now: Instant) {
        self.activity.report_again();
        if let Some(state) = self.state
            && self.waiting_state().is_none()
        {
            self.push(Task::SetState(state), now);
        }
    }

    /// Has the first task wait behind the others, for as long as any, if it is the state of a player who is connected.
    /// So a state that cannot be reported is not given up while it is true, and holds up nothing.
    pub(super) fn keep_state(&mut self, now: Instant) -> bool {
        let is_state = |work: &Work| matches!(work.task, Task::SetState(state) if Some(state) == self.state);
        if self.open.is_empty() || !self.work.front().is_some_and(is_state) {
            return false;
        }
        self.work.rotate_left(1);
        if let Some(work) = self.work.back_mut() {
            work.since = now;
        }
        true
    }

    /// Returns the heartbeat that is now needless. Of a connection of which the service was never told, nothing is.
    pub(super) fn disconnect(&mut self, id: &ConnectionId, reason: Reason, now: Instant) -> Option<Beat> {
        let index = self.open.iter().position(|open| open.id == *id)?;
        let beat = self.open.swap_remove(index).beat;
        if self.open.is_empty() {
            self.state = None;
            self.activity.forget();
        }
        let waiting = self.waiting_from();
        let connect = (waiting..self.work.len()).find(|&index| self.work[index].task == Task::Connect(id.clone()));
        let never_sent = connect.is_some_and(|index| !self.work[index].was_sent);
        if let Some(index) = connect {
            self.work.remove(index);
            self.mend_from(index);
        }
        if !never_sent {
            self.push(Task::Disconnect(id.clone(), reason), now);
        }
        beat
    }

    /// The service closed a connection, as it does with all of a player who is signed out: of the player's states, only
    /// one that waits counts.
    pub(super) fn forget_state(&mut self) {
        self.activity.forget();
        self.state = self.waiting_state().filter(|state| *state != State::Offline);
    }

    /// The service refused the connection, or closed it. Returns the heartbeat that is now needless, if it was open.
    pub(super) fn forget(&mut self, id: &ConnectionId) -> Option<Option<Beat>> {
        let index = self.open.iter().position(|open| open.id == *id)?;
        Some(self.open.swap_remove(index).beat)
    }

    /// The place of an open connection's next heartbeat.
    pub(super) fn beat_mut(&mut self, id: &ConnectionId) -> Option<&mut Option<Beat>> {
        self.open.iter_mut().find(|open| open.id == *id).map(|open| &mut open.beat)
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &ConnectionId> {
        self.open.iter().map(|open| &open.id)
    }

    /// The kind of the call to make next, and when if it may be made from `at` on; none while one is being made. The
    /// activity comes after all else.
    pub(super) fn next(&self, at: Instant) -> Option<(Kind, Instant)> {
        match self.work.front() {
            _ if self.is_busy() => None,
            Some(work) => Some((work.task.kind(), at)),
            None => self.activity.ready_at(at).map(|ready_at| (Kind::SetActivity, ready_at)),
        }
    }

    /// The task to tell next, if it has waited since `oldest` or longer.
    pub(super) fn waiting_since(&self, oldest: Instant) -> Option<&Task> {
        self.work.front().filter(|work| !self.is_busy() && work.since <= oldest).map(|work| &work.task)
    }

    /// The first task is told now. Also says whether it was before.
    pub(super) fn start(&mut self, now: Instant) -> Option<(Task, bool)> {
        let Some(first) = self.work.front_mut() else {
            let (activity, was_sent) = self.activity.start(now)?;
            return Some((Task::SetActivity(activity), was_sent));
        };
        self.is_under_way = true;
        Some((first.task.clone(), std::mem::replace(&mut first.was_sent, true)))
    }

    /// The first task has to be told again, unless it is a connect whose disconnect waits.
    pub(super) fn put_back(&mut self) {
        self.is_under_way = false;
        if let Some(Work { task: Task::Connect(id), .. }) = self.work.front()
            && !self.is_open(id)
        {
            self.work.pop_front();
            self.mend_from(0);
        }
    }

    /// Nothing is left to do for the first task.
    pub(super) fn finish(&mut self) {
        self.is_under_way = false;
        self.work.pop_front();
    }

    /// The call with the activity failed: the latest one is sent later.
    pub(super) fn put_activity_back(&mut self) {
        self.activity.put_back();
    }

    /// The call with the activity is settled.
    pub(super) fn finish_activity(&mut self, was_refused: bool) {
        self.activity.finish(was_refused);
    }

    pub(super) fn tasks(&self) -> usize {
        self.work.len() + self.activity.tasks()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.work.is_empty() && !self.activity.is_in_flight()
    }

    /// Whether the player, who may be back at once, had a change of activity so recently that the next one has to wait.
    pub(super) fn has_recent_activity(&self, now: Instant) -> bool {
        self.activity.is_recent(now)
    }

    fn is_busy(&self) -> bool {
        self.is_under_way || self.activity.is_in_flight()
    }

    fn is_open(&self, id: &ConnectionId) -> bool {
        self.open().any(|open| open == id)
    }

    fn push(&mut self, task: Task, now: Instant) {
        self.work.push_back(Work { task, since: now, was_sent: false });
    }

    /// A connect at `index` was taken back. The states after it need another connection, else they would be rejected, or
    /// make a player ONLINE or AWAY who is not connected.
    fn mend_from(&mut self, index: usize) {
        let is_bound = |work: &Work| !matches!(work.task, Task::SetState(state) if state != State::Offline);
        let bound = (index..self.work.len()).find(|&bound| is_bound(&self.work[bound]));
        let end = bound.unwrap_or(self.work.len());
        let has_connection = self.open().any(|id| {
            let connect = Task::Connect(id.clone());
            !self.work.range(index..).any(|work| work.task == connect)
        });
        if let Some(connect) = bound.filter(|&bound| matches!(self.work[bound].task, Task::Connect(_))) {
            // Connects of distinct connections may change places.
            if let Some(connect) = self.work.remove(connect) {
                self.work.insert(index, connect);
            }
        } else if !has_connection {
            self.work.drain(index..end);
        }
    }

    fn drop_from(&mut self, from: usize, is_needless: impl Fn(&Task) -> bool) {
        let mut index = 0;
        self.work.retain(|work| {
            index += 1;
            index <= from || !is_needless(&work.task)
        });
    }

    /// The newest state that waits to be sent.
    fn waiting_state(&self) -> Option<State> {
        self.work.iter().skip(self.waiting_from()).rev().find_map(|work| match work.task {
            Task::SetState(state) => Some(state),
            _ => None,
        })
    }

    fn waiting_from(&self) -> usize {
        usize::from(self.is_under_way)
    }
}
