//! Sizes and rates of a load.

use std::time::Duration;

use crate::args::LoadArgs;

/// Players per second that connect, if the ramp is not given.
const CONNECTS_PER_SECOND: f64 = 5_000.0;

/// Players per gateway, if the number of gateways is not given.
const PLAYERS_PER_GATEWAY: u32 = 10_000;

/// The time after which a player who has left comes back.
pub(super) const AWAY_INTERVAL: Duration = Duration::from_secs(2);

/// Sizes and rates of a load.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) players: u32,
    /// The players that leave and come back. The others stay connected all the time.
    pub(super) churners: u32,
    pub(super) gateways: u32,
    pub(super) ramp: Duration,
    pub(super) duration: Duration,
    pub(super) leaves_per_second: f64,
    pub(super) changes_per_second: f64,
    pub(super) reads_per_second: f64,
    pub(super) friends: u32,
    /// Players that each gateway watches.
    pub(super) watched: u32,
    /// Whether a gateway crashes at the end.
    pub(super) has_crash: bool,
}

impl Plan {
    pub(super) fn new(args: &LoadArgs) -> Self {
        let players = args.players;
        let default_gateways = players.div_ceil(PLAYERS_PER_GATEWAY).clamp(2, 1_000);
        let leaves_per_second = f64::from(players) * args.churn / 100.0 / 60.0;
        // Each churner is connected for at least as long as it is disconnected.
        let churners = (leaves_per_second * 2.0 * AWAY_INTERVAL.as_secs_f64()).ceil();
        let get_default_ramp = || Duration::from_secs_f64(f64::from(players) / CONNECTS_PER_SECOND);
        Self {
            players,
            churners: (churners as u32).min(players / 2),
            gateways: args.gateways.unwrap_or(default_gateways).min(players),
            ramp: args.ramp.unwrap_or_else(get_default_ramp),
            duration: args.duration,
            leaves_per_second,
            changes_per_second: f64::from(players) * args.changes / 3_600.0,
            reads_per_second: args.reads,
            friends: args.friends.min(players),
            watched: args.watch.min(players),
            has_crash: args.crash,
        }
    }

    /// The time limit for connecting all players.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.ramp + self.ramp.max(Duration::from_secs(60))
    }

    /// The time limit for each of the two steps of the removal.
    pub(super) fn removal_timeout(&self) -> Duration {
        let time = Duration::from_secs_f64(f64::from(self.players) / CONNECTS_PER_SECOND);
        time.max(Duration::from_secs(30))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The defaults of the command line.
    pub(in super::super) fn args(players: u32) -> LoadArgs {
        LoadArgs {
            players,
            gateways: None,
            duration: Duration::from_secs(60),
            ramp: None,
            churn: 2.0,
            changes: 4.0,
            reads: 50.0,
            friends: 200,
            watch: 10_000,
            crash: false,
            yes: false,
        }
    }

    #[test]
    fn the_defaults_for_a_million_players_are_those_of_the_published_measurement() {
        let plan = Plan::new(&args(1_000_000));
        assert_eq!((plan.gateways, plan.ramp), (100, Duration::from_secs(200)));
        assert_eq!(plan.leaves_per_second.round() as u32, 333);
        assert_eq!(plan.changes_per_second.round() as u32, 1_111);
        assert_eq!((plan.friends, plan.watched), (200, 10_000));
        assert_eq!(plan.churners, 1_334);
    }

    #[test]
    fn gateways_friends_and_churners_are_at_most_the_number_of_players() {
        let mut args = args(1);
        let plan = Plan::new(&args);
        assert_eq!(
            (plan.gateways, plan.friends, plan.watched, plan.churners),
            (1, 1, 1, 0)
        );
        args.players = 10;
        args.churn = 100.0;
        assert_eq!(Plan::new(&args).churners, 1);
    }
}
