//! Parsing of the past, a line of text in the format of `lua/lib/formats.lua`.

use redis::Value;

use crate::{
    model::{Activity, EventReason, History, State},
    redis::{StoreError, value},
};

/// The past of a player, which outlives the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Past {
    last_seen: u64,
    pub(super) version: u64,
    pub(super) state: State,
    pub(super) reason: EventReason,
    /// When the player went OFFLINE, or will if the record is not renewed, in Unix milliseconds.
    pub(super) expires_at: u64,
    /// The connections at `last_seen`, and the last millisecond at which each lease counts, in Unix
    /// time.
    pub(super) leases: Vec<(String, u64)>,
}

impl Past {
    /// Parses the value of a past's key. `None` if the key is missing, or its line malformed.
    pub(super) fn from_value(value: &Value, ttl: u64) -> Result<Option<Self>, StoreError> {
        Ok(value::text(value)?.and_then(|line| Self::parse(line, ttl)))
    }

    /// Parses a line. Fields that it omits have their usual values, such as `ttl` (ms). `None` if
    /// the line is malformed.
    pub(super) fn parse(line: &[u8], ttl: u64) -> Option<Self> {
        let mut parts = str::from_utf8(line).ok()?.split(';');
        let head = parts.next()?;
        let (text, _activity) = head.split_once(" {").unwrap_or((head, ""));
        let mut words = text.split(' ');
        let last_seen: u64 = words.next()?.parse().ok()?;
        let parse_lease = |part: &str| {
            let (owned, duration) = part
                .split_once(' ')
                .map_or((part, Some(ttl)), |(id, ms)| (id, ms.parse().ok()));
            // The id may be followed by the gateway that the connection belongs to.
            let (id, _gateway) = owned.split_once('!').unwrap_or((owned, ""));
            Some((id.to_owned(), last_seen.saturating_add(duration?)))
        };
        let mut past = Self {
            last_seen,
            version: words.next()?.parse().ok()?,
            state: State::Online,
            reason: EventReason::Expired,
            expires_at: last_seen.saturating_add(ttl),
            leases: parts.map(parse_lease).collect::<Option<_>>()?,
        };
        // The other words are optional: a state, a duration, a reason.
        for word in words {
            if word.starts_with('~') {
                continue; // a connection that has ended with its gateway
            }
            match (word.parse(), word.parse::<u64>()) {
                (Ok(state), _) => past.state = state,
                (_, Ok(duration)) => past.expires_at = last_seen.saturating_add(duration),
                _ => past.reason = word.into(),
            }
        }
        Some(past)
    }

    /// Whether the player is not OFFLINE at `now` (Unix ms), so that there has to be a record.
    pub(super) fn requires_record(&self, now: u64) -> bool {
        self.state != State::Offline && now <= self.expires_at
    }

    /// The history at `now` (Unix ms). `None` after the retention (ms), whose last millisecond
    /// counts.
    ///
    /// The key may live longer: until the OFFLINE transition is made, and then for at least one
    /// TTL, so that the next version is above this one.
    pub(super) fn history(&self, now: u64, retention: u64) -> Option<History> {
        let is_known = now <= self.expires_at.saturating_add(retention);
        is_known.then_some(History {
            last_seen: self.last_seen,
            version: self.version,
        })
    }
}

/// Parses the activity in the line of a player that is not OFFLINE. `None` if the line does not
/// have any.
pub(super) fn activity(line: &[u8]) -> Option<Activity> {
    let head = line.split(|byte| *byte == b';').next()?;
    let begin = head.iter().position(|byte| *byte == b'{')?;
    Activity::from_stored(str::from_utf8(&head[begin..]).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Past> {
        Past::parse(line.as_bytes(), 45_000)
    }

    #[test]
    fn omitted_fields_have_their_usual_values() {
        let usual = Past {
            last_seen: 1_000,
            version: 900,
            state: State::Online,
            reason: EventReason::Expired,
            expires_at: 46_000,
            leases: Vec::new(),
        };
        assert_eq!(parse("1000 900"), Some(usual.clone()));
        assert_eq!(
            parse("1000 900 IN_MATCH"),
            Some(Past {
                state: State::InMatch,
                ..usual.clone()
            })
        );
        let leases = vec![("c1".to_owned(), 46_000), ("AWAY".to_owned(), 31_000)];
        assert_eq!(
            parse("1000 900;c1;AWAY 30000"),
            Some(Past {
                leases,
                ..usual.clone()
            })
        );
        let lost = Past {
            reason: EventReason::Lost,
            expires_at: 1_500,
            ..usual.clone()
        };
        assert_eq!(parse("1000 900 lost 500"), Some(lost));
        let signed_out = Past {
            state: State::Offline,
            reason: EventReason::SignedOut,
            expires_at: 1_000,
            ..usual
        };
        assert_eq!(parse("1000 900 OFFLINE signed_out 0"), Some(signed_out));
    }

    #[test]
    fn an_activity_is_read_apart_from_the_words_and_the_leases() {
        let line = r#"1000 900 IN_MATCH lost 500 {"custom":{"AWAY":" 7 OFFLINE {}"},"details":"1 2 3\u003bx"};c1;c2 30000"#;
        let past = parse(line).unwrap();
        assert_eq!(
            (past.state, past.reason, past.expires_at),
            (State::InMatch, EventReason::Lost, 1_500)
        );
        assert_eq!(
            past.leases,
            [("c1".to_owned(), 46_000), ("c2".to_owned(), 31_000)]
        );
        let expected = r#"{"custom":{"AWAY":" 7 OFFLINE {}"},"details":"1 2 3;x"}"#;
        assert_eq!(activity(line.as_bytes()).unwrap().as_json(), expected);
        for line in [
            "1000 900;c1",
            "",
            "1000 900 ONLINE expired 45000 {;c1",
            "1000 900 {\"details\":\"a\"} x;c1;{}",
        ] {
            assert_eq!(activity(line.as_bytes()), None, "{line}");
        }
        assert_eq!(activity(b"1000 900 {\"details\":\"\xff\"};c1"), None);
    }

    #[test]
    fn the_past_is_known_through_the_last_millisecond_of_the_retention() {
        let past = parse("1000 900 OFFLINE signed_out 500").unwrap();
        let history = Some(History {
            last_seen: 1_000,
            version: 900,
        });
        assert_eq!(past.history(2_500, 1_000), history);
        assert_eq!(past.history(2_501, 1_000), None);
    }

    #[test]
    fn a_line_without_times_is_malformed() {
        for line in ["", "1000", "1000 ", "x 900", "{}"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
