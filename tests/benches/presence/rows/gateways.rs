//! A million players on gateways that hold leases: what a long TTL saves in Redis, and how soon the
//! crash of a gateway shows.

use std::{
    collections::HashSet,
    ops::Range,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future::join_all};
use presence_tests::{NatsServer, RedisServer};
use serde_json::Value;
use tokio::time::{sleep, sleep_until, timeout};

use crate::{
    cpu, http, players, redis,
    report::{Bar, Report},
    rows::{Timing, million},
};

const PLAYERS: usize = 1_000_000;
const GATEWAYS: usize = 100;
const PER_GATEWAY: usize = PLAYERS / GATEWAYS;
const BATCH: usize = 1_000;

/// Heartbeats of every player before Redis's CPU time is taken. Each stores the player's keys again,
/// and after some rounds Redis holds the players of a batch as near to each other in memory as it
/// does in the long run, however they connected.
const WARM_UP_ROUNDS: usize = 3;

/// The time over which Redis's CPU time is taken.
const DURATION: Duration = Duration::from_secs(30);

/// Heartbeats without gateway leases.
const SHORT: Timing = Timing {
    ttl: "45s",
    interval: Duration::from_secs(15),
};

/// The timing that gateway leases allow.
pub(super) const LONG: Timing = Timing {
    ttl: "10m",
    interval: Duration::from_secs(200),
};

/// From one renewal of a gateway's lease to the next: a third of the default TTL of 7.5 s.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(2_500);

/// Renewals wait for what Redis is doing, so that one connection is too slow for all of them.
const RENEWING_CONNECTIONS: usize = 64;

/// From the crash of a gateway on, the time within which its players' states are read as OFFLINE,
/// and in which the events are in the stream.
const READ_BAR: f64 = 10.0;
const EVENTS_BAR: f64 = 12.0;

/// The time after which a crash that has not shown is abandoned.
const MAX_DURATION: Duration = Duration::from_secs(60);

/// The time to wait for duplicates after the last event.
const DUPLICATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Redis's CPU time while heartbeats come.
struct RedisCosts {
    /// CPU time per second, at the rate of the heartbeats' interval.
    cpu_share: f64,
    /// CPU time per heartbeat, at the same rate.
    paced_seconds: f64,
    /// CPU time per heartbeat without any pause, in the last round of the warm-up.
    full_rate_seconds: f64,
}

pub(crate) async fn measure(report: &mut Report) {
    let short = measure_short().await;
    let server = redis::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let variables = [
        ("PRESENCE_NATS_URL", &*nats.url()),
        ("PRESENCE_TTL", LONG.ttl),
    ];
    let (_service, address) = super::server(&server, &variables).await;
    eprintln!(
        "{} players connect through {GATEWAYS} gateways …",
        players::thousands(PLAYERS)
    );
    let connecting = async {
        connect(&address, PLAYERS, PER_GATEWAY).await;
        million::settle(&nats, PLAYERS as u64).await;
    };
    tokio::select! {
        () = connecting => {}
        () = keep_leases(&address, 0..GATEWAYS) => unreachable!("gateways keep their leases"),
    }
    let long = tokio::select! {
        long = send_heartbeats(&server, &address, LONG, owned_heartbeat) => long,
        () = keep_leases(&address, 0..GATEWAYS) => unreachable!("gateways keep their leases"),
    };
    let figure = format!("{:.2} % of a core", 100.0 * long.cpu_share);
    let reference = format!("{:.1} % with a TTL of 45 s", 100.0 * short.cpu_share);
    report.add(
        "a million players, gateway leases, TTL of 10 min: Redis CPU",
        figure,
        reference,
        long.cpu_share / short.cpu_share,
        Bar::AtMost(0.125),
    );
    for (ttl, costs) in [("45 s", short), ("10 min", long)] {
        report.compare(
            &format!("Redis CPU per heartbeat, all calls counted, TTL of {ttl}"),
            format!("{:.1} µs", costs.paced_seconds * 1e6),
            format!("{:.1} µs at full rate", costs.full_rate_seconds * 1e6),
            costs.paced_seconds / costs.full_rate_seconds,
        );
    }
    crash(report, &address, &nats).await;
}

/// Redis's CPU time without gateway leases.
async fn measure_short() -> RedisCosts {
    let server = redis::start().await;
    let (_service, address) = super::server(&server, &[("PRESENCE_TTL", SHORT.ttl)]).await;
    eprintln!("{} players connect …", players::thousands(PLAYERS));
    super::connect(&address, PLAYERS).await;
    send_heartbeats(&server, &address, SHORT, lone_heartbeat).await
}

/// A batch of heartbeats that name no gateway.
fn lone_heartbeat(players: Range<usize>) -> String {
    players::batch(players)
}

/// A batch of heartbeats that name the players' gateway, as those of `presence-client` do.
fn owned_heartbeat(players: Range<usize>) -> String {
    players::batch_of_gateway(players.start / PER_GATEWAY, players)
}

/// Measures the CPU time that Redis needs for all that happens while heartbeats come. The sweep
/// reschedules each player once per TTL: with a long one that is not within the time measured.
async fn send_heartbeats(
    server: &RedisServer,
    address: &str,
    timing: Timing,
    build_body: fn(Range<usize>) -> String,
) -> RedisCosts {
    let mut connection = server.connection().await;
    let build_heartbeat = |call: usize| {
        let first = call * BATCH % PLAYERS;
        http::post("/presence/heartbeat", &build_body(first..first + BATCH))
    };
    let round: Vec<_> = (0..PLAYERS / BATCH).map(build_heartbeat).collect();
    let mut full_rate_seconds = 0.0;
    for _ in 0..WARM_UP_ROUNDS {
        let before = redis::cpu_time(&mut connection).await;
        http::load(address, 4, &round).await;
        let spent = redis::cpu_time(&mut connection).await - before;
        full_rate_seconds = spent.as_secs_f64() / PLAYERS as f64;
    }
    eprintln!(
        "and send heartbeats every {} s, for {} s …",
        timing.interval.as_secs(),
        DURATION.as_secs()
    );
    let per_second = (PLAYERS / BATCH) as f64 / timing.interval.as_secs_f64();
    let calls = (DURATION.as_secs_f64() * per_second) as usize;
    let before = redis::cpu_time(&mut connection).await;
    let start = Instant::now();
    let tally = million::send_at_rate(
        address,
        start,
        calls,
        per_second,
        build_heartbeat,
        million::is_accepted,
    )
    .await;
    sleep_until((start + DURATION).into()).await;
    assert_eq!(tally.wrong, 0, "every heartbeat finds its lease");
    let spent = (redis::cpu_time(&mut connection).await - before).as_secs_f64();
    RedisCosts {
        cpu_share: spent / start.elapsed().as_secs_f64(),
        paced_seconds: spent / (calls * BATCH) as f64,
        full_rate_seconds,
    }
}

/// The first gateway dies right after it renewed its lease; the others keep theirs.
async fn crash(report: &mut Report, address: &str, nats: &NatsServer) {
    let mut messages = nats.follow_new("PRESENCE_EVENTS").await;
    renew(&mut http::Connection::open(address).await, 0).await;
    let crashed_at = Instant::now();
    eprintln!(
        "a gateway of {} players dies …",
        players::thousands(PER_GATEWAY)
    );
    let mut offline = HashSet::with_capacity(PER_GATEWAY);
    let mut doubled = 0;
    let mut shown_at = MAX_DURATION;
    let listening = async {
        while let Ok(Some(message)) = timeout(
            MAX_DURATION.min(remaining(offline.len(), crashed_at)),
            messages.next(),
        )
        .await
        {
            let event: Value =
                serde_json::from_slice(&message.expect("a message").payload).expect("an event");
            if event["type"] == "PresenceOffline" {
                doubled += usize::from(!offline.insert(event["player_id"].to_string()));
            }
            if offline.len() == PER_GATEWAY && shown_at == MAX_DURATION {
                shown_at = crashed_at.elapsed();
            }
        }
    };
    let read_at = tokio::select! {
        (read_at, ()) = async { tokio::join!(until_offline(address, crashed_at), listening) } => read_at,
        () = keep_leases(address, 1..GATEWAYS) => unreachable!("gateways keep their leases"),
    };
    let read_seconds = read_at.as_secs_f64();
    let shown_seconds = shown_at.as_secs_f64();
    let what = "crash of a gateway of 10,000 players: the last one reads OFFLINE";
    report.add(
        what,
        format!("{read_seconds:.1} s"),
        "–".to_owned(),
        read_seconds,
        Bar::AtMost(READ_BAR),
    );
    report.add(
        "its last event is in the stream",
        format!("{shown_seconds:.1} s"),
        "–".to_owned(),
        shown_seconds,
        Bar::AtMost(EVENTS_BAR),
    );
    let wrong = (PER_GATEWAY.abs_diff(offline.len()) + doubled) as f64;
    let figure = format!(
        "{} events of {} players",
        offline.len() + doubled,
        offline.len()
    );
    report.add(
        "events missing, too many or doubled",
        figure,
        format!("{PER_GATEWAY} players"),
        wrong,
        Bar::AtMost(0.0),
    );
}

/// The time to wait for the next event.
fn remaining(found: usize, crashed_at: Instant) -> Duration {
    if found >= PER_GATEWAY {
        DUPLICATE_TIMEOUT
    } else {
        MAX_DURATION.saturating_sub(crashed_at.elapsed())
    }
}

/// Reads the first gateway's players until all are OFFLINE; returns the time since the crash.
async fn until_offline(address: &str, crashed_at: Instant) -> Duration {
    let mut connection = http::Connection::open(address).await;
    let requests: Vec<_> = (0..PER_GATEWAY).step_by(BATCH).map(read).collect();
    for request in &requests {
        while connection
            .call(request)
            .await
            .windows(8)
            .any(|text| text == br#""ONLINE""#)
        {
            if crashed_at.elapsed() > MAX_DURATION {
                return MAX_DURATION;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    crashed_at.elapsed()
}

fn read(first: usize) -> Vec<u8> {
    let ids: Vec<_> = (first..first + BATCH)
        .map(|number| format!(r#""{}""#, players::player(number)))
        .collect();
    http::post(
        "/presence/friends",
        &format!(r#"{{"player_ids":[{}]}}"#, ids.join(",")),
    )
}

/// Connects players, each batch through its gateway.
pub(super) async fn connect(address: &str, players: usize, per_gateway: usize) {
    const CONNECTIONS: usize = 4;
    let batches = players / BATCH;
    let load = |worker: usize| async move {
        let mut connection = http::Connection::open(address).await;
        for batch in (worker..batches).step_by(CONNECTIONS) {
            let first = batch * BATCH;
            let body = players::batch_of_gateway(first / per_gateway, first..first + BATCH);
            connection
                .call(&http::post("/presence/connect", &body))
                .await;
        }
    };
    join_all((0..CONNECTIONS).map(load)).await;
}

/// Renews the leases of gateways, each at its own time, indefinitely.
pub(super) async fn keep_leases(address: &str, gateways: Range<usize>) {
    let start = Instant::now();
    let count = gateways.len();
    let workers = RENEWING_CONNECTIONS.min(count);
    join_all((0..workers).map(|worker| {
        let own: Vec<_> = gateways.clone().skip(worker).step_by(workers).collect();
        async move {
            let mut connection = http::Connection::open(address).await;
            for round in 0.. {
                for (position, gateway) in own.iter().enumerate() {
                    let share = (position * workers + worker) as f64 / count as f64;
                    let offset = RENEWAL_INTERVAL.mul_f64(share);
                    sleep_until((start + RENEWAL_INTERVAL * round + offset).into()).await;
                    renew(&mut connection, *gateway).await;
                }
            }
        }
    }))
    .await;
}

async fn renew(connection: &mut http::Connection, gateway: usize) {
    let body = format!(r#"{{"gateway_id":"{}"}}"#, players::gateway(gateway));
    connection
        .call(&http::post("/presence/gateway", &body))
        .await;
}
