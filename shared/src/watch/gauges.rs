//! Metrics of watching.

use std::sync::Mutex;

use metrics::{Counter, Gauge, Histogram};

use super::{hub::Counts, message::Feed};
use crate::telemetry::metrics::{
    WATCH_CHANGES, WATCH_COALESCED, WATCH_DELAY, WATCH_FEED, WATCH_INTERESTS, WATCH_PLAYERS,
    WATCH_READS, WATCH_STREAMS,
};

/// Handles of the metrics, kept because looking them up takes longer than setting them.
pub(super) struct Gauges {
    streams: Gauge,
    players: Gauge,
    interests: Gauge,
    changes: Counter,
    coalesced: Counter,
    reads: Counter,
    delay: Histogram,
    feeds: [Gauge; Feed::ALL.len()],
    last: Mutex<Counts>,
}

impl Gauges {
    pub(super) fn new() -> Self {
        let gauges = Self {
            streams: metrics::gauge!(WATCH_STREAMS),
            players: metrics::gauge!(WATCH_PLAYERS),
            interests: metrics::gauge!(WATCH_INTERESTS),
            changes: metrics::counter!(WATCH_CHANGES),
            coalesced: metrics::counter!(WATCH_COALESCED),
            reads: metrics::counter!(WATCH_READS),
            delay: metrics::histogram!(WATCH_DELAY),
            feeds: Feed::ALL.map(|feed| metrics::gauge!(WATCH_FEED, "state" => feed.as_str())),
            last: Mutex::default(),
        };
        // Exported from the start, so that the first increment shows as an increase.
        for counter in [&gauges.changes, &gauges.coalesced, &gauges.reads] {
            counter.increment(0);
        }
        gauges
    }

    pub(super) fn set(&self, counts: Counts) {
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        if *last == counts {
            return;
        }
        self.streams.set(counts.streams as f64);
        self.players.set(counts.players as f64);
        self.interests.set(counts.interests as f64);
        self.coalesced
            .increment(counts.coalesced.saturating_sub(last.coalesced));
        last.coalesced = last.coalesced.max(counts.coalesced);
        *last = Counts {
            coalesced: last.coalesced,
            ..counts
        };
    }

    /// Counts changes that were sent on a stream.
    pub(super) fn delivered(&self, count: usize) {
        self.changes.increment(count as u64);
    }

    /// Counts players that were read again.
    pub(super) fn read_again(&self, count: usize) {
        self.reads.increment(count as u64);
    }

    /// Records the delay of a change, from the transition to the stream.
    pub(super) fn delayed(&self, millis: u64) {
        self.delay.record(millis as f64 / 1_000.0);
    }

    pub(super) fn set_feed(&self, current: Option<Feed>) {
        for (feed, gauge) in Feed::ALL.into_iter().zip(&self.feeds) {
            gauge.set(if current == Some(feed) { 1.0 } else { 0.0 });
        }
    }
}
