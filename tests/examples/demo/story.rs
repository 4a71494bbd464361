//! What happens, act by act.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use presence_tests::Device;
use tokio::time::{sleep, timeout};

use crate::{
    audit::{self, Audit},
    feed::Feed,
    friends::Friends,
    ledger::{self, Ledger},
    screen::Screen,
    stage::{HEARTBEAT_INTERVAL, SWEEP_INTERVAL, Stage, TTL},
};

const PLAYERS: usize = 300;

/// How long what should become so may take. A machine that is busy needs more than one interval of everything.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long an act goes on once all is settled, for whoever looks at the figures.
const LOOK: Duration = Duration::from_secs(3);

pub(crate) struct Story {
    stage: Stage,
    screen: Screen,
    feed: Feed,
    friends: Friends,
    ledger: Ledger,
    /// The players' devices, each with the gateway that it is connected to.
    devices: HashMap<String, Vec<(usize, Device)>>,
    audit: Audit,
}

impl Story {
    pub(crate) fn new(stage: Stage, screen: Screen) -> Self {
        let feed = Feed::follow(stage.nats.url());
        stage.show_status(&screen, &feed);
        let friends = stage.watch((0..PLAYERS).map(player));
        Self {
            stage,
            screen,
            feed,
            friends,
            ledger: Ledger::default(),
            devices: HashMap::new(),
            audit: Audit::default(),
        }
    }

    /// Plays the acts until one goes wrong, and prints the summary. Returns whether all is well.
    pub(crate) async fn play(mut self) -> bool {
        let _ = self.players_come_online().await
            && self.players_change_state().await
            && self.a_gateway_is_killed().await
            && self.its_players_come_back().await
            && self.gateways_are_restarted_one_after_the_other().await
            && self.a_server_is_killed().await
            && self.nats_is_killed().await
            && self.everybody_leaves().await;
        self.screen.end_status();
        audit::sum_up(self.audit, &self.stage, &self.friends, &self.ledger, &self.screen).await
    }

    async fn players_come_online(&mut self) -> bool {
        self.screen.act("300 players come online, 60 of them on two devices");
        for n in 0..PLAYERS {
            self.open(&player(n), n % 2).await;
            if n % 5 == 0 {
                self.open(&player(n), 1 - n % 2).await;
            }
            sleep(Duration::from_millis(12)).await; // or it would be over before anybody sees it
        }
        let (sockets, events) = (self.ledger.sockets(), self.ledger.transitions());
        let result = format!("{sockets} sockets, and {events} events: a second device makes none");
        self.settle().await && self.look_at(&result).await
    }

    async fn players_change_state(&mut self) -> bool {
        self.screen
            .act("Some queue, some of them find a match, some go away from their keyboards, some play in a party");
        self.all_say(|n| (1..=4).contains(&(n % 10)), "IN_QUEUE").await;
        let have_queued = self.settle().await;
        self.all_say(|n| (1..=2).contains(&(n % 10)), "IN_MATCH").await;
        self.all_say(|n| n % 10 == 5, "AWAY").await;
        // Of the parties, some are on gateway A, some on B, and some players are connected to both.
        let have_changed = have_queued && self.settle().await;
        self.all_play(|n| n % 10 <= 2, 2).await;
        have_changed
            && self.settle().await
            && self.look_at("every change has its event; friends are shown: Ranked, 2/4, joinable").await
    }

    async fn a_gateway_is_killed(&mut self) -> bool {
        self.screen.act("Gateway A is killed with -9");
        let begin = Instant::now();
        self.audit.gateway_killed_at = audit::unix_ms();
        self.stage.gateways[0].kill();
        let mut gone = 0;
        for (player, devices) in &mut self.devices {
            let (dead, alive): (Vec<_>, Vec<_>) = devices.drain(..).partition(|(gateway, _)| *gateway == 0);
            gone += usize::from(!dead.is_empty() && alive.is_empty());
            *devices = alive;
            dead.iter().for_each(|_| self.ledger.closed(player, "lost"));
        }
        if !self.settle().await {
            return false;
        }
        let seconds = begin.elapsed().as_secs_f64();
        self.screen
            .good(&format!("{gone} players with no other device are OFFLINE, {seconds:.1} s later at the latest:"));
        self.screen.good("long before their own leases expire, because their gateway's lease has expired");
        self.screen.good("their friends are shown that, and no activity of theirs any more");
        self.look_at("those with a second device on gateway B stay as they were, with their activities").await
    }

    async fn its_players_come_back(&mut self) -> bool {
        self.screen.act("Gateway A is started again, and its players come back");
        self.stage.restart_gateway(0);
        for n in 0..PLAYERS {
            if self.devices.get(&player(n)).is_none_or(Vec::is_empty) {
                self.open(&player(n), 0).await;
            }
        }
        self.settle().await && self.look_at("all are there").await
    }

    async fn gateways_are_restarted_one_after_the_other(&mut self) -> bool {
        self.screen.act("A rolling restart: each gateway gets SIGTERM, and its players move to the other one");
        let (events, shown) = (self.feed.events().len(), self.friends.changes());
        let mut moved = 0;
        for gateway in 0..self.stage.gateways.len() {
            self.stage.gateways[gateway].signal("TERM");
            let Some(count) = self.move_players_from(gateway).await else { return false };
            moved += count;
            self.stage.restart_gateway(gateway);
        }
        if !self.settle().await {
            return false;
        }
        self.screen.good(&format!("{moved} sockets moved"));
        sleep(LOOK).await;
        self.audit.news_of_restart = self.feed.events().len() - events + self.friends.changes() - shown;
        match self.audit.news_of_restart {
            0 => self.look_at("there was no event, and no friend was shown anything").await,
            news => self.fail(format!("{news} events, or changes that friends were shown, by a rolling restart")),
        }
    }

    /// Connects each player of a gateway that closes its sockets to the other one. Returns how many sockets that were.
    async fn move_players_from(&mut self, gateway: usize) -> Option<usize> {
        let mut moving = Vec::new();
        for (player, devices) in &mut self.devices {
            let (closing, others): (Vec<_>, Vec<_>) = devices.drain(..).partition(|(on, _)| *on == gateway);
            *devices = others;
            moving.extend(closing.into_iter().map(|(_, device)| (player.clone(), device)));
        }
        let count = moving.len();
        for (player, device) in moving {
            if timeout(PATIENCE, device.closed()).await.is_err() {
                self.fail(format!("the gateway did not close the socket of {player}"));
                return None;
            }
            self.ledger.moves(&player);
            self.open(&player, 1 - gateway).await;
        }
        Some(count)
    }

    async fn a_server_is_killed(&mut self) -> bool {
        self.screen.act("Presence server 1 is killed with -9, the load balancer goes on with server 2");
        let before = self.feed.events().len();
        let begin = Instant::now();
        self.stage.servers[0].kill();
        self.all_say(|n| n % 10 == 6, "IN_QUEUE").await;
        self.all_play(|n| n % 10 == 1, 3).await;
        let have_queued = self.settle().await;
        // Whoever was lost with it would be OFFLINE by then.
        sleep((TTL + HEARTBEAT_INTERVAL + SWEEP_INTERVAL).saturating_sub(begin.elapsed())).await;
        let offline = self.feed.events()[before..].iter().filter(|event| event.state == "OFFLINE").count();
        self.audit.offline_without_server = offline;
        let changed = self.feed.events().len() - before - offline;
        let is_well = have_queued && self.settle().await;
        if is_well {
            self.screen
                .good(&format!("{offline} players went OFFLINE; {changed} went to queue or have another activity"));
            self.screen.good(&format!("friends are shown that, on stream {}", self.friends.streams()));
        }
        self.stage.restart_server(0);
        self.screen.note("server 1 is started again");
        is_well
    }

    async fn nats_is_killed(&mut self) -> bool {
        self.screen.act("NATS is killed with -9");
        self.stage.nats.kill();
        let before = self.ledger.transitions();
        self.all_say(|n| n % 10 == 8, "IN_QUEUE").await;
        self.all_play(|n| n % 20 == 10, 4).await;
        self.leave(|n| n % 10 == 9, "disconnect").await;
        let changes = self.ledger.transitions() - before;
        let result = format!("{changes} players changed their states or activities, and every answer says so");
        if !self.settle_answers().await {
            return false;
        }
        self.screen.good(&result);
        if !self.look_at("friends are shown them all the same: the servers read Redis instead").await {
            return false;
        }
        self.stage.nats.restart().await;
        self.screen.note("NATS is started again");
        self.settle().await && self.look_at(&format!("the {changes} events are there")).await
    }

    async fn everybody_leaves(&mut self) -> bool {
        self.audit.look_at_each(&self.stage, &self.ledger).await;
        self.screen.act("The players leave: most of them quit, the sockets of some break");
        self.leave(|n| n % 10 == 0, "lost").await;
        self.leave(|_| true, "disconnect").await;
        let are_gone = self.settle().await;
        self.audit.look_at_each(&self.stage, &self.ledger).await;
        are_gone && self.look_at("nobody is left").await
    }

    /// Says what came of an act, and lets it go on for a while.
    async fn look_at(&self, result: &str) -> bool {
        self.screen.good(result);
        sleep(LOOK).await;
        true
    }

    async fn open(&mut self, player: &str, gateway: usize) {
        match Device::open(&self.stage.gateways[gateway].url(player)).await {
            Ok(device) => {
                self.ledger.opened(player);
                self.devices.entry(player.to_owned()).or_default().push((gateway, device));
            }
            Err(error) => _ = self.fail(format!("{player} could not connect: {error}")),
        }
    }

    /// Players who are there say what they do now, over their first device.
    async fn all_say(&mut self, is_meant: impl Fn(usize) -> bool, state: &'static str) {
        for n in (0..PLAYERS).filter(|n| is_meant(*n)) {
            if let Some((_, device)) = self.devices.get(&player(n)).and_then(|devices| devices.first()) {
                device.say(state).await;
                self.ledger.said(&player(n), state);
            }
        }
    }

    /// Players who are connected play in parties of this size now, as they say over their first device.
    async fn all_play(&mut self, is_meant: impl Fn(usize) -> bool, party_size: u16) {
        for n in (0..PLAYERS).filter(|n| is_meant(*n)) {
            if let Some((_, device)) = self.devices.get(&player(n)).and_then(|devices| devices.first()) {
                device.show(&ledger::activity(party_size)).await;
                self.ledger.plays(&player(n), party_size);
            }
        }
    }

    async fn leave(&mut self, is_meant: impl Fn(usize) -> bool, reason: &'static str) {
        for n in (0..PLAYERS).filter(|n| is_meant(*n)) {
            for (_, device) in self.devices.remove(&player(n)).unwrap_or_default() {
                match reason {
                    "lost" => device.break_off().await,
                    _ => device.quit().await,
                }
                self.ledger.closed(&player(n), reason);
            }
        }
    }

    /// Waits until the events, the service's answers and what friends are shown say what the ledger says.
    async fn settle(&mut self) -> bool {
        let expected = self.ledger.transitions();
        if timeout(PATIENCE, self.feed.reached(expected)).await.is_err() {
            let found = self.feed.events().len();
            return self.fail(format!("{found} events instead of {expected} after {PATIENCE:?}"));
        }
        self.settle_answers().await
    }

    async fn settle_answers(&mut self) -> bool {
        let begin = Instant::now();
        loop {
            let mut wrong = audit::wrong_answers(&self.stage, &self.ledger).await;
            wrong.extend(self.friends.wrong(&self.ledger));
            match wrong.first() {
                None => return true,
                Some(_) if begin.elapsed() < PATIENCE => sleep(Duration::from_millis(100)).await,
                Some(first) => {
                    let text = format!(
                        "{} answers, or what friends are shown, are still wrong after {PATIENCE:?}, such as {first}",
                        wrong.len()
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
