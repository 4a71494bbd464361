//! The status line: players per state, heartbeats and events per second.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use presence_client::State;
use serde_json::Value;
use tokio::{sync::watch, time::interval};

use crate::{feed::Feed, screen::Screen};

const PERIOD: Duration = Duration::from_secs(1);

/// The number of periods that a rate is averaged over, as heartbeats arrive in bursts of one batch
/// per interval.
const WINDOW: usize = 2;

/// Shows the figures once per second until the sender of `counter_urls` is dropped.
pub(crate) async fn show(counter_urls: watch::Receiver<Vec<String>>, feed: Feed, screen: Screen) {
    let mut ticks = interval(PERIOD);
    let mut heartbeats = HashMap::new();
    let mut history = VecDeque::from([(0, 0); WINDOW]);
    while counter_urls.has_changed().is_ok() {
        ticks.tick().await;
        let urls = counter_urls.borrow().clone();
        for url in urls {
            // A gateway that was killed keeps the last count that it reported.
            if let Some(count) = heartbeats_of(&url).await {
                heartbeats.insert(url, count);
            }
        }
        let totals = (heartbeats.values().sum::<u64>(), feed.events().len());
        let Some(earlier) = history.pop_front() else {
            return;
        };
        history.push_back(totals);
        let heartbeat_rate = (totals.0 - earlier.0) / WINDOW as u64;
        let event_rate = (totals.1 - earlier.1) / WINDOW;
        screen.status(&format!(
            "{} | {heartbeat_rate} heartbeats/s | {event_rate} events/s",
            states(&feed)
        ));
    }
}

/// The number of players per state, as text.
fn states(feed: &Feed) -> String {
    let states = feed.states();
    let count = |state| states.get(&state).copied().unwrap_or_default();
    let order = [
        State::Online,
        State::InQueue,
        State::InMatch,
        State::Away,
        State::Offline,
    ];
    order
        .map(|state| format!("{} {state}", count(state)))
        .join("  ")
}

async fn heartbeats_of(url: &str) -> Option<u64> {
    reqwest::get(url).await.ok()?.json::<Value>().await.ok()?["presence"]["heartbeats"].as_u64()
}
