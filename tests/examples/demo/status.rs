//! The present figures.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use serde_json::Value;
use tokio::{sync::watch, time::interval};

use crate::{feed::Feed, screen::Screen};

const PERIOD: Duration = Duration::from_secs(1);

/// Beats come in a batch an interval: rates are those of two seconds.
const WINDOW: usize = 2;

/// Shows the figures once a second, until the gateways' stage is gone. `gateways` are the addresses of their counters.
pub(crate) async fn show(gateways: watch::Receiver<Vec<String>>, feed: Feed, screen: Screen) {
    let mut ticks = interval(PERIOD);
    let mut beats = HashMap::new();
    let mut past = VecDeque::from([(0, 0); WINDOW]);
    while gateways.has_changed().is_ok() {
        ticks.tick().await;
        let urls = gateways.borrow().clone();
        for url in urls {
            // A gateway that was killed keeps the last figure that it told.
            if let Some(told) = beats_of(&url).await {
                beats.insert(url, told);
            }
        }
        let now = (beats.values().sum::<u64>(), feed.events().len());
        let Some(before) = past.pop_front() else { return };
        past.push_back(now);
        let (new_beats, new_events) = ((now.0 - before.0) / WINDOW as u64, (now.1 - before.1) / WINDOW);
        screen.status(&format!("{} | {new_beats} beats/s | {new_events} events/s", states(&feed)));
    }
}

/// The players by state, in words.
fn states(feed: &Feed) -> String {
    let states = feed.states();
    let count = |state| states.get(state).copied().unwrap_or_default();
    let order = ["ONLINE", "IN_QUEUE", "IN_MATCH", "AWAY", "OFFLINE"];
    order.map(|state| format!("{} {state}", count(state))).join("  ")
}

async fn beats_of(url: &str) -> Option<u64> {
    reqwest::get(url).await.ok()?.json::<Value>().await.ok()?["presence"]["beats"].as_u64()
}
