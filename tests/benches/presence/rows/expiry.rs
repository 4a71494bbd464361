//! Players who fall silent all at once: how late their OFFLINE events are.

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
const TTL: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL: Duration = Duration::from_secs(2);

/// How long after the last expiry a second event of a player would be waited for.
const AFTERWARDS: Duration = Duration::from_secs(3);

pub(crate) async fn measure(report: &mut Report) {
    let (server, nats) = (redis::start().await, NatsServer::start().await);
    cpu::pin(nats.id(), "0,1");
    let (ttl, interval) = (format!("{}s", TTL.as_secs()), format!("{}s", SWEEP_INTERVAL.as_secs()));
    let url = nats.url();
    let variables = [("PRESENCE_NATS_URL", &*url), ("PRESENCE_TTL", &*ttl), ("PRESENCE_SWEEP_INTERVAL", &*interval)];
    let (_service, address) = super::server(&server, &variables).await;
    super::connect(&address, 1).await;
    while nats.count("PRESENCE_EVENTS").await == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await; // the first event makes the stream
    }
    let mut messages = nats.follow("PRESENCE_EVENTS").await;
    super::connect(&address, PLAYERS).await;

    let mut lateness = Vec::with_capacity(PLAYERS);
    let mut players = HashSet::with_capacity(PLAYERS);
    let mut patience = TTL + AFTERWARDS;
    while let Ok(Some(message)) = tokio::time::timeout(patience, messages.next()).await {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis() as f64;
        let event: Value = serde_json::from_slice(&message.expect("a message").payload).expect("an event");
        if event["type"] == "PresenceOffline" {
            let due = event["last_seen"].as_f64().expect("a time") + TTL.as_millis() as f64;
            lateness.push((now - due) / 1_000.0);
            players.insert(event["player_id"].to_string());
        }
        if players.len() == PLAYERS {
            patience = AFTERWARDS; // a duplicate would come by then
        }
    }
    lateness.sort_by(f64::total_cmp);
    let p99 = lateness.get(lateness.len() * 99 / 100).copied().unwrap_or(f64::MAX);
    let bar = SWEEP_INTERVAL.as_secs_f64() + 0.5;
    let what = "expiry to event, p99, 20,000 players at once";
    report.add(what, format!("{p99:.2} s"), "–".to_owned(), p99, Bar::AtMost(bar));
    let wrong = (PLAYERS - players.len() + lateness.len() - players.len()) as f64;
    let figure = format!("{} events of {} players", lateness.len(), players.len());
    report.add("their events missing or doubled", figure, format!("{PLAYERS} expiries"), wrong, Bar::AtMost(0.0));
}
