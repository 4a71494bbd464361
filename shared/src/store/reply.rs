//! Replies of Redis, decoded once.

use redis::Value;

use super::record::Record;
use crate::{
    redis::{Shard, StoreError},
    telemetry::TraceContext,
};

const UNEXPECTED: StoreError = StoreError::Unexpected("a script's reply");

/// The outcome of a script for one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The entry took effect, or nothing had to be changed.
    Accepted,
    /// The connection was not known (any more), and was opened.
    Restored,
    /// The connection was closed before, so it was not opened. An OFFLINE transition that was due
    /// has been made.
    Closed,
    /// The record had expired, and this call made the OFFLINE transition; or this call ended the
    /// lease.
    Expired,
    /// The change is not allowed or not due, and was not made. An OFFLINE transition that was due
    /// has been made.
    Rejected,
    /// A key is of another type, or the record is malformed, as another program wrote to it.
    /// Nothing changed.
    Failed,
}

/// The reply of a script, as `lua/lib/reply.lua` describes it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) outcomes: Vec<Outcome>,
    /// The record after a call with one entry. `None` if the player is OFFLINE, or the call had
    /// several entries.
    pub(crate) record: Option<Record>,
    /// The events of the transitions.
    pub(crate) events: Vec<OutboxEntry>,
}

/// An event as it waits in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutboxEntry {
    /// The shard of the outbox.
    pub(crate) shard: Shard,
    /// The id in the outbox, a Redis stream: the time of creation in Unix milliseconds, and a
    /// number.
    pub(crate) entry_id: String,
    /// The event's JSON.
    pub(crate) body: Vec<u8>,
    /// The trace of the call that caused the event.
    pub(crate) trace: TraceContext,
}

impl OutboxEntry {
    /// When the event was created, in Unix milliseconds.
    pub(crate) fn created_at(&self) -> Option<u64> {
        self.entry_id.split('-').next()?.parse().ok()
    }
}

impl Reply {
    /// Parses the reply of a call with this number of `entries`.
    pub(crate) fn parse(
        value: Value,
        entries: usize,
        shard: Shard,
        trace: &TraceContext,
    ) -> Result<Self, StoreError> {
        let parts = match value {
            Value::Array(parts) => parts,
            // The short form: all leases of a batch were renewed, and nothing else happened.
            Value::BulkString(text) if text.is_empty() => return Ok(Self::renewed(entries)),
            _ => return Err(UNEXPECTED),
        };
        let mut parts = parts.into_iter();
        let (Some(Value::BulkString(outcomes)), Some(record), Some(activity)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(UNEXPECTED);
        };
        // The rest of the reply is pairs of an event's id and its JSON.
        let mut events = Vec::new();
        while let (Some(Value::BulkString(entry_id)), Some(Value::BulkString(body))) =
            (parts.next(), parts.next())
        {
            let entry_id = String::from_utf8(entry_id).map_err(|_| UNEXPECTED)?;
            events.push(OutboxEntry {
                shard,
                entry_id,
                body,
                trace: trace.clone(),
            });
        }
        Ok(Self {
            outcomes: outcomes
                .into_iter()
                .map(outcome)
                .collect::<Option<_>>()
                .ok_or(UNEXPECTED)?,
            record: Record::from_values([&record, &activity])?,
            events,
        })
    }

    /// Builds the reply of a call that renewed all leases of several entries and did nothing else.
    fn renewed(entries: usize) -> Self {
        Self {
            outcomes: vec![Outcome::Accepted; entries],
            record: None,
            events: Vec::new(),
        }
    }
}

fn outcome(letter: u8) -> Option<Outcome> {
    match letter {
        b'A' => Some(Outcome::Accepted),
        b'R' => Some(Outcome::Restored),
        b'C' => Some(Outcome::Closed),
        b'E' => Some(Outcome::Expired),
        b'X' => Some(Outcome::Rejected),
        b'F' => Some(Outcome::Failed),
        _ => None,
    }
}

/// The values in the reply of `MGET`, one per key, or of `GET`.
pub(crate) fn values(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        value => vec![value],
    }
}
