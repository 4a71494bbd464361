//! Whether the stream and the service's answers say what the ledger says.

use std::{
    collections::{BTreeMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::{
    feed::{Event, STREAM},
    friends::Friends,
    ledger::{Account, Ledger, Transition},
    screen::{BAD, GOOD, Screen},
    stage::{GATEWAY_TTL, SWEEP_INTERVAL, Stage},
};

/// What was found wrong on the way, or right.
#[derive(Default)]
pub(crate) struct Audit {
    /// How often something did not come about in time.
    pub(crate) failures: usize,
    /// Players who went OFFLINE while a server was away.
    pub(crate) offline_without_server: usize,
    /// When a gateway was killed, in Unix milliseconds.
    pub(crate) gateway_killed_at: u64,
    /// Events, and changes that friends were shown, while the gateways were restarted one after the other.
    pub(crate) news_of_restart: usize,
    /// `GET`s made for one player, and those whose answer was wrong.
    asked: usize,
    wrong: usize,
}

/// One line of the summary.
struct Row {
    what: &'static str,
    expected: String,
    found: usize,
    is_good: bool,
}

impl Audit {
    /// Asks for each player by a call of its own.
    pub(crate) async fn look_at_each(&mut self, stage: &Stage, ledger: &Ledger) {
        let answers = stream::iter(ledger.accounts());
        let is_wrong = answers.map(async |(player, account)| !agrees(&stage.presence(player).await, account));
        let is_wrong: Vec<bool> = is_wrong.buffer_unordered(16).collect().await;
        self.asked += is_wrong.len();
        self.wrong += is_wrong.iter().filter(|is_wrong| **is_wrong).count();
    }
}

/// The service's answers that the ledger contradicts; all of them where there is no answer.
pub(crate) async fn wrong_answers(stage: &Stage, ledger: &Ledger) -> Vec<String> {
    let players = ledger.players();
    let Some(presences) = stage.presences(&players).await else { return players };
    let of_players = presences.iter().zip(&players);
    let wrong = of_players.filter(|(presence, player)| !ledger.account(player).is_some_and(|a| agrees(presence, a)));
    wrong.map(|(presence, _)| presence.to_string()).collect()
}

fn agrees(presence: &Value, account: &Account) -> bool {
    presence["state"] == account.state()
        && presence["connection_count"] == account.sockets
        && presence.get("activity") == account.activity().as_ref()
}

/// Compares all that there is with the ledger, and prints it. Returns whether all is well.
pub(crate) async fn sum_up(audit: Audit, stage: &Stage, friends: &Friends, ledger: &Ledger, screen: &Screen) -> bool {
    screen.act("The summary, against an account of which sockets were open when");
    let messages = stage.nats.messages(STREAM).await;
    let events: Vec<Event> =
        messages.iter().filter_map(|message| serde_json::from_slice(&message.payload).ok()).collect();
    let records = stage.redis.keys().await.into_iter().filter(|key| key.starts_with("presence:player-")).count();
    let mut rows = count_events(&events, ledger);
    rows.extend(check_order(&events, ledger));
    rows.push(slowest_detection(&events, audit.gateway_killed_at));
    rows.push(Row::equal("events, and changes shown, by a rolling restart", 0, audit.news_of_restart));
    rows.push(Row::equal("players OFFLINE because a server was killed", 0, audit.offline_without_server));
    rows.push(Row::equal("answers about one player, all told", 2 * ledger.players().len(), audit.asked));
    rows.push(Row::equal("of these wrong in state, activity or count", 0, audit.wrong));
    rows.push(Row::equal("players that friends are shown otherwise", 0, friends.wrong(ledger).len()));
    rows.push(Row {
        what: "changes that friends were shown",
        expected: format!("≤ {}", ledger.transitions()),
        found: friends.changes(),
        is_good: (1..=ledger.transitions()).contains(&friends.changes()),
    });
    rows.push(Row::equal("of these shown twice, or not in order", 0, friends.anomalies()));
    rows.push(Row::equal("records left in Redis", 0, records));
    rows.push(Row::equal("steps that did not settle in time", 0, audit.failures));
    screen.print(&format!("       {:<52} {:>10} {:>8}\n", "", "expected", "found"));
    rows.iter().for_each(|row| row.print(screen));
    let wrong = rows.iter().filter(|row| !row.is_good).count();
    match wrong {
        0 => screen.print(&format!("\n     {GOOD}All figures are as they should be.{GOOD:#}\n")),
        _ => screen.print(&format!("\n     {BAD}{wrong} of the figures are not as they should be.{BAD:#}\n")),
    }
    wrong == 0
}

fn count_events(events: &[Event], ledger: &Ledger) -> Vec<Row> {
    let found = |is_so: &dyn Fn(&Event) -> bool| events.iter().filter(|event| is_so(event)).count();
    let went = |reason| ledger.count(move |t: &Transition| t.state == "OFFLINE" && t.reason == reason);
    let gone = |reason: &str| found(&|event| event.kind == "PresenceOffline" && event.reason == reason);
    vec![
        Row::equal("events in the stream", ledger.transitions(), events.len()),
        Row::equal(
            "PresenceOnline",
            ledger.count(|t| t.state == "ONLINE" && t.reason == "connect"),
            found(&|event| event.kind == "PresenceOnline"),
        ),
        Row::equal(
            "PresenceStateChanged",
            ledger.count(|t| ["set_state", "set_activity"].contains(&t.reason)),
            found(&|event| event.kind == "PresenceStateChanged"),
        ),
        Row::equal(
            "of these, of players with another activity",
            ledger.count(|t| t.reason == "set_activity"),
            found(&|event| event.reason == "set_activity"),
        ),
        Row::equal("PresenceOffline, as the lease ran out", went("expired"), gone("expired")),
        Row::equal("PresenceOffline, as the player quit", went("disconnect"), gone("disconnect")),
        Row::equal("PresenceOffline, as the socket or its gateway broke", went("lost"), gone("lost")),
    ]
}

fn check_order(events: &[Event], ledger: &Ledger) -> Vec<Row> {
    let mut players = BTreeMap::<&str, Vec<&Event>>::new();
    for event in events {
        players.entry(&event.player_id).or_default().push(event);
    }
    players.values_mut().for_each(|events| events.sort_by_key(|event| event.version));
    let pairs = || players.values().flat_map(|events| events.windows(2));
    let as_it_was = |(player, account): (&String, &Account)| {
        let events = players.get(&**player).map(Vec::as_slice).unwrap_or_default();
        let told = events.iter().map(|event| (&*event.state, &*event.reason));
        told.eq(account.transitions.iter().map(|transition| (transition.state, transition.reason)))
    };
    let ids: HashSet<_> = events.iter().map(|event| &event.id).collect();
    vec![
        Row::equal("events told twice", 0, events.len() - ids.len()),
        Row::equal("versions that do not rise", 0, pairs().filter(|pair| pair[0].version >= pair[1].version).count()),
        Row::equal(
            "events that do not follow from the one before",
            0,
            pairs().filter(|pair| pair[0].state != pair[1].previous_state).count(),
        ),
        Row::equal(
            "players whose events tell just what happened",
            ledger.players().len(),
            ledger.accounts().filter(|account| as_it_was(*account)).count(),
        ),
    ]
}

/// From the kill of the gateway to the last of its players OFFLINE. Sockets that broke, and players who left, came later.
fn slowest_detection(events: &[Event], killed_at: u64) -> Row {
    let most = (GATEWAY_TTL + SWEEP_INTERVAL).as_millis() as usize + 500;
    let next = events.iter().filter(|event| event.occurred_at > killed_at && event.state != "OFFLINE");
    let next_at = next.map(|event| event.occurred_at).min().unwrap_or(u64::MAX);
    let lost = events.iter().filter(|event| event.reason == "lost" && event.occurred_at < next_at);
    let found = lost.map(|event| event.occurred_at.saturating_sub(killed_at)).max().unwrap_or_default() as usize;
    Row {
        what: "ms from a gateway's crash to OFFLINE, at most",
        expected: format!("≤ {most}"),
        found,
        is_good: found <= most,
    }
}

/// The host's clock, which is Redis's as well.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Row {
    fn equal(what: &'static str, expected: usize, found: usize) -> Self {
        Self { what, expected: expected.to_string(), found, is_good: expected == found }
    }

    fn print(&self, screen: &Screen) {
        let line = format!("{:<52} {:>10} {:>8}", self.what, self.expected, self.found);
        if self.is_good { screen.good(&line) } else { screen.bad(&line) }
    }
}
