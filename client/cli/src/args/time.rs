//! Times as one types them: `500ms`, `30s`, `5m`.

use std::time::Duration;

/// No time on the command line is longer.
const LONGEST: Duration = Duration::from_secs(86_400);

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| format!("{error}; expected such as 30s or 5m"))?;
    if duration <= LONGEST { Ok(duration) } else { Err("expected a day at most".to_owned()) }
}

/// A time that something may take.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout.is_zero() { Err("expected more than 0".to_owned()) } else { Ok(timeout) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_is_a_day_at_most() {
        for text in ["", "5", "-1s", "2d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!((duration("90s"), duration("0s")), (Ok(Duration::from_secs(90)), Ok(Duration::ZERO)));
        assert_eq!((timeout("500ms"), timeout("0s").is_err()), (Ok(Duration::from_millis(500)), true));
    }
}
