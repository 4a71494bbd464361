//! A reconnect storm: a million players connect at once while others keep their leases by
//! heartbeats.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use presence_tests::NatsServer;
use serde_json::Value;
use tokio::time::{sleep, sleep_until};

use crate::{
    cpu, http, players, redis,
    report::{Bar, Report},
};

/// Players that connect as fast as the service permits.
const STORM: usize = 1_000_000;
/// The number of gateways through which they connect.
const GATEWAYS: usize = 100;

/// Calls that one gateway has in flight at a time.
const CALLS_PER_GATEWAY: usize = 2;

/// Players that are connected before the storm, and whose gateways send heartbeats during it.
const CONNECTED: usize = 200_000;

const INTERVAL: Duration = Duration::from_secs(15);
const BATCH: usize = 1_000;

/// The time after which the measurement is abandoned.
const MAX_DURATION: Duration = Duration::from_secs(300);

/// One gateway of the storm.
struct Gateway {
    /// The first player of each batch.
    batches: Vec<usize>,
    /// The batches whose players are connected.
    connected: RefCell<Vec<usize>>,
}

/// The responses that the gateways received.
#[derive(Debug, Default)]
struct Tally {
    /// Responses to connects, by status.
    connects: BTreeMap<u16, u64>,
    /// Responses to heartbeats, by status.
    heartbeats: BTreeMap<u16, u64>,
    /// The delays of heartbeat batches of players that were connected before, from the due time to
    /// success.
    delays: Vec<Duration>,
    /// Heartbeats that restored an expired lease.
    lost: u64,
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let variables = [
        ("PRESENCE_NATS_URL", &*nats.url()),
        ("PRESENCE_STORE_TIMEOUT", "500ms"),
    ];
    let (_service, address) = super::server(&server, &variables).await;
    eprintln!(
        "{} players connect before the storm …",
        players::thousands(CONNECTED)
    );
    connect_before(&address).await;

    eprintln!("{} players connect at once …", players::thousands(STORM));
    let tally = RefCell::default();
    let start = Instant::now();
    let gateways: Vec<_> = (0..GATEWAYS).map(Gateway::new).collect();
    let storm = join_all(
        gateways
            .iter()
            .map(|gateway| reconnect(&address, gateway, start, &tally)),
    );
    let new = join_all(
        gateways
            .iter()
            .map(|gateway| keep_new_alive(&address, gateway, start, &tally)),
    );
    let duration = tokio::select! {
        durations = storm => durations.into_iter().max().unwrap_or_default(),
        () = keep_alive(&address, start, &tally) => unreachable!("heartbeats do not end"),
        _ = new => unreachable!("heartbeats do not end"),
        () = sleep(MAX_DURATION) => MAX_DURATION,
    };
    add_rows(report, &tally.into_inner(), duration);
}

impl Gateway {
    fn new(number: usize) -> Self {
        let size = STORM / GATEWAYS;
        let first = CONNECTED + number * size;
        Self {
            batches: (first..first + size).step_by(BATCH).collect(),
            connected: RefCell::default(),
        }
    }
}

fn add_rows(report: &mut Report, tally: &Tally, duration: Duration) {
    let seconds = duration.as_secs_f64();
    report.add(
        "reconnect storm: a million players are connected",
        format!("{seconds:.1} s"),
        "–".to_owned(),
        seconds,
        Bar::AtMost(60.0),
    );
    report.note(
        "storm: responses to connects",
        &format!("{:?}", tally.connects),
    );
    report.note(
        "storm: responses to heartbeats",
        &format!("{:?}", tally.heartbeats),
    );
    let mut delays = tally.delays.clone();
    delays.sort_unstable();
    if let (Some(p99), Some(last)) = (delays.get(delays.len() * 99 / 100), delays.last()) {
        report.note(
            "storm: heartbeats of the others, p99 and longest delay",
            &format!("{p99:.0?}, {last:.0?}"),
        );
    }
    let lost = tally.lost as f64;
    report.add(
        "storm: leases lost",
        format!("{lost}"),
        "–".to_owned(),
        lost,
        Bar::AtMost(0.0),
    );
}

async fn connect_before(address: &str) {
    let mut connection = http::Connection::open(address).await;
    for first in (0..CONNECTED).step_by(BATCH) {
        let request = http::post("/presence/connect", &players::batch(first..first + BATCH));
        while connection.send(&request).await.status != 200 {
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Sends the heartbeats of the players that were connected before: one batch after the other,
/// spread over the interval.
async fn keep_alive(address: &str, start: Instant, tally: &RefCell<Tally>) {
    let batches = CONNECTED / BATCH;
    join_all((0..batches).map(async |batch| {
        let request = http::post(
            "/presence/heartbeat",
            &players::batch(batch * BATCH..(batch + 1) * BATCH),
        );
        let mut due = start + INTERVAL * batch as u32 / batches as u32;
        sleep_until(due.into()).await; // a connection without a request would be closed
        let mut connection = http::Connection::open(address).await;
        loop {
            sleep_until(due.into()).await;
            heartbeat(&mut connection, &request, tally).await;
            tally.borrow_mut().delays.push(due.elapsed());
            due += INTERVAL;
        }
    }))
    .await;
}

/// Repeats a batch of heartbeats until the service accepts it.
async fn heartbeat(connection: &mut http::Connection, request: &[u8], tally: &RefCell<Tally>) {
    loop {
        let response = connection.send(request).await;
        *tally
            .borrow_mut()
            .heartbeats
            .entry(response.status)
            .or_default() += 1;
        if response.status == 200 {
            let body: Value = serde_json::from_slice(&response.body).expect("JSON");
            tally.borrow_mut().lost += body["restored"].as_array().map_or(0, Vec::len) as u64;
            return;
        }
        sleep(response.retry_after()).await;
    }
}

/// Connects the players of one gateway in batches. Returns the time until the last of them was
/// connected.
async fn reconnect(
    address: &str,
    gateway: &Gateway,
    start: Instant,
    tally: &RefCell<Tally>,
) -> Duration {
    let senders = (0..CALLS_PER_GATEWAY).map(async |sender| {
        let mut connection = http::Connection::open(address).await;
        for first in gateway
            .batches
            .iter()
            .skip(sender)
            .step_by(CALLS_PER_GATEWAY)
        {
            let request = http::post("/presence/connect", &players::batch(*first..first + BATCH));
            loop {
                let response = connection.send(&request).await;
                *tally
                    .borrow_mut()
                    .connects
                    .entry(response.status)
                    .or_default() += 1;
                if response.status == 200 {
                    break;
                }
                sleep(response.retry_after()).await;
            }
            gateway.connected.borrow_mut().push(*first);
        }
    });
    join_all(senders).await;
    start.elapsed()
}

/// Sends the heartbeats of a gateway's players that are connected.
async fn keep_new_alive(address: &str, gateway: &Gateway, start: Instant, tally: &RefCell<Tally>) {
    for round in 1.. {
        sleep_until((start + INTERVAL * round).into()).await;
        let mut connection = http::Connection::open(address).await;
        let connected = gateway.connected.borrow().clone();
        for first in connected {
            let request = http::post("/presence/heartbeat", &players::batch(first..first + BATCH));
            heartbeat(&mut connection, &request, tally).await;
        }
    }
}
