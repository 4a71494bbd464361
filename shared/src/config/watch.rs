//! Configuration of watching players.

use std::{ops::RangeInclusive, time::Duration};

use super::variables::{Result, Variables};

/// Limits and intervals of watching players.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// `PRESENCE_WATCH_STREAMS` (`1000`): the number of concurrent streams.
    pub max_streams: usize,
    /// `PRESENCE_WATCH_PLAYERS` (`200000`): players that one stream may watch.
    pub max_players: usize,
    /// `PRESENCE_WATCH_INTERVAL` (`100ms`): a stream gets at most one message with changes per
    /// interval.
    pub interval: Duration,
    /// `PRESENCE_WATCH_POLL` (`5s`): how often each watched player is read again while no events
    /// arrive.
    pub poll_interval: Duration,
}

impl WatchConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Self> {
        let millis = Duration::from_millis;
        Ok(Self {
            max_streams: variables.number("PRESENCE_WATCH_STREAMS", "1000", 1..=100_000)? as usize,
            max_players: variables.number("PRESENCE_WATCH_PLAYERS", "200000", 1..=10_000_000)?
                as usize,
            interval: within(
                variables,
                "PRESENCE_WATCH_INTERVAL",
                "100ms",
                millis(1)..=Duration::from_mins(1),
            )?,
            poll_interval: within(
                variables,
                "PRESENCE_WATCH_POLL",
                "5s",
                millis(10)..=Duration::from_hours(1),
            )?,
        })
    }
}

fn within(
    variables: &Variables<'_>,
    variable: &'static str,
    default: &str,
    range: RangeInclusive<Duration>,
) -> Result<Duration> {
    let min = range.start().as_millis();
    let max = range.end().as_secs();
    let accepts = format!("a duration from {min}ms to {max}s, such as {default}");
    variables.duration_if(variable, default, &accepts, |found| range.contains(&found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::{Variables, table};

    fn config(variables: &[(&'static str, &str)]) -> Result<WatchConfig> {
        WatchConfig::from(&Variables(&table(variables)))
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(&[]).unwrap();
        assert_eq!((config.max_streams, config.max_players), (1_000, 200_000));
        assert_eq!(
            (config.interval, config.poll_interval),
            (Duration::from_millis(100), Duration::from_secs(5))
        );
    }

    #[test]
    fn a_bad_value_names_its_variable_and_what_it_accepts() {
        for (variable, value, accepts) in [
            (
                "PRESENCE_WATCH_STREAMS",
                "0",
                "a whole number from 1 to 100000",
            ),
            (
                "PRESENCE_WATCH_PLAYERS",
                "-1",
                "a whole number from 1 to 10000000",
            ),
            (
                "PRESENCE_WATCH_INTERVAL",
                "0s",
                "a duration from 1ms to 60s, such as 100ms",
            ),
            (
                "PRESENCE_WATCH_INTERVAL",
                "2m",
                "a duration from 1ms to 60s, such as 100ms",
            ),
            (
                "PRESENCE_WATCH_POLL",
                "5",
                "a duration from 10ms to 3600s, such as 5s",
            ),
        ] {
            let error = config(&[(variable, value)]).unwrap_err();
            assert_eq!(
                (error.variable, &*error.accepts),
                (variable, accepts),
                "{value}"
            );
        }
    }
}
