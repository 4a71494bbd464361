//! Standard output: text, or JSON for programs.

use std::{
    fmt,
    io::{self, Write as _},
    time::{Duration, UNIX_EPOCH},
};

use serde::Serialize;

/// The format of a command's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Tables and sentences.
    Text,
    /// One JSON value per line.
    Json,
}

impl Output {
    /// Shows a result. `text` is called only if text is wanted.
    pub(crate) fn show<T: fmt::Display>(
        self,
        result: &impl Serialize,
        text: impl FnOnce() -> T,
    ) -> io::Result<()> {
        match self {
            Self::Text => write!(anstream::stdout(), "{}", text()),
            Self::Json => {
                let mut line = serde_json::to_vec(result)?;
                line.push(b'\n');
                let mut out = io::stdout().lock();
                out.write_all(&line)?;
                out.flush()
            }
        }
    }
}

/// The last millisecond that RFC 3339 can express.
const MAX_RFC3339_MS: u64 = 253_402_300_799_999;

/// A time in UTC: `2026-11-25T01:10:22Z`.
pub(crate) fn moment(unix_ms: u64) -> impl fmt::Display {
    let unix_ms = unix_ms.min(MAX_RFC3339_MS);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms))
}

/// A time in UTC, or a dash if it is unknown.
pub(crate) fn moment_or_dash(unix_ms: Option<u64>) -> String {
    unix_ms.map_or_else(|| "-".to_owned(), |unix_ms| moment(unix_ms).to_string())
}

/// A duration, rounded down to its largest unit: `340 ms`, `12 s`, `4 min`, `3 h`, `2 d`.
pub(crate) fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    let unit = UNITS
        .into_iter()
        .find(|(length, _)| ms >= 2 * length || (*length == 1_000 && ms >= 1_000));
    unit.map_or_else(
        || format!("{ms} ms"),
        |(length, name)| format!("{} {name}", ms / length),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_largest_unit_that_fits() {
        let shown = [0, 999, 1_000, 119_999, 120_000, 7_200_000, 172_800_000].map(span);
        assert_eq!(
            shown,
            ["0 ms", "999 ms", "1 s", "119 s", "2 min", "2 h", "2 d"]
        );
    }

    #[test]
    fn a_moment_is_shown_in_utc() {
        assert_eq!(
            moment_or_dash(Some(1_795_493_786_449)),
            "2026-11-24T04:16:26Z"
        );
        assert_eq!(moment_or_dash(None), "-");
    }
}
