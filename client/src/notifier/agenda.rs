//! What is to be done, and from when on.

use std::collections::BTreeMap;

use tokio::time::Instant;

/// Things in the order of the times from which on they may be done; at one time, in the order in which they came.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    things: BTreeMap<Ticket, T>,
    tickets: u64,
}

/// Finds one thing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    at: Instant,
    number: u64,
}

impl<T> Agenda<T> {
    pub(super) fn new() -> Self {
        Self { things: BTreeMap::new(), tickets: 0 }
    }

    pub(super) fn add(&mut self, at: Instant, thing: T) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket { at, number: self.tickets };
        self.things.insert(ticket, thing);
        ticket
    }

    pub(super) fn remove(&mut self, ticket: Ticket) {
        self.things.remove(&ticket);
    }

    pub(super) fn first_at(&self) -> Option<Instant> {
        self.things.first_key_value().map(|(ticket, _)| ticket.at)
    }

    /// Takes out the first thing, and when it was to be done, unless that is after `latest`.
    pub(super) fn pop(&mut self, latest: Instant) -> Option<(Instant, T)> {
        let first = self.things.first_entry().filter(|first| first.key().at <= latest)?;
        let (ticket, thing) = first.remove_entry();
        Some((ticket.at, thing))
    }

    /// Moves all of `other` in, with their tickets. They have to be tickets that this agenda never gave.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.things.append(&mut other.things);
    }

    /// Moves one thing in from `other`, with its ticket, as [`append`](Self::append) does.
    pub(super) fn take_from(&mut self, other: &mut Self, ticket: Ticket) {
        self.things.extend(other.things.remove_entry(&ticket));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.things.values()
    }

    pub(super) fn len(&self) -> usize {
        self.things.len()
    }
}
