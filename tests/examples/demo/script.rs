//! The acts of the demo.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use presence_client::{State, operator::EventReason};
use presence_tests::Device;
use tokio::time::{sleep, timeout};

use crate::{
    audit::{self, Audit},
    environment::{Environment, HEARTBEAT_INTERVAL, SWEEP_INTERVAL, TTL},
    feed::Feed,
    friends::Friends,
    ledger::{self, Ledger},
    screen::Screen,
};

const PLAYERS: usize = 300;

/// The time limit of each expectation. A busy machine needs more than one interval of everything.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause after each act, for people who look at the figures.
const VIEWING_TIME: Duration = Duration::from_secs(3);

pub(crate) struct Script {
    environment: Environment,
    screen: Screen,
    feed: Feed,
    friends: Friends,
    ledger: Ledger,
    /// The players' devices, each with the gateway that it is connected to.
    devices: HashMap<String, Vec<(usize, Device)>>,
    audit: Audit,
}

impl Script {
    pub(crate) fn new(environment: Environment, screen: Screen) -> Self {
        let feed = Feed::follow(environment.nats.url());
        environment.show_status(&screen, &feed);
        let friends = environment.watch((0..PLAYERS).map(player));
        Self {
            environment,
            screen,
            feed,
            friends,
            ledger: Ledger::default(),
            devices: HashMap::new(),
            audit: Audit::default(),
        }
    }

    /// Runs the acts until one of them fails, and prints the summary. Returns whether everything
    /// was correct.
    pub(crate) async fn run(mut self) -> bool {
        let _ = self.players_come_online().await
            && self.players_change_state().await
            && self.a_gateway_is_killed().await
            && self.its_players_come_back().await
            && self.gateways_are_restarted_one_after_the_other().await
            && self.a_server_is_killed().await
            && self.nats_is_killed().await
            && self.all_players_leave().await;
        self.screen.end_status();
        audit::summarize(
            self.audit,
            &self.environment,
            &self.friends,
            &self.ledger,
            &self.screen,
        )
        .await
    }

    async fn players_come_online(&mut self) -> bool {
        self.screen
            .act("300 players come online, 60 of them on two devices");
        for n in 0..PLAYERS {
            self.open(&player(n), n % 2).await;
            if n % 5 == 0 {
                self.open(&player(n), 1 - n % 2).await;
            }
            sleep(Duration::from_millis(12)).await; // slow enough to be seen
        }
        let sockets = self.ledger.sockets();
        let events = self.ledger.transitions();
        let result = format!("{sockets} sockets, and {events} events: a second device causes none");
        self.settle().await && self.show_result(&result).await
    }

    async fn players_change_state(&mut self) -> bool {
        self.screen.act(
            "Some players queue, some of them find a match, some are away, some play in a party",
        );
        self.all_set_state(|n| (1..=4).contains(&(n % 10)), State::InQueue)
            .await;
        let have_queued = self.settle().await;
        self.all_set_state(|n| (1..=2).contains(&(n % 10)), State::InMatch)
            .await;
        self.all_set_state(|n| n % 10 == 5, State::Away).await;
        // The members of the parties are on gateway A, on B, or on both.
        let have_changed = have_queued && self.settle().await;
        self.all_set_activity(|n| n % 10 <= 2, 2).await;
        have_changed
            && self.settle().await
            && self
                .show_result(
                    "every change has its event; friends are shown \"Ranked, 2/4, joinable\"",
                )
                .await
    }

    async fn a_gateway_is_killed(&mut self) -> bool {
        self.screen.act("Gateway A is killed with -9");
        let begin = Instant::now();
        self.audit.gateway_killed_at = audit::unix_ms();
        self.environment.gateways[0].kill();
        let mut offline = 0;
        for (player, devices) in &mut self.devices {
            let (dead, alive): (Vec<_>, Vec<_>) =
                devices.drain(..).partition(|(gateway, _)| *gateway == 0);
            offline += usize::from(!dead.is_empty() && alive.is_empty());
            *devices = alive;
            dead.iter()
                .for_each(|_| self.ledger.closed(player, EventReason::Lost));
        }
        if !self.settle().await {
            return false;
        }
        let seconds = begin.elapsed().as_secs_f64();
        self.screen
            .good(&format!("{offline} players with no other device are OFFLINE, {seconds:.1} s later at the latest:"));
        self.screen
            .good("long before their own leases expire, because their gateway's lease has expired");
        self.screen
            .good("their friends are shown that, and no activity any more");
        self.show_result(
            "those with a second device on gateway B stay as they were, with their activities",
        )
        .await
    }

    async fn its_players_come_back(&mut self) -> bool {
        self.screen
            .act("Gateway A is started again, and its players come back");
        self.environment.restart_gateway(0);
        for n in 0..PLAYERS {
            if self.devices.get(&player(n)).is_none_or(Vec::is_empty) {
                self.open(&player(n), 0).await;
            }
        }
        self.settle().await && self.show_result("all are connected again").await
    }

    async fn gateways_are_restarted_one_after_the_other(&mut self) -> bool {
        self.screen.act(
            "A rolling restart: each gateway gets SIGTERM, and its players move to the other one",
        );
        let events = self.feed.events().len();
        let shown = self.friends.changes();
        let mut moved = 0;
        for gateway in 0..self.environment.gateways.len() {
            self.environment.gateways[gateway].signal("TERM");
            let Some(count) = self.move_players_from(gateway).await else {
                return false;
            };
            moved += count;
            self.environment.restart_gateway(gateway);
        }
        if !self.settle().await {
            return false;
        }
        self.screen.good(&format!("{moved} sockets moved"));
        sleep(VIEWING_TIME).await;
        self.audit.changes_during_restart =
            self.feed.events().len() - events + self.friends.changes() - shown;
        match self.audit.changes_during_restart {
            0 => {
                self.show_result("there was no event, and no friend was shown anything")
                    .await
            }
            changes => self.fail(format!(
                "the rolling restart caused {changes} events or visible changes"
            )),
        }
    }

    /// Connects each player of a stopping gateway to the other one once its socket is closed.
    /// Returns the number of sockets.
    async fn move_players_from(&mut self, gateway: usize) -> Option<usize> {
        let mut moving = Vec::new();
        for (player, devices) in &mut self.devices {
            let (closing, others): (Vec<_>, Vec<_>) =
                devices.drain(..).partition(|(on, _)| *on == gateway);
            *devices = others;
            moving.extend(
                closing
                    .into_iter()
                    .map(|(_, device)| (player.clone(), device)),
            );
        }
        let count = moving.len();
        for (player, device) in moving {
            if timeout(SETTLE_TIMEOUT, device.closed()).await.is_err() {
                self.fail(format!("the gateway did not close the socket of {player}"));
                return None;
            }
            self.ledger.moved(&player);
            self.open(&player, 1 - gateway).await;
        }
        Some(count)
    }

    async fn a_server_is_killed(&mut self) -> bool {
        self.screen
            .act("Presence server 1 is killed with -9, the load balancer goes on with server 2");
        let before = self.feed.events().len();
        let begin = Instant::now();
        self.environment.servers[0].kill();
        self.all_set_state(|n| n % 10 == 6, State::InQueue).await;
        self.all_set_activity(|n| n % 10 == 1, 3).await;
        let have_queued = self.settle().await;
        // A player who was lost with the server would be OFFLINE after this time.
        sleep((TTL + HEARTBEAT_INTERVAL + SWEEP_INTERVAL).saturating_sub(begin.elapsed())).await;
        let offline = self.feed.events()[before..]
            .iter()
            .filter(|event| event.state == State::Offline)
            .count();
        self.audit.offline_without_server = offline;
        let changed = self.feed.events().len() - before - offline;
        let is_settled = have_queued && self.settle().await;
        if is_settled {
            self.screen.good(&format!(
                "{offline} players went OFFLINE; {changed} queued or changed their activity"
            ));
            self.screen.good(&format!(
                "friends are shown that, on stream {}",
                self.friends.streams()
            ));
        }
        self.environment.restart_server(0);
        self.screen.note("server 1 is started again");
        is_settled
    }

    async fn nats_is_killed(&mut self) -> bool {
        self.screen.act("NATS is killed with -9");
        self.environment.nats.kill();
        let before = self.ledger.transitions();
        self.all_set_state(|n| n % 10 == 8, State::InQueue).await;
        self.all_set_activity(|n| n % 20 == 10, 4).await;
        self.leave(|n| n % 10 == 9, EventReason::Disconnect).await;
        let changes = self.ledger.transitions() - before;
        let result = format!(
            "{changes} players changed their states or activities, and every response says so"
        );
        if !self.settle_responses().await {
            return false;
        }
        self.screen.good(&result);
        if !self
            .show_result("friends are shown them all the same: the servers read Redis instead")
            .await
        {
            return false;
        }
        self.environment.nats.restart().await;
        self.screen.note("NATS is started again");
        self.settle().await
            && self
                .show_result(&format!("the {changes} events have arrived"))
                .await
    }

    async fn all_players_leave(&mut self) -> bool {
        self.audit
            .check_each_player(&self.environment, &self.ledger)
            .await;
        self.screen
            .act("The players leave: most of them quit, the sockets of some break");
        self.leave(|n| n % 10 == 0, EventReason::Lost).await;
        self.leave(|_| true, EventReason::Disconnect).await;
        let have_left = self.settle().await;
        self.audit
            .check_each_player(&self.environment, &self.ledger)
            .await;
        have_left && self.show_result("no player is left").await
    }

    /// Prints the result of an act, and pauses.
    async fn show_result(&self, result: &str) -> bool {
        self.screen.good(result);
        sleep(VIEWING_TIME).await;
        true
    }

    async fn open(&mut self, player: &str, gateway: usize) {
        match Device::open(&self.environment.gateways[gateway].url(player)).await {
            Ok(device) => {
                self.ledger.opened(player);
                self.devices
                    .entry(player.to_owned())
                    .or_default()
                    .push((gateway, device));
            }
            Err(error) => _ = self.fail(format!("{player} could not connect: {error}")),
        }
    }

    /// Each selected player who is connected sets a state over its first device.
    async fn all_set_state(&mut self, is_selected: impl Fn(usize) -> bool, state: State) {
        for n in (0..PLAYERS).filter(|n| is_selected(*n)) {
            if let Some((_, device)) = self
                .devices
                .get(&player(n))
                .and_then(|devices| devices.first())
            {
                device.say(state.as_str()).await;
                self.ledger.state_set(&player(n), state);
            }
        }
    }

    /// Each selected player who is connected sets an activity with a party of this size over its
    /// first device.
    async fn all_set_activity(&mut self, is_selected: impl Fn(usize) -> bool, party_size: u16) {
        for n in (0..PLAYERS).filter(|n| is_selected(*n)) {
            if let Some((_, device)) = self
                .devices
                .get(&player(n))
                .and_then(|devices| devices.first())
            {
                device.show(&ledger::activity(party_size)).await;
                self.ledger.activity_set(&player(n), party_size);
            }
        }
    }

    async fn leave(&mut self, is_selected: impl Fn(usize) -> bool, reason: EventReason) {
        for n in (0..PLAYERS).filter(|n| is_selected(*n)) {
            for (_, device) in self.devices.remove(&player(n)).unwrap_or_default() {
                match reason {
                    EventReason::Lost => device.break_off().await,
                    _ => device.quit().await,
                }
                self.ledger.closed(&player(n), reason.clone());
            }
        }
    }

    /// Waits until the events, the service's responses and what friends are shown match the ledger.
    async fn settle(&mut self) -> bool {
        let expected = self.ledger.transitions();
        if timeout(SETTLE_TIMEOUT, self.feed.reached(expected))
            .await
            .is_err()
        {
            let found = self.feed.events().len();
            return self.fail(format!(
                "{found} events instead of {expected} after {SETTLE_TIMEOUT:?}"
            ));
        }
        self.settle_responses().await
    }

    async fn settle_responses(&mut self) -> bool {
        let begin = Instant::now();
        loop {
            let mut wrong = audit::wrong_presences(&self.environment, &self.ledger).await;
            wrong.extend(self.friends.wrong(&self.ledger));
            match wrong.first() {
                None => return true,
                Some(_) if begin.elapsed() < SETTLE_TIMEOUT => {
                    sleep(Duration::from_millis(100)).await
                }
                Some(first) => {
                    let count = wrong.len();
                    let text = format!(
                        "{count} presences are still wrong after {SETTLE_TIMEOUT:?}, such as {first}"
                    );
                    return self.fail(text);
                }
            }
        }
    }

    fn fail(&mut self, text: String) -> bool {
        self.screen.bad(&text);
        self.audit.failures += 1;
        false
    }
}

fn player(n: usize) -> String {
    format!("player-{n:03}")
}
