//! Durations on the command line: `500ms`, `30s`, `5m`.

use std::time::Duration;

/// The longest duration that is accepted.
const MAX_DURATION: Duration = Duration::from_secs(86_400);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; expected a duration such as 30s or 5m"))?;
    if duration <= MAX_DURATION {
        Ok(duration)
    } else {
        Err("expected at most 24h".to_owned())
    }
}

/// A time limit, which is above zero.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout.is_zero() {
        Err("expected more than 0".to_owned())
    } else {
        Ok(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_is_at_most_a_day() {
        for text in ["", "5", "-1s", "2d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(
            (duration("90s"), duration("0s")),
            (Ok(Duration::from_secs(90)), Ok(Duration::ZERO))
        );
        assert_eq!(
            (timeout("500ms"), timeout("0s").is_err()),
            (Ok(Duration::from_millis(500)), true)
        );
    }
}
