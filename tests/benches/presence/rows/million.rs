//! A million players who beat for a minute, some of whom come and go, while others look at their friends.

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

/// Players who leave and come back, a second: 2 % of them a minute.
const CHURN: usize = PLAYERS / 50 / 60;

/// Friends calls a second, each for [`FRIENDS`].
const LOOKUPS: usize = 50;
const FRIENDS: usize = 200;

/// How late a call may begin: later, and the pace is lost.
const MAX_LAG: Duration = Duration::from_secs(1);

/// What came of the calls.
#[derive(Debug, Default)]
struct Tally {
    accepted: u64,
    wrong: u64,
    lag: Duration,
}

pub(crate) async fn measure(report: &mut Report) {
    let (server, nats) = (redis::start().await, NatsServer::start().await);
    cpu::pin(nats.id(), "0,1");
    let (service, address) = super::server(&server, &[("PRESENCE_NATS_URL", &nats.url())]).await;
    let mut connection = server.connection().await;
    eprintln!("{} players connect …", players::thousands(PLAYERS));
    super::connect(&address, PLAYERS).await;
    settle(&nats, PLAYERS as u64).await;

    eprintln!("and beat for {} s …", DURATION.as_secs());
    let heartbeats: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    let beats_a_second = heartbeats.len() as f64 / INTERVAL.as_secs_f64();
    let beats = (DURATION.as_secs_f64() * beats_a_second) as usize;
    let lookups = DURATION.as_secs() as usize * LOOKUPS;
    let churns = 2 * DURATION.as_secs() as usize;
    redis::reset(&mut connection).await;
    let before = redis::cpu_time(&mut connection).await;
    let start = Instant::now();
    let heartbeat = |call: usize| heartbeats[call % heartbeats.len()].clone();
    let (beating, looking, churning) = tokio::join!(
        paced(&address, start, beats, beats_a_second, heartbeat, is_accepted),
        paced(&address, start, lookups, LOOKUPS as f64, lookup, are_online),
        paced(&address, start, churns, 2.0, churn, is_accepted),
    );
    let spent = (redis::cpu_time(&mut connection).await - before).as_secs_f64();
    let events = settle(&nats, (PLAYERS + churns * CHURN) as u64).await;

    let lag = [&beating, &looking, &churning].map(|tally| tally.lag).into_iter().max().unwrap_or_default();
    let seconds = lag.as_secs_f64();
    let what = "a million players for 60 s: latest start of a call";
    report.add(what, format!("{seconds:.2} s late"), "–".to_owned(), seconds, Bar::AtMost(MAX_LAG.as_secs_f64()));
    let wrong = (beating.wrong + looking.wrong + churning.wrong) as f64;
    let figure = format!("{} heartbeats", players::thousands(beating.accepted as usize));
    report.add("restored, closed, failed or OFFLINE among them", figure, "–".to_owned(), wrong, Bar::AtMost(0.0));
    let expected = (PLAYERS + churns * CHURN) as f64;
    let figure = players::thousands(events as usize);
    report.add(
        "events missing or too many",
        figure,
        format!("{expected} transitions"),
        (events as f64 - expected).abs(),
        Bar::AtMost(0.0),
    );
    let micros = spent * 1e6 / beating.accepted as f64;
    report.add(
        "Redis CPU a heartbeat, all calls counted",
        format!("{micros:.1} µs"),
        "–".to_owned(),
        micros,
        Bar::AtMost(10.0),
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

/// Makes calls at a pace; each begins as soon as its time has come and the one before is answered.
async fn paced(
    address: &str,
    start: Instant,
    calls: usize,
    a_second: f64,
    request: impl Fn(usize) -> Vec<u8>,
    judge: fn(&Value) -> (u64, u64),
) -> Tally {
    let mut connection = http::Connection::open(address).await;
    let mut tally = Tally::default();
    for call in 0..calls {
        let due = start + Duration::from_secs_f64(call as f64 / a_second);
        tokio::time::sleep_until(due.into()).await;
        tally.lag = tally.lag.max(due.elapsed());
        let answer = serde_json::from_slice(connection.call(&request(call)).await).expect("JSON");
        let (accepted, wrong) = judge(&answer);
        tally.accepted += accepted;
        tally.wrong += wrong;
    }
    tally
}

/// Some players come, and half a second later they go.
fn churn(call: usize) -> Vec<u8> {
    let first = PLAYERS + call / 2 * CHURN;
    let path = if call.is_multiple_of(2) { "/presence/connect" } else { "/presence/disconnect" };
    http::post(path, &players::batch(first..first + CHURN))
}

fn lookup(call: usize) -> Vec<u8> {
    http::post("/presence/friends", &friends::body(friends::friends(call, FRIENDS, PLAYERS)))
}

fn is_accepted(batch: &Value) -> (u64, u64) {
    let wrong = ["restored", "closed", "failed"].map(|list| batch[list].as_array().map_or(1, Vec::len) as u64);
    (batch["accepted"].as_u64().unwrap_or_default(), wrong.iter().sum())
}

fn are_online(answer: &Value) -> (u64, u64) {
    let presences = answer["presences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let online = presences.iter().filter(|presence| presence["state"] == "ONLINE").count();
    (online as u64, (FRIENDS - online) as u64)
}

/// Waits until the stream holds `expected` events, or no more come; returns their number.
async fn settle(nats: &NatsServer, expected: u64) -> u64 {
    let (mut events, mut last_news) = (0, Instant::now());
    while events < expected && last_news.elapsed() < Duration::from_secs(15) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = nats.count("PRESENCE_EVENTS").await;
        if now > events {
            (events, last_news) = (now, Instant::now());
        }
    }
    events
}
