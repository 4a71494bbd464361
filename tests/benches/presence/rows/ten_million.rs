//! Ten million players on gateways that hold leases, for a minute.

use std::time::{Duration, Instant};

use presence_tests::{NatsServer, RedisServer, available_memory};
use tokio::time::timeout;

use crate::{
    cpu, http, players, redis,
    report::{Bar, Report},
    rows::{
        friends, gateways,
        million::{self, FRIENDS, LOOKUPS, MAX_LAG},
    },
};

const PLAYERS: usize = 10_000_000;
const PER_GATEWAY: usize = 10_000;
const GATEWAYS: usize = PLAYERS / PER_GATEWAY;
const BATCH: usize = 1_000;
const DURATION: Duration = Duration::from_secs(60);

/// Redis, and all that runs beside it, in MiB.
const MEMORY: u64 = 8_000;

/// The first players' leases have to outlive the connecting of the last ones, and the time until
/// their heartbeats.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(480);

/// The time after which heartbeats that are all late are abandoned.
const HEARTBEATS_TIMEOUT: Duration = Duration::from_secs(180);

/// Players that connect or disconnect per second.
const CHURN: usize = 300;

pub(crate) async fn measure(report: &mut Report) {
    let available = available_memory().unwrap_or_default();
    if available < MEMORY {
        eprintln!(
            "ten million players need {MEMORY} MiB of memory, and this machine has {available} MiB available"
        );
        std::process::exit(1);
    }
    let server = redis::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    eprintln!(
        "{} players connect through {GATEWAYS} gateways …",
        players::thousands(PLAYERS)
    );
    let start = Instant::now();
    if timeout(CONNECT_TIMEOUT, connect(&server)).await.is_err() {
        return give_up(report, "ten million players connect", CONNECT_TIMEOUT);
    }
    report.note(
        "ten million players connect",
        &format!("{:.0} s", start.elapsed().as_secs_f64()),
    );
    let variables = [
        ("PRESENCE_TTL", gateways::LONG.ttl),
        ("PRESENCE_NATS_URL", &*nats.url()),
    ];
    let (service, address) = super::server(&server, &variables).await;
    let heartbeats = async {
        tokio::select! {
            () = send_heartbeats(report, &server, &nats, &address) => {}
            () = gateways::keep_leases(&address, 0..GATEWAYS) => unreachable!("gateways keep their leases"),
        }
    };
    if timeout(HEARTBEATS_TIMEOUT, heartbeats).await.is_err() {
        return give_up(report, "ten million players for 60 s", HEARTBEATS_TIMEOUT);
    }
    let memory = cpu::peak_memory_of(service.id());
    report.note(
        "service peak RSS, ten million players",
        &format!("{memory:.0} MiB"),
    );
}

/// Adds a row for a step that took longer than `timeout`.
fn give_up(report: &mut Report, what: &str, timeout: Duration) {
    let seconds = timeout.as_secs_f64();
    report.add(
        what,
        format!("given up after {seconds:.0} s"),
        "–".to_owned(),
        f64::INFINITY,
        Bar::AtMost(seconds),
    );
}

/// Connects all players, with a server of its own that emits no events: those of so many connects
/// would fill the disk.
async fn connect(server: &RedisServer) {
    let (_service, address) = super::server(server, &[("PRESENCE_TTL", gateways::LONG.ttl)]).await;
    tokio::select! {
        () = gateways::connect(&address, PLAYERS, PER_GATEWAY) => {}
        () = gateways::keep_leases(&address, 0..GATEWAYS) => unreachable!("gateways keep their leases"),
    }
}

/// Sends a minute of heartbeats, friends calls, connects and disconnects.
async fn send_heartbeats(
    report: &mut Report,
    server: &RedisServer,
    nats: &NatsServer,
    address: &str,
) {
    let mut connection = server.connection().await;
    let interval = gateways::LONG.interval;
    eprintln!(
        "and send heartbeats every {} s, for {} s …",
        interval.as_secs(),
        DURATION.as_secs()
    );
    let per_second = (PLAYERS / BATCH) as f64 / interval.as_secs_f64();
    let calls = (DURATION.as_secs_f64() * per_second) as usize;
    let churns = 2 * DURATION.as_secs() as usize;
    let lookups = DURATION.as_secs() as usize * LOOKUPS;
    let before = redis::cpu_time(&mut connection).await;
    let start = Instant::now();
    let (renewed, looked_up, churned) = tokio::join!(
        million::send_at_rate(
            address,
            start,
            calls,
            per_second,
            heartbeat,
            million::is_accepted
        ),
        million::send_at_rate(
            address,
            start,
            lookups,
            LOOKUPS as f64,
            look_up,
            million::are_online
        ),
        million::send_at_rate(address, start, churns, 2.0, churn, million::is_accepted),
    );
    let spent = (redis::cpu_time(&mut connection).await - before).as_secs_f64();
    let share = spent / start.elapsed().as_secs_f64();
    let expected = (churns * CHURN) as u64;
    let events = million::settle(nats, expected).await;

    let lags = [&renewed, &looked_up, &churned].map(|tally| tally.lag);
    let lag = lags.into_iter().max().unwrap_or_default().as_secs_f64();
    let what = "ten million players for 60 s: latest start of a call";
    report.add(
        what,
        format!("{lag:.2} s late"),
        "–".to_owned(),
        lag,
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
    let reference = format!("{expected} transitions");
    report.add(
        "events missing or too many",
        players::thousands(events as usize),
        reference,
        events.abs_diff(expected) as f64,
        Bar::AtMost(0.0),
    );
    report.note(
        "Redis CPU, all calls counted",
        &format!("{:.1} % of a core", 100.0 * share),
    );
    let memory = redis::number(&mut connection, "memory", "used_memory").await;
    report.note(
        "Redis memory",
        &format!(
            "{:.1} GiB, {:.0} bytes per player",
            memory / 1_073_741_824.0,
            memory / PLAYERS as f64
        ),
    );
}

/// Builds a batch of heartbeats. Players that connected first come first.
fn heartbeat(call: usize) -> Vec<u8> {
    let first = call * BATCH % PLAYERS;
    let body = players::batch_of_gateway(first / PER_GATEWAY, first..first + BATCH);
    http::post("/presence/heartbeat", &body)
}

fn look_up(call: usize) -> Vec<u8> {
    http::post(
        "/presence/friends",
        &friends::body(friends::friends(call, FRIENDS, PLAYERS)),
    )
}

/// Connects some players, and disconnects them half a second later.
fn churn(call: usize) -> Vec<u8> {
    let first = PLAYERS + call / 2 * CHURN;
    let players = first..first + CHURN;
    if call.is_multiple_of(2) {
        return http::post(
            "/presence/connect",
            &players::batch_of_gateway(call % GATEWAYS, players),
        );
    }
    http::post("/presence/disconnect", &players::batch(players))
}
