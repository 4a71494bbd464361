//! One player's connections, and what is still to be told about the player: first in, first out, one call at a time.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{
    agenda::Ticket,
    beats::Beat,
    call::{Kind, Task},
};
use crate::{ConnectionId, Reason, State};

/// A lane has at most two tasks a connection, and three about the state.
#[derive(Debug, Default)]
pub(super) struct Lane {
    open: Vec<Open>,
    work: VecDeque<Work>,
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
            self.open.push(Open { id: id.clone(), beat: None });
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
        self.push(Task::SetState(state), now);
    }

    /// Returns the heartbeat that is now needless. Of a connection of which the service was never told, nothing is.
    pub(super) fn disconnect(&mut self, id: &ConnectionId, reason: Reason, now: Instant) -> Option<Beat> {
        let index = self.open.iter().position(|open| open.id == *id)?;
        let beat = self.open.swap_remove(index).beat;
        let waiting = self.waiting_from();
        let connect = (waiting..self.work.len()).find(|&index| self.work[index].task == Task::Connect(id.clone()));
        let never_sent = connect.is_some_and(|index| !self.work[index].was_sent);
        if let Some(index) = connect {
            self.work.remove(index);
            self.drop_states_of_nobody(index);
        }
        if !never_sent {
            self.push(Task::Disconnect(id.clone(), reason), now);
        }
        beat
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

    /// The task to tell next; none while one is being told.
    pub(super) fn next(&self) -> Option<&Task> {
        self.work.front().filter(|_| !self.is_under_way).map(|work| &work.task)
    }

    /// The task to tell next, if it has waited since `oldest` or longer.
    pub(super) fn waiting_since(&self, oldest: Instant) -> Option<&Task> {
        self.work.front().filter(|work| !self.is_under_way && work.since <= oldest).map(|work| &work.task)
    }

    /// The first task is told now. Also says whether it was before.
    pub(super) fn start(&mut self) -> Option<(Task, bool)> {
        let first = self.work.front_mut()?;
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
            self.drop_states_of_nobody(0);
        }
    }

    /// Nothing is left to do for the first task.
    pub(super) fn finish(&mut self) {
        self.is_under_way = false;
        self.work.pop_front();
    }

    pub(super) fn tasks(&self) -> usize {
        self.work.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.work.is_empty()
    }

    fn is_open(&self, id: &ConnectionId) -> bool {
        self.open().any(|open| open == id)
    }

    fn push(&mut self, task: Task, now: Instant) {
        self.work.push_back(Work { task, since: now, was_sent: false });
    }

    /// A connect was taken back: the states set after it would make ONLINE or AWAY who is not there.
    fn drop_states_of_nobody(&mut self, from: usize) {
        if self.open.is_empty() {
            self.drop_from(from, |task| matches!(task, Task::SetState(state) if *state != State::Offline));
        }
    }

    fn drop_from(&mut self, from: usize, is_needless: impl Fn(&Task) -> bool) {
        let mut index = 0;
        self.work.retain(|work| {
            index += 1;
            index <= from || !is_needless(&work.task)
        });
    }

    fn waiting_from(&self) -> usize {
        usize::from(self.is_under_way)
    }
}
