//! Comparison of the stream and the service's responses with the ledger.

use std::{
    collections::{BTreeMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream};
use presence_client::{
    State,
    operator::{EventKind, EventReason, PresenceEvent},
};
use serde_json::Value;

use crate::{
    environment::{Environment, GATEWAY_TTL, SWEEP_INTERVAL},
    feed::STREAM,
    friends::Friends,
    ledger::{Account, Ledger, Transition},
    screen::{BAD, GOOD, Screen},
};

/// Findings collected while the acts run.
#[derive(Default)]
pub(crate) struct Audit {
    /// The number of expectations that were not met in time.
    pub(crate) failures: usize,
    /// Players who went OFFLINE while a server was down.
    pub(crate) offline_without_server: usize,
    /// When a gateway was killed, in Unix milliseconds.
    pub(crate) gateway_killed_at: u64,
    /// Events, and changes that friends were shown, during the rolling restart of the gateways.
    pub(crate) changes_during_restart: usize,
    /// The number of `GET` requests for one player.
    requests: usize,
    /// The number of those requests whose response was wrong.
    wrong_responses: usize,
}

/// One line of the summary.
struct Row {
    label: &'static str,
    expected: String,
    found: usize,
    is_good: bool,
}

impl Audit {
    /// Reads each player with a call of its own.
    pub(crate) async fn check_each_player(&mut self, environment: &Environment, ledger: &Ledger) {
        let accounts = stream::iter(ledger.accounts());
        let checks = accounts
            .map(async |(player, account)| agrees(&environment.presence(player).await, account));
        let results: Vec<bool> = checks.buffer_unordered(16).collect().await;
        self.requests += results.len();
        self.wrong_responses += results.iter().filter(|agrees| !**agrees).count();
    }
}

/// The presences in the friends response that contradict the ledger; all players if the call fails.
pub(crate) async fn wrong_presences(environment: &Environment, ledger: &Ledger) -> Vec<String> {
    let players = ledger.players();
    let Some(presences) = environment.presences(&players).await else {
        return players;
    };
    let of_players = presences.iter().zip(&players);
    let wrong = of_players
        .filter(|(presence, player)| !ledger.account(player).is_some_and(|a| agrees(presence, a)));
    wrong.map(|(presence, _)| presence.to_string()).collect()
}

fn agrees(presence: &Value, account: &Account) -> bool {
    presence["state"] == account.state().as_str()
        && presence["connection_count"] == account.sockets
        && presence.get("activity") == account.activity().as_ref()
}

/// Compares events, responses and what friends were shown with the ledger, and prints the result.
/// Returns whether all figures match.
pub(crate) async fn summarize(
    audit: Audit,
    environment: &Environment,
    friends: &Friends,
    ledger: &Ledger,
    screen: &Screen,
) -> bool {
    screen.act("Summary: the service against the demo's own ledger of sockets");
    let messages = environment.nats.messages(STREAM).await;
    let events: Vec<PresenceEvent> = messages
        .iter()
        .filter_map(|message| serde_json::from_slice(&message.payload).ok())
        .collect();
    let records = environment
        .redis
        .keys()
        .await
        .into_iter()
        .filter(|key| key.starts_with("presence:player-"))
        .count();
    let mut rows = count_events(&events, ledger);
    rows.extend(check_order(&events, ledger));
    rows.push(slowest_detection(&events, audit.gateway_killed_at));
    rows.push(Row::equal(
        "events and changes shown by a rolling restart",
        0,
        audit.changes_during_restart,
    ));
    rows.push(Row::equal(
        "players OFFLINE because a server was killed",
        0,
        audit.offline_without_server,
    ));
    rows.push(Row::equal(
        "responses about one player",
        2 * ledger.players().len(),
        audit.requests,
    ));
    rows.push(Row::equal(
        "of these, wrong in state, activity or count",
        0,
        audit.wrong_responses,
    ));
    rows.push(Row::equal(
        "players shown to friends in a wrong state",
        0,
        friends.wrong(ledger).len(),
    ));
    rows.push(Row {
        label: "changes that friends were shown",
        expected: format!("≤ {}", ledger.transitions()),
        found: friends.changes(),
        is_good: (1..=ledger.transitions()).contains(&friends.changes()),
    });
    rows.push(Row::equal(
        "of these, shown twice or out of order",
        0,
        friends.anomalies(),
    ));
    rows.push(Row::equal("records left in Redis", 0, records));
    rows.push(Row::equal(
        "steps that did not settle in time",
        0,
        audit.failures,
    ));
    screen.print(&format!(
        "       {:<52} {:>10} {:>8}\n",
        "", "expected", "found"
    ));
    rows.iter().for_each(|row| row.print(screen));
    let wrong = rows.iter().filter(|row| !row.is_good).count();
    match wrong {
        0 => screen.print(&format!("\n     {GOOD}All figures match.{GOOD:#}\n")),
        _ => screen.print(&format!(
            "\n     {BAD}{wrong} of the figures do not match.{BAD:#}\n"
        )),
    }
    wrong == 0
}

fn count_events(events: &[PresenceEvent], ledger: &Ledger) -> Vec<Row> {
    let count_events =
        |is_so: &dyn Fn(&PresenceEvent) -> bool| events.iter().filter(|event| is_so(event)).count();
    let count_expected = |reason: EventReason| {
        ledger.count(move |t: &Transition| t.state == State::Offline && t.reason == reason)
    };
    let count_offline = |reason: EventReason| {
        count_events(&|event| event.kind == EventKind::Offline && event.reason == reason)
    };
    vec![
        Row::equal("events in the stream", ledger.transitions(), events.len()),
        Row::equal(
            "PresenceOnline",
            ledger.count(|t| t.state == State::Online && t.reason == EventReason::Connect),
            count_events(&|event| event.kind == EventKind::Online),
        ),
        Row::equal(
            "PresenceStateChanged",
            ledger.count(|t| matches!(t.reason, EventReason::SetState | EventReason::SetActivity)),
            count_events(&|event| event.kind == EventKind::StateChanged),
        ),
        Row::equal(
            "of these, changes of the activity",
            ledger.count(|t| t.reason == EventReason::SetActivity),
            count_events(&|event| event.reason == EventReason::SetActivity),
        ),
        Row::equal(
            "PresenceOffline, as the lease expired",
            count_expected(EventReason::Expired),
            count_offline(EventReason::Expired),
        ),
        Row::equal(
            "PresenceOffline, as the player quit",
            count_expected(EventReason::Disconnect),
            count_offline(EventReason::Disconnect),
        ),
        Row::equal(
            "PresenceOffline, as the socket or gateway broke",
            count_expected(EventReason::Lost),
            count_offline(EventReason::Lost),
        ),
    ]
}

fn check_order(events: &[PresenceEvent], ledger: &Ledger) -> Vec<Row> {
    let mut players = BTreeMap::<&str, Vec<&PresenceEvent>>::new();
    for event in events {
        players
            .entry(event.player_id.as_str())
            .or_default()
            .push(event);
    }
    players
        .values_mut()
        .for_each(|events| events.sort_by_key(|event| event.version));
    let get_pairs = || players.values().flat_map(|events| events.windows(2));
    let matches_ledger = |(player, account): (&String, &Account)| {
        let events = players
            .get(&**player)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let found = events.iter().map(|event| (event.state, &event.reason));
        found.eq(account
            .transitions
            .iter()
            .map(|transition| (transition.state, &transition.reason)))
    };
    let ids: HashSet<_> = events.iter().map(|event| &event.id).collect();
    vec![
        Row::equal("events sent twice", 0, events.len() - ids.len()),
        Row::equal(
            "versions that do not increase",
            0,
            get_pairs()
                .filter(|pair| pair[0].version >= pair[1].version)
                .count(),
        ),
        Row::equal(
            "events whose previous state is wrong",
            0,
            get_pairs()
                .filter(|pair| pair[0].state != pair[1].previous_state)
                .count(),
        ),
        Row::equal(
            "players whose events match the ledger",
            ledger.players().len(),
            ledger
                .accounts()
                .filter(|account| matches_ledger(*account))
                .count(),
        ),
    ]
}

/// The time from the kill of the gateway to the last of its players going OFFLINE. Players whose
/// sockets broke or who left come later, after other events.
fn slowest_detection(events: &[PresenceEvent], killed_at: u64) -> Row {
    let limit_ms = (GATEWAY_TTL + SWEEP_INTERVAL).as_millis() as usize + 500;
    let next = events
        .iter()
        .filter(|event| event.occurred_at > killed_at && event.state != State::Offline);
    let next_at = next
        .map(|event| event.occurred_at)
        .min()
        .unwrap_or(u64::MAX);
    let lost = events
        .iter()
        .filter(|event| event.reason == EventReason::Lost && event.occurred_at < next_at);
    let found = lost
        .map(|event| event.occurred_at.saturating_sub(killed_at))
        .max()
        .unwrap_or_default() as usize;
    Row {
        label: "ms from a gateway's crash to OFFLINE, at most",
        expected: format!("≤ {limit_ms}"),
        found,
        is_good: found <= limit_ms,
    }
}

/// The host's clock, which Redis uses, too.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

impl Row {
    fn equal(label: &'static str, expected: usize, found: usize) -> Self {
        Self {
            label,
            expected: expected.to_string(),
            found,
            is_good: expected == found,
        }
    }

    fn print(&self, screen: &Screen) {
        let line = format!("{:<52} {:>10} {:>8}", self.label, self.expected, self.found);
        if self.is_good {
            screen.good(&line)
        } else {
            screen.bad(&line)
        }
    }
}
