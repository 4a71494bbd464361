//! Replies of Redis, decoded once.

use redis::Value;

use super::record::Record;
use crate::{
    redis::{Shard, StoreError},
    telemetry::TraceContext,
};

const UNEXPECTED: StoreError = StoreError::Unexpected("a script's reply");

/// The outcomes of a script. Each is a letter in the reply. Any script may also report `F`: a key is
/// of another type, or the record is malformed, as another program wrote to it, and nothing of the
/// entry changed.
pub(super) trait Outcome: Copy {
    /// The outcome that a letter stands for. `None` if the script does not report it.
    fn from_letter(letter: u8) -> Option<Self>;
}

/// The reply of a script, as `lua/lib/reply.lua` describes it.
#[derive(Debug)]
pub(super) struct Reply<O> {
    /// The outcome of each entry. `None` if the entry failed.
    pub(super) outcomes: Vec<Option<O>>,
    /// The record after a call with one entry. `None` if the player is OFFLINE, or the call had
    /// several entries.
    pub(super) record: Option<Record>,
    /// The events of the transitions.
    pub(super) events: Vec<OutboxEntry>,
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

impl<O: Outcome> Reply<O> {
    /// Parses the reply of a call with this number of `entries`.
    pub(super) fn parse(
        value: Value,
        entries: usize,
        shard: Shard,
        trace: &TraceContext,
    ) -> Result<Self, StoreError> {
        let array = match value {
            Value::Array(parts) => parts,
            // The short form: all leases of a batch were renewed, and nothing else happened.
            Value::BulkString(text) if text.is_empty() => return Ok(Self::renewed(entries)),
            _ => return Err(UNEXPECTED),
        };
        let mut parts = array.into_iter();
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
                .collect::<Result<_, _>>()?,
            record: Record::from_values([&record, &activity])?,
            events,
        })
    }

    /// Builds the reply of a call that renewed all leases of several entries and did nothing else.
    fn renewed(entries: usize) -> Self {
        Self {
            outcomes: vec![O::from_letter(b'A'); entries],
            record: None,
            events: Vec::new(),
        }
    }
}

/// The outcome of an entry. `None` if the entry failed.
fn outcome<O: Outcome>(letter: u8) -> Result<Option<O>, StoreError> {
    match letter {
        b'F' => Ok(None),
        letter => O::from_letter(letter).map(Some).ok_or(UNEXPECTED),
    }
}

/// The values of this number of `keys` in the reply of `MGET`, or of `GET` for a single key.
///
/// # Errors
/// [`StoreError::Unexpected`] if there is another number of values: players without a value are
/// unknown, not OFFLINE.
pub(crate) fn values(value: Value, keys: usize) -> Result<Vec<Value>, StoreError> {
    let values = match value {
        Value::Array(values) => values,
        value => vec![value],
    };
    if values.len() == keys {
        Ok(values)
    } else {
        Err(StoreError::Unexpected("wrong value count"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{LeaseOutcome, StateOutcome};

    fn outcomes<O: Outcome>(letters: &str) -> Option<Vec<Option<O>>> {
        let letters = Value::BulkString(letters.into());
        let value = Value::Array(vec![letters, Value::Nil, Value::Nil]);
        let reply = Reply::parse(value, 2, Shard::FIRST, &TraceContext::new_root());
        reply.ok().map(|reply| reply.outcomes)
    }

    #[test]
    fn a_letter_that_the_script_does_not_report_makes_the_reply_malformed() {
        let closed = LeaseOutcome::Closed;
        let rejected = StateOutcome::Rejected;
        assert_eq!(outcomes("CF"), Some(vec![Some(closed), None]));
        assert_eq!(outcomes("FX"), Some(vec![None, Some(rejected)]));
        for letters in ["AX", "E", "a", "?"] {
            assert_eq!(outcomes::<LeaseOutcome>(letters), None, "{letters}");
        }
        for letters in ["AC", "R", "E"] {
            assert_eq!(outcomes::<StateOutcome>(letters), None, "{letters}");
        }
    }

    #[test]
    fn a_reply_without_one_value_per_key_is_an_error() {
        let text = || Value::BulkString(b"{}".to_vec());
        let both = Value::Array(vec![text(), Value::Nil]);
        assert_eq!(values(both.clone(), 2).unwrap(), [text(), Value::Nil]);
        for value in [text(), Value::Nil] {
            assert_eq!(values(value.clone(), 1).unwrap(), [value]);
        }
        for (reply, keys) in [(both.clone(), 1), (both, 3), (text(), 2), (Value::Nil, 2)] {
            assert!(values(reply, keys).is_err(), "{keys}");
        }
    }

    #[test]
    fn an_empty_reply_says_that_all_leases_were_renewed() {
        let value = Value::BulkString(Vec::new());
        let reply = Reply::parse(value, 2, Shard::FIRST, &TraceContext::new_root());
        assert_eq!(reply.unwrap().outcomes, [Some(LeaseOutcome::Accepted); 2]);
    }
}
