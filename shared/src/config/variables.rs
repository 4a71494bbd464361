//! Lookup and parsing of variables.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

/// Error of a variable with an invalid value. Its message is the one line that a program prints
/// before it stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} accepts {accepts}")]
pub struct ConfigError {
    /// The variable's name. Its value is not repeated: it may be a secret.
    pub variable: &'static str,
    /// A description of the accepted values.
    pub accepts: String,
}

/// A string that `Debug` does not show.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, to be used and not to be shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

pub(super) type Result<T> = std::result::Result<T, ConfigError>;

/// The variables, read through a lookup function that tests can replace.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&'static str) -> Option<String>);

impl Variables<'_> {
    pub(super) fn text(&self, variable: &'static str) -> Option<String> {
        (self.0)(variable).filter(|value| !value.is_empty())
    }

    /// The AWS region, by the variables that AWS's own tools read.
    pub(super) fn region(&self) -> Option<String> {
        self.text("AWS_REGION")
            .or_else(|| self.text("AWS_DEFAULT_REGION"))
    }

    pub(super) fn parse<T>(
        &self,
        variable: &'static str,
        default: &str,
        accepts: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.text(variable);
        parse(text.as_deref().unwrap_or(default)).ok_or_else(|| ConfigError::new(variable, accepts))
    }

    pub(super) fn duration(&self, variable: &'static str, default: &str) -> Result<Duration> {
        let accepts = format!(
            "a duration from 1ms to 3650d, a whole number of ms, s, m, h or d, such as {default}"
        );
        self.duration_if(variable, default, &accepts, |duration| !duration.is_zero())
    }

    /// A duration for which `is_allowed` holds.
    pub(super) fn duration_if(
        &self,
        variable: &'static str,
        default: &str,
        accepts: &str,
        is_allowed: impl Fn(Duration) -> bool,
    ) -> Result<Duration> {
        self.parse(variable, default, accepts, |text| {
            parse_duration(text).filter(|duration| is_allowed(*duration))
        })
    }

    pub(super) fn number(
        &self,
        variable: &'static str,
        default: &str,
        range: RangeInclusive<u32>,
    ) -> Result<u32> {
        let accepts = format!("a whole number from {} to {}", range.start(), range.end());
        self.parse(variable, default, &accepts, |text| {
            whole_number(text).filter(|number| range.contains(number))
        })
    }
}

impl ConfigError {
    pub(super) fn new(variable: &'static str, accepts: impl Into<String>) -> Self {
        Self {
            variable,
            accepts: accepts.into(),
        }
    }
}

/// Parses a number of digits only, without a sign.
pub(super) fn whole_number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Parses a whole number with a unit: `500ms`, `15s`, `15m`, `1h`, `7d`; up to ten years.
fn parse_duration(text: &str) -> Option<Duration> {
    // humantime also accepts sums, and units that are easily mistaken: `1M` is a month.
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    if !matches!(unit, "ms" | "s" | "m" | "h" | "d") {
        return None;
    }
    let duration = humantime::parse_duration(text).ok()?;
    (duration <= Duration::from_hours(3_650 * 24)).then_some(duration)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Returns a lookup in a table, for tests.
#[cfg(test)]
pub(super) fn table<'a>(
    variables: &'a [(&'static str, &str)],
) -> impl Fn(&'static str) -> Option<String> + 'a {
    |name| {
        variables
            .iter()
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| (*value).to_owned())
    }
}
