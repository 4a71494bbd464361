//! Whether what was seen may be so. Knows the contract and nothing of the code: each check names its invariant.

mod answers;
mod excuses;
mod gateway_excuses;
mod gateway_leases;
mod gateways;
mod leases;
mod moving;
mod recovery;
mod story;
mod stream;
#[cfg(test)]
mod tests;
mod watching;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use super::history::{Call, Event, History, Millis, Read, Sight, Socket, player_id};
use excuses::Excuses;
use gateway_leases::GatewayLeases;
use leases::Leases;

/// What a run is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Who is not OFFLINE in an answer, or counted in it, has told the service of it within the TTL.
    NoGhost,
    /// Whose lease is certain to run is not OFFLINE in an answer, and is counted.
    NoFalseOffline,
    /// Nobody's OFFLINE event comes while a lease is certain to run.
    NoFalseOfflineEvent,
    /// Who ran out has an OFFLINE event within a sweep interval.
    PromptExpiry,
    /// Whatever state and version an answer has, the stream has the event that made it; and no answer lags behind it.
    NoTransitionWithoutEvent,
    /// The stream has no event twice.
    NoEventTwice,
    /// A player's versions rise, in events and in answers, and are never below the time of their making.
    RisingVersions,
    /// A player's event begins with the state that the one before ended with.
    UnbrokenChain,
    /// Each event has a call, or a silence, that it can come from.
    CausedEvent,
    /// A closed connection stays closed; and none is called closed that was not.
    ClosedStaysClosed,
    /// Gateways tell the truth: no beat for a socket that is closed, no disconnect of one that is open.
    TruthfulGateway,
    /// Soon after a fault of Redis, every server reads and writes again.
    PromptRecovery,
    /// On one stream of a watcher, a player's versions do not fall.
    RisingOnStream,
    /// What a watcher holds when its request is complete is no older than the request.
    FreshSnapshot,
    /// Soon after the last fault and the last transition, a watcher holds what Redis does.
    WatcherTruth,
    /// No gateway is lost whose lease counts, nor while the fault is more likely in between: after an outage, or if half of
    /// the gateways expire at once.
    NoFalseLoss,
    /// A gateway that left, or whose lease expired, is forgotten soon, and its connections do not count any more.
    PromptEnd,
    /// A player whose gateway restarts as planned is not OFFLINE within the move grace.
    QuietMove,
    /// When all is well again, answers agree with the sockets; in the end nobody and nothing is left.
    FinalTruth,
}

/// Something that must not be.
#[derive(Debug)]
pub struct Violation {
    /// What it violates.
    pub invariant: Invariant,
    /// Whom it is about, if it is about anybody.
    pub player: Option<u32>,
    /// When.
    pub at: Millis,
    /// What was seen.
    pub text: String,
}

/// What a look at a history came to.
#[derive(Debug, Default)]
pub struct Report {
    /// All that must not be.
    pub violations: Vec<Violation>,
    /// How often each check had something to look at, and how often an excuse was needed; and the longest recovery.
    pub counts: BTreeMap<&'static str, usize>,
}

/// All that was seen of one player.
struct Player<'a> {
    number: u32,
    calls: Vec<&'a Call>,
    reads: Vec<&'a Read>,
    /// By version.
    events: Vec<&'a Event>,
    sockets: Vec<&'a Socket>,
    /// In the order of their arrival.
    sights: Vec<&'a Sight>,
}

/// What a check of one player sees.
struct Scene<'a> {
    player: Player<'a>,
    leases: Leases<'a>,
    history: &'a History,
    excuses: &'a Excuses<'a>,
}

/// Looks at a whole history.
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    let excuses = Excuses::new(history);
    stream::check_ids(history, &mut report);
    recovery::check(history, &mut report);
    for mishap in &history.mishaps {
        report.violate(Invariant::FinalTruth, None, 0, mishap.clone());
    }
    let gateways = GatewayLeases::new(history, &excuses);
    gateways.check(&excuses, &mut report);
    for player in players(history) {
        let leases = Leases::new(&player.calls, &gateways, &excuses, player.number);
        let scene = Scene { player, leases, history, excuses: &excuses };
        answers::check(&scene, &mut report);
        stream::check(&scene, &mut report);
        gateways::check(&scene, &mut report);
        moving::check(&scene, &mut report);
        watching::check(&scene, &mut report);
    }
    report.violations.sort_by_key(|violation| violation.at);
    report
}

impl Report {
    fn violate(&mut self, invariant: Invariant, player: Option<u32>, at: Millis, text: String) {
        self.violations.push(Violation { invariant, player, at, text });
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn longest(&mut self, what: &'static str, took: Millis) {
        let longest = self.counts.entry(what).or_default();
        *longest = (took as usize).max(*longest);
    }

    /// How often a check had something to look at.
    pub fn counted(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// The first violation of each invariant, with what was seen of its player around that time.
    pub fn explain(&self, history: &History) -> String {
        let mut told = HashSet::new();
        let first = self.violations.iter().filter(|violation| told.insert(violation.invariant as usize));
        let text = |violation: &Violation| {
            let count = self.violations.iter().filter(|other| other.invariant == violation.invariant).count();
            format!("{violation} ({count} of this kind)\n{}", story::tell(history, violation))
        };
        first.map(text).collect()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let player = self.player.map(player_id).unwrap_or_default();
        write!(f, "{:?} {player} at {}: {}", self.invariant, self.at, self.text)
    }
}

fn players(history: &History) -> Vec<Player<'_>> {
    let mut players = BTreeMap::<u32, Player<'_>>::new();
    let new = |number: u32| Player {
        number,
        calls: Vec::new(),
        reads: Vec::new(),
        events: Vec::new(),
        sockets: Vec::new(),
        sights: Vec::new(),
    };
    for call in &history.calls {
        players.entry(call.player).or_insert_with(|| new(call.player)).calls.push(call);
    }
    for read in &history.reads {
        players.entry(read.player).or_insert_with(|| new(read.player)).reads.push(read);
    }
    for event in &history.events {
        players.entry(event.player).or_insert_with(|| new(event.player)).events.push(event);
    }
    for socket in &history.sockets {
        players.entry(socket.player).or_insert_with(|| new(socket.player)).sockets.push(socket);
    }
    for sight in &history.sights {
        players.entry(sight.player).or_insert_with(|| new(sight.player)).sights.push(sight);
    }
    for player in players.values_mut() {
        player.calls.sort_by_key(|call| call.sent);
        player.reads.sort_by_key(|read| read.as_of);
        player.events.sort_by_key(|event| event.version);
    }
    players.into_values().collect()
}
