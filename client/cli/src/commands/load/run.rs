//! The phases of a load: the players connect, then come and go, change their states and read their
//! friends.

use std::{collections::VecDeque, time::Duration};

use presence_client::{Friends, History, State};
use tokio::{
    task::JoinSet,
    time::{Instant, Interval, timeout},
};

use super::{
    figures::{Call, Figures},
    findings::{Found, Measured},
    gateway::Gateway,
    open_loop::{RateSchedule, ticks},
    plan::{AWAY_INTERVAL, Plan},
    progress::Progress,
    recorder::Recorder,
    roster::Roster,
};
use crate::{failure::Failure, service::Service, table::grouped};

/// The most reads in flight.
const MAX_READS: usize = 2_000;

/// The players and gateways of a load.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) service: &'a Service,
    pub(super) plan: Plan,
    pub(super) roster: Roster,
    pub(super) gateways: Vec<Gateway>,
    pub(super) recorder: Recorder,
    pub(super) progress: Progress,
    /// The number of players whose connect was reported to their gateway.
    pub(super) started: u32,
    pub(super) reads: JoinSet<()>,
    /// Players who have left, and when each comes back.
    away: VecDeque<(Instant, u32)>,
    next_churner: u32,
}

impl<'a> Load<'a> {
    /// Starts the gateways, if the service accepts a read and a write.
    pub(super) async fn start(service: &'a Service, plan: Plan) -> Result<Self, Failure> {
        let roster = Roster::new(&plan);
        let recorder = Recorder::new();
        let players = &service.players;
        let first_player = roster.id(0);
        players
            .get(&first_player, History::Omit)
            .await
            .map_err(|error| service.failure(&error))?;
        // A write may require another token. This one changes nothing: the player is OFFLINE.
        players
            .set_state(&first_player, State::Offline)
            .await
            .map_err(|error| service.failure(&error))?;
        let start = |number| Gateway::start(service, &recorder, &roster, &plan, number);
        let gateways = (0..plan.gateways)
            .map(start)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            service,
            plan,
            roster,
            gateways,
            recorder,
            progress: Progress::new(),
            started: 0,
            reads: JoinSet::new(),
            away: VecDeque::new(),
            next_churner: 0,
        })
    }

    /// Runs both phases.
    pub(super) async fn run(&mut self) -> Result<Found, Failure> {
        let connecting = self.connect().await?;
        let connected = self.recorder.connects();
        let while_connecting = self.recorder.take();
        let measured = match connecting {
            Some(_) => Some(self.measure(&while_connecting).await?),
            None => None,
        };
        Ok(Found {
            connecting,
            connected,
            while_connecting,
            measured,
        })
    }

    /// Connects all players. Returns how long that took; `None` if the time limit was exceeded.
    async fn connect(&mut self) -> Result<Option<Duration>, Failure> {
        let players = self.plan.players;
        let start = Instant::now();
        let per_second = f64::from(players) / self.plan.ramp.as_secs_f64().max(0.001);
        let mut schedule = RateSchedule::new(per_second, start);
        let mut ticks = ticks();
        self.progress
            .begin(&format!("connecting {} players", grouped(players.into())));
        while self.recorder.connects() < u64::from(players) {
            let due_at = self.tick(&mut ticks).await?;
            if start.elapsed() > self.plan.connect_timeout() {
                return Ok(None);
            }
            let due = schedule.due(due_at).min(u64::from(players - self.started));
            for _ in 0..due {
                self.player_connects(self.started);
                self.started += 1;
            }
            self.progress.show(|| {
                let (_, p99, errors) = self.recorder.summary();
                let connected = grouped(self.recorder.connects());
                let players = grouped(players.into());
                format!(
                    "connected {connected} of {players}   p99 {}   {errors} errors",
                    ms(p99)
                )
            });
        }
        Ok(Some(start.elapsed()))
    }

    /// Runs the second phase, with all players connected, and checks the result.
    async fn measure(&mut self, while_connecting: &Figures) -> Result<Measured, Failure> {
        self.gateways.iter_mut().for_each(Gateway::begin);
        let mut ticks = ticks();
        let start = ticks.tick().await;
        let mut leaves = RateSchedule::new(self.plan.leaves_per_second, start);
        let mut changes = RateSchedule::new(self.plan.changes_per_second, start);
        let mut reads = RateSchedule::new(self.plan.reads_per_second, start);
        loop {
            let due_at = self.tick(&mut ticks).await?;
            if due_at >= start + self.plan.duration {
                break;
            }
            self.players_return(due_at);
            (0..leaves.due(due_at)).for_each(|_| self.player_leaves(due_at));
            (0..changes.due(due_at)).for_each(|_| self.player_changes());
            (0..reads.due(due_at)).for_each(|_| self.player_reads(due_at));
            self.progress.show(|| {
                let (heartbeats, p99, errors) = self.recorder.summary();
                let elapsed = start.elapsed().as_secs_f64();
                let duration = self.plan.duration.as_secs();
                let rate = grouped((heartbeats as f64 / elapsed.max(0.001)) as u64);
                format!(
                    "{elapsed:.0} of {duration} s   {rate} heartbeats/s   p99 {}   {errors} errors",
                    ms(p99)
                )
            });
        }
        let unanswered = self.settle().await;
        let took = start.elapsed();
        let watch = self.watched().await;
        let missed_heartbeats = self.gateways.iter().map(Gateway::missed_heartbeats).sum();
        let figures = self.recorder.take();
        let wrong_states = timeout(self.plan.removal_timeout(), self.wrong_states())
            .await
            .ok()
            .and_then(Result::ok);
        // A short load may end before the gateways renew the leases that they opened at its start.
        let has_leases = [while_connecting, &figures]
            .iter()
            .any(|figures| figures.entries(Call::Gateway) > 0);
        let crash = if self.plan.has_crash && has_leases {
            Some(self.crash().await)
        } else {
            None
        };
        Ok(Measured {
            took,
            figures,
            missed_heartbeats,
            unanswered,
            wrong_states,
            watch,
            crash,
        })
    }

    /// Waits for the next tick and records its own delay. Returns when it was due.
    async fn tick(&mut self, ticks: &mut Interval) -> Result<Instant, Failure> {
        let due_at = ticks.tick().await;
        self.recorder.record_own_delay(due_at.elapsed());
        while self.reads.try_join_next().is_some() {}
        match self.recorder.refusal() {
            Some(refusal) => Err(self.service.failure(&refusal)),
            None => Ok(due_at),
        }
    }

    fn gateway(&self, number: u32) -> &Gateway {
        &self.gateways[(number % self.plan.gateways) as usize]
    }

    fn player_connects(&mut self, number: u32) {
        let connection = self.roster.connect(number);
        self.expect(number);
        self.gateway(number)
            .connected(&self.roster.id(number), &connection);
    }

    /// Disconnects the next churner, unless that player is not connected.
    fn player_leaves(&mut self, due_at: Instant) {
        if self.plan.churners == 0 {
            return;
        }
        let number = self.next_churner;
        self.next_churner = (number + 1) % self.plan.churners;
        if self.roster.state(number) != State::Offline {
            let connection = self.roster.disconnect(number);
            self.expect(number);
            self.gateway(number)
                .disconnected(&self.roster.id(number), &connection);
            self.away.push_back((due_at + AWAY_INTERVAL, number));
        }
    }

    fn players_return(&mut self, at: Instant) {
        while let Some((_, number)) = self.away.pop_front_if(|(until, _)| *until <= at) {
            self.player_connects(number);
        }
    }

    fn player_changes(&mut self) {
        let number = self.roster.any_stable();
        let state = self.roster.change(number);
        self.expect(number);
        self.gateway(number)
            .state_changed(&self.roster.id(number), state);
    }

    /// Notes that the watching gateways should receive the player's state.
    fn expect(&self, number: u32) {
        let state = self.roster.state(number);
        let now = Instant::now();
        self.gateways
            .iter()
            .filter_map(Gateway::view)
            .for_each(|view| view.expect(number, state, now));
    }

    fn player_reads(&mut self, due_at: Instant) {
        if self.reads.len() >= MAX_READS {
            self.recorder.record_unsent_read();
            return;
        }
        let players = self.service.players.clone();
        let recorder = self.recorder.clone();
        let prefix = self.roster.prefix().to_owned();
        let churners = self.plan.churners;
        let friends = self.roster.any(self.plan.friends);
        self.reads.spawn(async move {
            let result = players.friends(&friends, History::Omit).await;
            let false_offline = result
                .as_ref()
                .map_or(0, |friends| false_offline(friends, &prefix, churners));
            recorder.record_read(due_at.elapsed(), false_offline, result.as_ref().err());
        });
    }

    /// Ends reads and returns, so that no player comes back during the removal.
    pub(super) fn stop(&mut self) {
        self.reads.abort_all();
        self.away.clear();
    }
}

/// The number of presences that are OFFLINE although their players are connected all the time.
fn false_offline(friends: &Friends, prefix: &str, churners: u32) -> u64 {
    let offline = friends
        .presences
        .iter()
        .filter(|presence| presence.state == State::Offline);
    let numbers = offline.filter_map(|presence| Roster::number(prefix, &presence.player_id));
    numbers
        .filter(|number| Roster::is_stable(churners, *number))
        .count() as u64
}

/// A latency in milliseconds, as text.
pub(super) fn ms(latency: Duration) -> String {
    let ms = latency.as_secs_f64() * 1_000.0;
    if ms < 10.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}
