//! Arguments of `presence load`.

use std::time::Duration;

use clap::Args;

use super::time::duration;

/// The size of the load, and its duration.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    /// Players, each with one connection. Their ids begin with load- and a random number.
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) players: u32,
    /// Gateways that hold the players' connections [default: one per 10,000 players, but at least
    /// 2]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) gateways: Option<u32>,
    /// How long the load is measured, once all players are connected.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) duration: Duration,
    /// How long connecting the players takes; 0s connects all of them at once [default: 1 s per
    /// 5,000 players]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) ramp: Option<Duration>,
    /// Players that leave and come back, in percent per minute.
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percentage)]
    pub(crate) churn: f64,
    /// Changes of state per player and hour.
    #[arg(long, value_name = "NUMBER", default_value_t = 4.0, value_parser = rate)]
    pub(crate) changes: f64,
    /// Reads of friends per second, of all players together.
    #[arg(long, value_name = "NUMBER", default_value_t = 50.0, value_parser = rate)]
    pub(crate) reads: f64,
    /// Friends per read.
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    pub(crate) friends: u32,
    /// Players that each gateway watches; 0 watches none.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub(crate) watch: u32,
    /// Let a gateway crash at the end, and measure the time until its players are OFFLINE.
    #[arg(long)]
    pub(crate) crash: bool,
    /// Do not ask for confirmation if the service is not on this machine.
    #[arg(long, short)]
    pub(crate) yes: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let is_rate = |rate: &f64| (0.0..=1e6).contains(rate);
    text.parse()
        .ok()
        .filter(is_rate)
        .ok_or_else(|| "expected a number from 0 to 1000000".to_owned())
}

fn percentage(text: &str) -> Result<f64, String> {
    let is_percentage = |percentage: &f64| (0.0..=100.0).contains(percentage);
    text.parse()
        .ok()
        .filter(is_percentage)
        .ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_percentages_out_of_range_are_refused() {
        for text in ["-1", "NaN", "inf", "1e7", "", "x"] {
            assert!(rate(text).is_err() && percentage(text).is_err(), "{text}");
        }
        assert_eq!((rate("0.5"), percentage("100")), (Ok(0.5), Ok(100.0)));
        assert!(percentage("100.1").is_err());
    }
}
