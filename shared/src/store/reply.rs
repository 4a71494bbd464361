//! Replies of Redis, decoded once.

use redis::Value;

use super::{past::Past, record::Record};
use crate::{
    model::{History, PlayerId, Presence},
    redis::{Shard, StoreError, value},
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

/// The record after a renewal of a lease. `None` if the caller has to make a call of its own.
pub(crate) type Renewal = Result<Option<Record>, StoreError>;

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
            record: record_with_activity([&record, &activity])?,
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

/// Parses the reply of `renew_known.lua`, for each of its `entries`.
pub(crate) fn renewals(reply: Result<Value, StoreError>, entries: usize) -> Vec<Renewal> {
    match reply {
        Ok(Value::Array(records)) if records.len() == entries => {
            records.iter().map(record).collect()
        }
        // Some players have an activity, which is in the past.
        Ok(Value::Array(values)) if values.len() == 2 * entries => {
            let (records, pasts) = values.split_at(entries);
            records
                .iter()
                .zip(pasts)
                .map(|(record, past)| record_with_activity([record, past]))
                .collect()
        }
        Ok(_) => vec![Err(UNEXPECTED); entries],
        Err(error) => vec![Err(error); entries],
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

/// Builds the presence at `now` from the values of a player's record and past. An OFFLINE player
/// gets `history`.
pub(crate) fn presence(
    player_id: PlayerId,
    [record, past]: [&Value; 2],
    history: Option<History>,
    now: u64,
) -> Result<Presence, StoreError> {
    Ok(match record_with_activity([record, past])? {
        Some(record) => record.presence_at(player_id, now),
        None => Presence::offline(player_id, history),
    })
}

/// Parses a record, with the activity of the player's past. `None` if there is no record.
fn record_with_activity([record, past]: [&Value; 2]) -> Result<Option<Record>, StoreError> {
    let record = self::record(record)?;
    Ok(match value::text(past)? {
        Some(past) => record.map(|record| record.with_activity_of(past)),
        None => record,
    })
}

/// Parses the value of a record's key. `None` if the key is missing.
pub(super) fn record(value: &Value) -> Result<Option<Record>, StoreError> {
    value::text(value)?.map(Record::parse).transpose()
}

/// Parses the value of a past's key. `None` if the key is missing, or its line malformed.
pub(super) fn past(value: &Value, ttl: u64) -> Result<Option<Past>, StoreError> {
    Ok(value::text(value)?.and_then(|line| Past::parse(line, ttl)))
}

/// The values in the reply of `MGET`, one per key, or of `GET`.
pub(crate) fn values(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        value => vec![value],
    }
}
