//! Checker of a history. It knows what the docs promise, and nothing of the code. Each check
//! reports violations of one invariant.

mod failure_report;
mod gateway_leases;
mod gateway_tolerances;
mod gateways;
mod leases;
mod moving;
mod recovery;
mod responses;
mod stream;
#[cfg(test)]
mod tests;
mod tolerances;
mod watching;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use super::history::{Call, Delivery, Event, History, Millis, Read, Socket, player_id};
use gateway_leases::GatewayLeases;
use leases::Leases;
use tolerances::Tolerances;

/// An invariant of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// A player who is not OFFLINE in a response, and each connection that it counts, was reported
    /// within the TTL.
    NoGhost,
    /// A player with a certain lease is not OFFLINE in a response, and the lease is counted.
    NoFalseOffline,
    /// A player with a certain lease has no OFFLINE event.
    NoFalseOfflineEvent,
    /// A record that expired has an OFFLINE event within a sweep interval.
    PromptExpiry,
    /// The state and version in a response are those of an event in the stream, and no response is
    /// older than the stream.
    NoTransitionWithoutEvent,
    /// The stream holds each event once.
    NoEventTwice,
    /// A player's versions rise, in events and in responses, and are never below the time of the
    /// transition.
    RisingVersions,
    /// The `previous_state` of a player's event is the `state` of the event before.
    UnbrokenChain,
    /// Each event has a call, or a missing call, that can have caused it.
    CausedEvent,
    /// A closed connection stays closed, and only a closed connection is refused.
    ClosedStaysClosed,
    /// Gateways send no heartbeat for a closed socket, and no disconnect for an open one.
    TruthfulGateway,
    /// Every server reads and writes again soon after a fault of Redis.
    PromptRecovery,
    /// A player's versions do not decrease on one stream of a watcher.
    RisingOnStream,
    /// What a watcher holds when its request is complete is no older than the request.
    FreshSnapshot,
    /// Soon after the last fault and the last transition, a watcher holds what Redis does.
    WatcherTruth,
    /// A gateway is lost only after its lease expired, and not while a fault between gateways and
    /// Redis is more likely: after an outage, or if half of the gateways expire at once.
    NoFalseLoss,
    /// The connections of a gateway that left, or whose lease expired, soon no longer count.
    PromptEnd,
    /// A player whose gateway restarts as planned is not OFFLINE within the move grace.
    QuietMove,
    /// After the last fault, responses agree with the sockets; at the end no player and no key is
    /// left.
    FinalTruth,
}

/// A violation of an invariant.
#[derive(Debug)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// The player concerned, if it concerns one.
    pub player: Option<u32>,
    /// The time.
    pub at: Millis,
    /// A description.
    pub text: String,
}

/// The result of a check.
#[derive(Debug, Default)]
pub struct Report {
    /// All violations.
    pub violations: Vec<Violation>,
    /// How often each check was applied, how often an anomaly was allowed, and the longest
    /// recovery.
    pub counts: BTreeMap<&'static str, usize>,
}

/// Everything that was seen of one player.
struct Player<'a> {
    number: u32,
    calls: Vec<&'a Call>,
    reads: Vec<&'a Read>,
    /// By version.
    events: Vec<&'a Event>,
    sockets: Vec<&'a Socket>,
    /// In the order of their arrival.
    deliveries: Vec<&'a Delivery>,
}

/// The input of the checks of one player.
struct Context<'a> {
    player: Player<'a>,
    leases: Leases<'a>,
    history: &'a History,
    tolerances: &'a Tolerances<'a>,
}

/// Checks a whole history.
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    let tolerances = Tolerances::new(history);
    stream::check_ids(history, &mut report);
    recovery::check(history, &mut report);
    for anomaly in &history.anomalies {
        report.violate(Invariant::FinalTruth, None, 0, anomaly.clone());
    }
    let gateways = GatewayLeases::new(history, &tolerances);
    gateways.check(&tolerances, &mut report);
    for player in players(history) {
        let leases = Leases::new(&player.calls, &gateways, &tolerances, player.number);
        let context = Context {
            player,
            leases,
            history,
            tolerances: &tolerances,
        };
        responses::check(&context, &mut report);
        stream::check(&context, &mut report);
        gateways::check(&context, &mut report);
        moving::check(&context, &mut report);
        watching::check(&context, &mut report);
    }
    report.violations.sort_by_key(|violation| violation.at);
    report
}

impl Report {
    fn violate(&mut self, invariant: Invariant, player: Option<u32>, at: Millis, text: String) {
        self.violations.push(Violation {
            invariant,
            player,
            at,
            text,
        });
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn longest(&mut self, what: &'static str, took: Millis) {
        let longest = self.counts.entry(what).or_default();
        *longest = (took as usize).max(*longest);
    }

    /// How often a check was applied.
    pub fn counted(&self, what: &str) -> usize {
        self.counts.get(what).copied().unwrap_or_default()
    }

    /// The first violation of each invariant, with everything that was seen of its player around
    /// that time.
    pub fn explain(&self, history: &History) -> String {
        let mut reported = HashSet::new();
        let first = self
            .violations
            .iter()
            .filter(|violation| reported.insert(violation.invariant as usize));
        let to_text = |violation: &Violation| {
            let count = self
                .violations
                .iter()
                .filter(|other| other.invariant == violation.invariant)
                .count();
            format!(
                "{violation} ({count} of this kind)\n{}",
                failure_report::describe(history, violation)
            )
        };
        first.map(to_text).collect()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let player = self.player.map(player_id).unwrap_or_default();
        write!(
            f,
            "{:?} {player} at {}: {}",
            self.invariant, self.at, self.text
        )
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
        deliveries: Vec::new(),
    };
    for call in &history.calls {
        players
            .entry(call.player)
            .or_insert_with(|| new(call.player))
            .calls
            .push(call);
    }
    for read in &history.reads {
        players
            .entry(read.player)
            .or_insert_with(|| new(read.player))
            .reads
            .push(read);
    }
    for event in &history.events {
        players
            .entry(event.player)
            .or_insert_with(|| new(event.player))
            .events
            .push(event);
    }
    for socket in &history.sockets {
        players
            .entry(socket.player)
            .or_insert_with(|| new(socket.player))
            .sockets
            .push(socket);
    }
    for delivery in &history.deliveries {
        players
            .entry(delivery.player)
            .or_insert_with(|| new(delivery.player))
            .deliveries
            .push(delivery);
    }
    for player in players.values_mut() {
        player.calls.sort_by_key(|call| call.sent);
        player.reads.sort_by_key(|read| read.as_of);
        player.events.sort_by_key(|event| event.version);
    }
    players.into_values().collect()
}
