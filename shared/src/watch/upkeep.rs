//! Background tasks of watching: one consumer of events, repeated reads, and checks of Redis. They
//! run while streams are open.
//!
//! Whenever an event may have been missed (the consumer could not resume, NATS or Redis were down,
//! data was lost), all watched players are read again, at a bounded rate.

use std::{sync::Mutex, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};

use super::{CHUNK, Feed, Watch};
use crate::{
    events::{Continuity, FollowError, Follower, Publisher},
    model::PlayerId,
    store::Dataset,
};

/// The interval of checks of Redis.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Time limit of a check of Redis.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The number of consecutive failed checks after which the feed is `stale`.
const MAX_FAILED_CHECKS: u32 = 2;

/// How long the creation of a consumer may take before the feed is `polling`.
const CONSUMER_GRACE: Duration = Duration::from_millis(500);

/// The pause after a consumer could not be created.
const CONSUMER_RETRY_DELAY: Duration = Duration::from_millis(250);

/// How often all watched players are read while events arrive. No known cause makes that necessary;
/// it bounds the effect of an unknown one.
const AUDIT_INTERVAL: Duration = Duration::from_secs(60);

/// The pause after players could not be read.
const READ_RETRY_DELAY: Duration = Duration::from_secs(1);

/// The longest pause between two reads of the same round.
const MAX_READ_PAUSE: Duration = Duration::from_millis(100);

/// Keeps the streams of a process up to date.
pub struct WatchUpkeep {
    watch: Watch,
    publisher: Option<Publisher>,
    condition: Mutex<Condition>,
    /// Notified when all watched players have to be read.
    refresh: Notify,
}

/// The condition of the sources of changes. `None` before the first check.
#[derive(Debug, Default, Clone, Copy)]
struct Condition {
    has_events: Option<bool>,
    is_readable: Option<bool>,
}

impl Condition {
    fn feed(self) -> Option<Feed> {
        Some(match (self.is_readable?, self.has_events?) {
            (false, _) => Feed::Stale,
            (true, true) => Feed::Live,
            (true, false) => Feed::Polling,
        })
    }
}

impl WatchUpkeep {
    /// Creates the upkeep of `watch`. It follows the stream of `publisher`, if events are on.
    pub fn new(watch: Watch, publisher: Option<Publisher>) -> Self {
        Self {
            watch,
            publisher,
            condition: Mutex::default(),
            refresh: Notify::new(),
        }
    }

    /// Runs the tasks whenever streams are open. Never returns.
    pub async fn run(&self) {
        let mut streams = self.watch.0.streams.subscribe();
        loop {
            if streams.wait_for(|streams| *streams > 0).await.is_err() {
                return;
            }
            let mut follower = self.publisher.clone().map(Follower::new);
            self.change(|condition| *condition = Condition::default());
            tokio::select! {
                _ = streams.wait_for(|streams| *streams == 0) => {}
                () = async { tokio::join!(self.follow(follower.as_mut()), self.check_redis(), self.read_again()); } => {}
            }
            if let Some(follower) = &mut follower {
                follower.end().await;
            }
            self.change(|condition| *condition = Condition::default());
        }
    }

    /// Applies events, from one consumer after another.
    async fn follow(&self, follower: Option<&mut Follower>) {
        let Some(follower) = follower else {
            self.change(|condition| condition.has_events = Some(false));
            return;
        };
        loop {
            match self.start(follower).await {
                Ok(continuity) => {
                    // Events arrive from now on, so a read that starts now leaves no gap.
                    if continuity == Continuity::Broken {
                        self.refresh.notify_one();
                    }
                    self.change(|condition| condition.has_events = Some(true));
                    let error = self.apply_all_events(follower).await;
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "events interrupted"
                    );
                }
                Err(error) => {
                    self.change(|condition| condition.has_events = Some(false));
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "events cannot be followed"
                    );
                    sleep(CONSUMER_RETRY_DELAY).await;
                }
            }
        }
    }

    async fn start(&self, follower: &mut Follower) -> Result<Continuity, FollowError> {
        let overdue = async {
            sleep(CONSUMER_GRACE).await;
            self.change(|condition| condition.has_events = Some(false));
            std::future::pending().await
        };
        tokio::select! {
            started = follower.start() => started,
            started = overdue => started,
        }
    }

    async fn apply_all_events(&self, follower: &mut Follower) -> FollowError {
        loop {
            match follower.next().await {
                Ok(events) => self.watch.apply_events(&events),
                Err(error) => return error,
            }
        }
    }

    /// Detects that Redis cannot be read, and that its data was lost or replaced.
    async fn check_redis(&self) {
        let mut ticks = interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: Option<Dataset> = None;
        let mut failures = 0;
        loop {
            ticks.tick().await;
            let sent = std::time::Instant::now();
            match timeout(CHECK_TIMEOUT, self.watch.0.store.dataset()).await {
                Ok(Ok((dataset, now))) => {
                    self.watch.0.clock.record(now, sent);
                    let is_replaced = known
                        .as_ref()
                        .is_some_and(|known| known.is_replaced_by(&dataset));
                    if is_replaced {
                        tracing::warn!(
                            "data in Redis was lost or replaced, reading all watched players"
                        );
                    }
                    if is_replaced || failures >= MAX_FAILED_CHECKS {
                        self.refresh.notify_one();
                    }
                    known = Some(dataset);
                    failures = 0;
                    self.change(|condition| condition.is_readable = Some(true));
                }
                Ok(Err(_)) | Err(_) => {
                    failures += 1;
                    if failures >= MAX_FAILED_CHECKS || known.is_none() {
                        self.change(|condition| condition.is_readable = Some(false));
                    }
                }
            }
        }
    }

    /// Reads players: all of them after a possible gap and at intervals, and those in doubt.
    async fn read_again(&self) {
        let mut next_round = Instant::now() + self.round_interval();
        let mut retry_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = self.refresh.notified() => {}
                () = sleep_until(next_round) => {}
                () = self.doubts_due(retry_at) => {
                    self.read_doubts(&mut retry_at).await;
                    continue;
                }
            }
            let begin = Instant::now();
            self.read_all(&mut retry_at).await;
            next_round = begin + self.round_interval();
        }
    }

    fn round_interval(&self) -> Duration {
        let has_events = self
            .condition
            .lock()
            .is_ok_and(|condition| condition.has_events == Some(true));
        if has_events {
            AUDIT_INTERVAL
        } else {
            self.watch.config().poll_interval
        }
    }

    /// Reads all watched players. Pauses between two reads, so that Redis is busy for at most half
    /// of the time.
    async fn read_all(&self, retry_at: &mut Instant) {
        let mut from = Some(0);
        while let Some(begin) = from {
            let (players, next) = self.watch.hub().page(begin, CHUNK as u32);
            from = next;
            if players.is_empty() {
                continue;
            }
            let sent = Instant::now();
            self.read(&players).await;
            sleep(sent.elapsed().min(MAX_READ_PAUSE)).await;
            self.read_doubts(retry_at).await;
        }
    }

    /// Waits until players are in doubt, at least until `retry_at`.
    async fn doubts_due(&self, retry_at: Instant) {
        if !self.watch.hub().has_doubts() {
            self.watch.0.in_doubt.notified().await;
        }
        sleep_until(retry_at).await;
    }

    /// Reads players in doubt, unless a read failed a moment ago.
    async fn read_doubts(&self, retry_at: &mut Instant) {
        while *retry_at <= Instant::now() {
            let players = self.watch.hub().take_doubts(CHUNK);
            if players.is_empty() {
                return;
            }
            if !self.read(&players).await {
                *retry_at = Instant::now() + READ_RETRY_DELAY;
            }
        }
    }

    /// Reads players. Those that cannot be read stay in doubt. Returns whether all were read.
    async fn read(&self, players: &[PlayerId]) -> bool {
        self.watch.0.gauges.read_again(players.len());
        match self.watch.read(players).await {
            None => true,
            Some((unread, error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "watched players not read"
                );
                self.watch.hub().put_back_doubts(&unread);
                false
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Condition)) {
        let Ok(mut condition) = self.condition.lock() else {
            return;
        };
        let before = condition.has_events;
        change(&mut condition);
        // The first round of reads finds the changes since the last event.
        if before == Some(true) && condition.has_events == Some(false) {
            self.refresh.notify_one();
        }
        let feed = condition.feed();
        let is_new = self
            .watch
            .0
            .feed
            .send_if_modified(|current| std::mem::replace(current, feed) != feed);
        if is_new {
            self.watch.0.gauges.set_feed(feed);
        }
        if let (true, Some(feed)) = (is_new, feed) {
            tracing::info!(feed = feed.as_str(), "feed of watched players");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_redis_cannot_be_read_is_said_within_5_seconds() {
        let longest = CHECK_INTERVAL + MAX_FAILED_CHECKS * (CHECK_INTERVAL + CHECK_TIMEOUT);
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }
}
