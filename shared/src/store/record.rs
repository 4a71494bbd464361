//! Parsing of a player's record, the JSON that `lua/lib/formats.lua` writes.

use redis::Value;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::past;
use crate::{
    model::{Activity, History, PlayerId, Presence, State},
    redis::{StoreError, value},
};

/// A player's record.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Record {
    last_seen: u64,
    version: Option<u64>,
    connection_count: u32,
    state: State,
    /// The time for which each lease counts, in milliseconds from `last_seen` on. Empty unless
    /// there are several connections.
    #[serde(default)]
    leases: Vec<u64>,
    /// Whether the player has an activity, which is in the past.
    #[serde(default, deserialize_with = "is_true", rename = "activity")]
    has_activity: bool,
    /// The activity, if it was read.
    #[serde(skip)]
    activity: Option<Activity>,
}

impl Record {
    /// Parses the value of a record's key. `None` if the key is missing.
    pub(super) fn from_value(value: &Value) -> Result<Option<Self>, StoreError> {
        // Not by `transpose`: it moves the record once more.
        match value::text(value)? {
            Some(json) => Self::parse(json).map(Some),
            None => Ok(None),
        }
    }

    /// Parses the values of a player's record and past, which has the activity. `None` if there is
    /// no record.
    pub(super) fn from_values([record, past]: [&Value; 2]) -> Result<Option<Self>, StoreError> {
        let record = Self::from_value(record)?;
        Ok(match value::text(past)? {
            Some(past) => record.map(|record| record.with_activity_of(past)),
            None => record,
        })
    }

    /// Parses a record, including one that was written by hand.
    pub(super) fn parse(json: &[u8]) -> Result<Self, StoreError> {
        if let Some(record) = str::from_utf8(json).ok().and_then(Self::scan) {
            return Ok(record);
        }
        serde_json::from_slice(json).map_err(|_| StoreError::Unexpected("malformed record"))
    }

    /// Parses the exact format of the scripts, with members in fixed order. The fast path, as a
    /// friends call parses hundreds.
    fn scan(json: &str) -> Option<Self> {
        let (last_seen, rest) = number(json.strip_prefix(r#"{"last_seen":"#)?)?;
        let (version, rest) = number(rest.strip_prefix(r#","version":"#)?)?;
        let (connection_count, rest) = number(rest.strip_prefix(r#","connection_count":"#)?)?;
        let (state, mut rest) = rest.strip_prefix(r#","state":""#)?.split_once('"')?;
        let mut leases = Vec::new();
        if let Some(list) = rest.strip_prefix(r#","leases":["#) {
            let (durations, end) = list.split_once(']')?;
            leases = durations
                .split(',')
                .map(|duration| duration.parse().ok())
                .collect::<Option<_>>()?;
            rest = end;
        }
        let has_activity = match rest {
            "}" => false,
            r#","activity":true}"# => true,
            _ => return None,
        };
        let connection_count = u32::try_from(connection_count).ok()?;
        let state = state.parse().ok()?;
        let version = Some(version);
        Some(Self {
            last_seen,
            version,
            connection_count,
            state,
            leases,
            has_activity,
            activity: None,
        })
    }

    /// Whether the player has an activity, which is in the past.
    pub(super) fn has_activity(&self) -> bool {
        self.has_activity
    }

    /// Reads the activity from the player's past, if there is one.
    pub(super) fn with_activity_of(self, past: &[u8]) -> Self {
        let activity = if self.has_activity {
            past::activity(past)
        } else {
            None
        };
        Self { activity, ..self }
    }

    /// The presence at the time when the record was written, with the activity if it was read.
    pub(super) fn presence(self, player_id: PlayerId) -> Presence {
        Presence {
            player_id,
            state: self.state,
            last_seen: Some(self.last_seen),
            connection_count: self.connection_count,
            version: self.version,
            activity: self.activity,
        }
    }

    /// The presence at `now`: see [`write_at`](Self::write_at).
    pub(super) fn presence_at(self, player_id: PlayerId, now: u64) -> Presence {
        let mut presence = Presence::offline(player_id, None);
        self.write_at(now, &mut presence);
        presence
    }

    /// Writes the record at `now` (Unix milliseconds) into the presence of its player: leases that
    /// expired since the record was written do not count. A lease counts through the millisecond of
    /// its expiry, as the record's key does.
    ///
    /// A friends call decodes hundreds of records, so it does not build and move each presence.
    pub(super) fn write_at(self, now: u64, presence: &mut Presence) {
        let elapsed = now.saturating_sub(self.last_seen);
        let expired = self
            .leases
            .iter()
            .filter(|duration| **duration < elapsed)
            .count();
        let Presence {
            player_id: _,
            state,
            last_seen,
            connection_count,
            version,
            activity,
        } = presence;
        *state = self.state;
        *last_seen = Some(self.last_seen);
        *connection_count = self.connection_count.saturating_sub(expired as u32);
        *version = self.version;
        *activity = self.activity;
    }
}

/// Builds the presence at `now` from the values of a player's record and past. An OFFLINE player
/// gets `history`.
pub(super) fn presence(
    player_id: PlayerId,
    values: [&Value; 2],
    history: Option<History>,
    now: u64,
) -> Result<Presence, StoreError> {
    Ok(match Record::from_values(values)? {
        Some(record) => record.presence_at(player_id, now),
        None => Presence::offline(player_id, history),
    })
}

/// Whether a value is `true`. A record that was written by hand may have any other.
fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    Ok(json.get() == "true")
}

/// Splits a text into its leading number and the rest.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"last_seen":1795492717576,"version":1795492717570,"connection_count":1,"state":"IN_MATCH"}"#;
    const PLAYING: &str = r#"{"last_seen":1795492717576,"version":1795492717570,"connection_count":1,"state":"IN_MATCH","activity":true}"#;
    const TWO: &str = r#"{"last_seen":1000,"version":900,"connection_count":2,"state":"ONLINE","leases":[30000,45000]}"#;

    const TWO_PLAYING: &str = r#"{"last_seen":1000,"version":900,"connection_count":2,"state":"ONLINE","leases":[30000,45000],"activity":true}"#;

    #[test]
    fn the_scan_of_a_record_equals_its_json() {
        for json in [ONE, PLAYING, TWO, TWO_PLAYING] {
            let scanned = Record::scan(json).unwrap();
            assert_eq!(scanned, serde_json::from_str(json).unwrap(), "{json}");
        }
    }

    #[test]
    fn a_record_written_by_hand_is_read_too() {
        let json = r#"{"state": "AWAY", "connection_count": 0, "last_seen": 5, "more": {}}"#;
        assert_eq!(Record::scan(json), None);
        let record = Record::parse(json.as_bytes()).unwrap();
        assert_eq!(
            (record.state, record.last_seen, record.version),
            (State::Away, 5, None)
        );
    }

    #[test]
    fn a_record_that_is_cut_off_or_has_more_text_is_malformed() {
        for json in [ONE, PLAYING, TWO, TWO_PLAYING] {
            for length in 0..json.len() {
                assert!(
                    Record::parse(&json.as_bytes()[..length]).is_err(),
                    "{length} of {json}"
                );
            }
            assert!(Record::parse(format!("{json}}}").as_bytes()).is_err());
        }
    }

    #[test]
    fn an_activity_is_marked_in_a_record_and_read_from_a_past_or_alone() {
        let [none, marked] = [ONE, TWO_PLAYING].map(|json| Record::parse(json.as_bytes()).unwrap());
        assert_eq!([&none, &marked].map(Record::has_activity), [false, true]);
        let alone = br#"{"details":"a}]\"\u003b"}"#;
        let past = [b"1000 900 ONLINE expired 45000 ", &alone[..], b";c1"].concat();
        for text in [&alone[..], &past] {
            let read_activity = |record: &Record| {
                let record = record.clone().with_activity_of(text);
                record.presence(PlayerId::parse("alice").unwrap()).activity
            };
            assert_eq!(read_activity(&none), None);
            assert_eq!(
                read_activity(&marked).unwrap().as_json(),
                r#"{"details":"a}]\";"}"#
            );
        }
    }

    #[test]
    fn an_activity_written_by_hand_is_ignored() {
        for activity in [
            "false",
            "1",
            "null",
            "[]",
            r#""Ranked""#,
            r#"{"details":"Ranked"}"#,
        ] {
            let json = ONE.replace('}', &format!(r#","activity":{activity}}}"#));
            let record = Record::parse(json.as_bytes()).unwrap();
            assert!(!record.has_activity(), "{json}");
        }
    }

    #[test]
    fn a_lease_counts_through_the_millisecond_of_its_expiry() {
        let count = |now| {
            let record = Record::parse(TWO.as_bytes()).unwrap();
            record
                .presence_at(PlayerId::parse("alice").unwrap(), now)
                .connection_count
        };
        assert_eq!(
            [
                count(1_000),
                count(31_000),
                count(31_001),
                count(46_000),
                count(46_001)
            ],
            [2, 2, 1, 1, 0]
        );
        assert_eq!(count(999), 2, "a clock that was set back");
    }
}
