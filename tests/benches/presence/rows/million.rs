//! A million players that send heartbeats for a minute, while some connect and disconnect and
//! others read their friends.

use std::time::{Duration, Instant};

use presence_tests::NatsServer;
use serde_json::Value;

use crate::{
    cpu, http, players, redis,
    report::{Bar, Report},
    rows::friends,
};

const PLAYERS: usize = 1_000_000;
const INTERVAL: Duration = Duration::from_secs(15);
const DURATION: Duration = Duration::from_secs(60);

/// Players that connect and disconnect per second: 2 % of all per minute.
const CHURN: usize = PLAYERS / 50 / 60;

/// Friends calls per second.
pub(super) const LOOKUPS: usize = 50;
/// Players per friends call.
pub(super) const FRIENDS: usize = 200;

/// The maximum delay of a call's start. With a longer one, the rate is not kept.
pub(super) const MAX_LAG: Duration = Duration::from_secs(1);

/// The results of calls.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) wrong: u64,
    pub(super) lag: Duration,
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let (service, address) = super::server(&server, &[("PRESENCE_NATS_URL", &nats.url())]).await;
    let mut connection = server.connection().await;
    eprintln!("{} players connect …", players::thousands(PLAYERS));
    super::connect(&address, PLAYERS).await;
    let heartbeats: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    // On a slow machine, the first leases would expire before their events are published.
    http::load(&address, 4, &heartbeats).await;
    settle(&nats, PLAYERS as u64).await;

    let before = redis::cpu_time(&mut connection).await;
    http::load(&address, 4, &heartbeats).await;
    let at_full_rate = redis::cpu_time(&mut connection).await - before;

    eprintln!("and send heartbeats for {} s …", DURATION.as_secs());
    let batches_per_second = heartbeats.len() as f64 / INTERVAL.as_secs_f64();
    let batches = (DURATION.as_secs_f64() * batches_per_second) as usize;
    let lookups = DURATION.as_secs() as usize * LOOKUPS;
    let churns = 2 * DURATION.as_secs() as usize;
    redis::reset(&mut connection).await;
    let before = redis::cpu_time(&mut connection).await;
    let start = Instant::now();
    let build_heartbeat = |call: usize| heartbeats[call % heartbeats.len()].clone();
    let (renewed, looked_up, churned) = tokio::join!(
        send_at_rate(
            &address,
            start,
            batches,
            batches_per_second,
            build_heartbeat,
            is_accepted
        ),
        send_at_rate(&address, start, lookups, LOOKUPS as f64, lookup, are_online),
        send_at_rate(&address, start, churns, 2.0, churn, is_accepted),
    );
    let spent = (redis::cpu_time(&mut connection).await - before).as_secs_f64();
    let events = settle(&nats, (PLAYERS + churns * CHURN) as u64).await;

    let lag = [&renewed, &looked_up, &churned]
        .map(|tally| tally.lag)
        .into_iter()
        .max()
        .unwrap_or_default();
    let seconds = lag.as_secs_f64();
    let what = "a million players for 60 s: latest start of a call";
    report.add(
        what,
        format!("{seconds:.2} s late"),
        "–".to_owned(),
        seconds,
        Bar::AtMost(MAX_LAG.as_secs_f64()),
    );
    let wrong = (renewed.wrong + looked_up.wrong + churned.wrong) as f64;
    let figure = format!(
        "{} heartbeats",
        players::thousands(renewed.accepted as usize)
    );
    report.add(
        "restored, closed, failed or OFFLINE among them",
        figure,
        "–".to_owned(),
        wrong,
        Bar::AtMost(0.0),
    );
    let expected = (PLAYERS + churns * CHURN) as f64;
    report.add(
        "events missing or sent twice",
        players::thousands(events as usize),
        format!("{expected} transitions"),
        (events as f64 - expected).abs(),
        Bar::AtMost(0.0),
    );
    let micros = spent * 1e6 / renewed.accepted as f64;
    report.add(
        "Redis CPU per heartbeat, all calls counted",
        format!("{micros:.1} µs"),
        "–".to_owned(),
        micros,
        Bar::AtMost(8.0),
    );
    let at_full_rate = at_full_rate.as_secs_f64() * 1e6 / PLAYERS as f64;
    report.compare(
        "Redis CPU per heartbeat, all calls counted, against the heartbeats at full rate",
        format!("{micros:.1} µs"),
        format!("{at_full_rate:.1} µs"),
        micros / at_full_rate,
    );
    let memory = cpu::peak_memory_of(service.id());
    report.add(
        "service peak RSS, a million players",
        format!("{memory:.0} MiB"),
        "–".to_owned(),
        memory,
        Bar::AtMost(64.0),
    );
}

/// Sends calls at a fixed rate. Each starts when it is due and the one before has its response.
pub(super) async fn send_at_rate(
    address: &str,
    start: Instant,
    calls: usize,
    per_second: f64,
    build_request: impl Fn(usize) -> Vec<u8>,
    judge: fn(&Value) -> (u64, u64),
) -> Tally {
    let mut connection = http::Connection::open(address).await;
    let mut tally = Tally::default();
    for call in 0..calls {
        let due = start + Duration::from_secs_f64(call as f64 / per_second);
        tokio::time::sleep_until(due.into()).await;
        tally.lag = tally.lag.max(due.elapsed());
        let response = connection.call(&build_request(call)).await;
        let body = serde_json::from_slice(response).expect("JSON");
        let (accepted, wrong) = judge(&body);
        tally.accepted += accepted;
        tally.wrong += wrong;
    }
    tally
}

/// Connects some players, and disconnects them half a second later.
fn churn(call: usize) -> Vec<u8> {
    let first = PLAYERS + call / 2 * CHURN;
    let path = if call.is_multiple_of(2) {
        "/presence/connect"
    } else {
        "/presence/disconnect"
    };
    http::post(path, &players::batch(first..first + CHURN))
}

fn lookup(call: usize) -> Vec<u8> {
    http::post(
        "/presence/friends",
        &friends::body(friends::friends(call, FRIENDS, PLAYERS)),
    )
}

pub(super) fn is_accepted(batch: &Value) -> (u64, u64) {
    let wrong = ["restored", "closed", "failed"]
        .map(|list| batch[list].as_array().map_or(1, Vec::len) as u64);
    (
        batch["accepted"].as_u64().unwrap_or_default(),
        wrong.iter().sum(),
    )
}

pub(super) fn are_online(response: &Value) -> (u64, u64) {
    let presences = response["presences"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let online = presences
        .iter()
        .filter(|presence| presence["state"] == "ONLINE")
        .count();
    (online as u64, (FRIENDS - online) as u64)
}

/// Waits until the stream holds `expected` events or no more arrive. Returns the number of events.
pub(super) async fn settle(nats: &NatsServer, expected: u64) -> u64 {
    let mut events = 0;
    let mut last_change = Instant::now();
    while events < expected && last_change.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = nats.count("PRESENCE_EVENTS").await;
        if now > events {
            events = now;
            last_change = Instant::now();
        }
    }
    events
}
