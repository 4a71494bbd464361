//! Delay of OFFLINE events when all players stop sending heartbeats at once.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::StreamExt as _;
use presence_tests::NatsServer;
use serde_json::Value;

use crate::{
    cpu, redis,
    report::{Bar, Report},
};

const PLAYERS: usize = 20_000;
/// The TTL, as the server's variable and as a duration.
const TTL: (&str, Duration) = ("10s", Duration::from_secs(10));
/// The sweep interval, as the server's variable and as a duration.
const SWEEP_INTERVAL: (&str, Duration) = ("2s", Duration::from_secs(2));

/// The time to wait for duplicates after the last event.
const DUPLICATE_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let url = nats.url();
    let (_service, address) = super::server(&server, &variables(&url)).await;
    measure_at(report, "", &nats, &address).await;
}

/// The configuration of the server that is measured.
pub(crate) fn variables(nats_url: &str) -> [(&str, &str); 3] {
    [
        ("PRESENCE_NATS_URL", nats_url),
        ("PRESENCE_TTL", TTL.0),
        ("PRESENCE_SWEEP_INTERVAL", SWEEP_INTERVAL.0),
    ]
}

/// Measures a server. `prefix` comes before the labels of the rows.
pub(crate) async fn measure_at(
    report: &mut Report,
    prefix: &str,
    nats: &NatsServer,
    address: &str,
) {
    super::connect(address, 1).await;
    while nats.count("PRESENCE_EVENTS").await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await; // the first event creates the stream
    }
    let mut messages = nats.follow("PRESENCE_EVENTS").await;
    super::connect(address, PLAYERS).await;

    let mut lateness = Vec::with_capacity(PLAYERS);
    let mut players = HashSet::with_capacity(PLAYERS);
    let mut timeout = TTL.1 + DUPLICATE_TIMEOUT;
    while let Ok(Some(message)) = tokio::time::timeout(timeout, messages.next()).await {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_millis() as f64;
        let event: Value =
            serde_json::from_slice(&message.expect("a message").payload).expect("an event");
        if event["type"] == "PresenceOffline" {
            let due = event["last_seen"].as_f64().expect("a time") + TTL.1.as_millis() as f64;
            lateness.push((now - due) / 1_000.0);
            players.insert(event["player_id"].to_string());
        }
        if players.len() == PLAYERS {
            timeout = DUPLICATE_TIMEOUT;
        }
    }
    lateness.sort_by(f64::total_cmp);
    let p99 = lateness
        .get(lateness.len() * 99 / 100)
        .copied()
        .unwrap_or(f64::MAX);
    let bar = SWEEP_INTERVAL.1.as_secs_f64() + 0.5;
    report.add(
        &format!("{prefix}expiry to event, p99, 20,000 players at once"),
        format!("{p99:.2} s"),
        "–".to_owned(),
        p99,
        Bar::AtMost(bar),
    );
    let wrong = (PLAYERS - players.len() + lateness.len() - players.len()) as f64;
    let figure = format!("{} events of {} players", lateness.len(), players.len());
    report.add(
        &format!("{prefix}their events missing or sent twice"),
        figure,
        format!("{PLAYERS} expiries"),
        wrong,
        Bar::AtMost(0.0),
    );
}
