//! Watching players: callers name players, get a snapshot, and from then on every change, without a
//! gap between the two.
//!
//! - `knowledge`: the known presence of one player, and the order of reports.
//! - `pages`, `players`: all watched players, each id stored once.
//! - `hub`: streams, their interests, and the changes that each stream has yet to send. No I/O, no
//!   clock.
//! - `request`, `message`, `event`: JSON in and out.
//! - `stream`: one caller's stream.
//! - `upkeep`: the tasks that run while streams are open: the consumer of events, repeated reads,
//!   checks of Redis.
//! - `gauges`: metrics.
//!
//! A change reaches Redis before its event exists. So a snapshot that is read after the interest
//! was marked, and every event from then on, together miss nothing; the versions say which of the
//! two is newer.

mod event;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gauges;
mod hub;
mod knowledge;
mod message;
mod pages;
mod players;
mod request;
mod stream;
mod upkeep;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit, watch},
    time::timeout,
};

pub use message::Feed;
pub use request::{InvalidRequest, RequestId, Wanted, WatchAction, WatchRequest};
pub use stream::{Changes, FeedStates, WatchReply, WatchStream};
pub use upkeep::WatchUpkeep;

use crate::{
    config::WatchConfig,
    http::Problem,
    model::PlayerId,
    redis::StoreError,
    store::{Sighting, Store},
};
use event::Transition;
use gauges::Gauges;
use hub::Hub;
use knowledge::{Fact, Tick};

/// The number of players that are handled per lock of the hub, and read per command.
const CHUNK: usize = 500;

/// The number of players that are read for snapshots at a time: two large ones, so that Redis reads
/// one while the other one is decoded. Players that are being read take several times the memory of
/// watched ones.
const MAX_SNAPSHOT_PLAYERS: usize = 4_000;

/// How long a snapshot waits for its turn to be read at most: less than a client waits for the
/// response to its request, so that it receives the error.
const MAX_SNAPSHOT_WAIT: Duration = Duration::from_secs(4);

/// All streams of a process.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

struct Shared {
    hub: Mutex<Hub<Arc<Notify>>>,
    slots: Arc<Semaphore>,
    /// Permits to read players for snapshots.
    snapshots: Semaphore,
    config: WatchConfig,
    max_batch: usize,
    store: Store,
    /// The number of streams.
    streams: watch::Sender<usize>,
    /// The state of the feed. `None` while it is not known yet, or no stream is open.
    feed: watch::Sender<Option<Feed>>,
    /// Notified when players have contradictory reports.
    in_doubt: Notify,
    gauges: Gauges,
    clock: RedisClock,
}

/// An estimate of Redis's clock, to measure how long changes take.
#[derive(Debug)]
struct RedisClock {
    start: Instant,
    /// Redis's clock at `start`, in Unix milliseconds; 0 before the first reading.
    offset: std::sync::atomic::AtomicU64,
}

impl Watch {
    /// Creates a watch without streams. Nothing is read before the first one opens.
    pub fn new(config: WatchConfig, max_batch: usize, store: Store) -> Self {
        Self(Arc::new(Shared {
            hub: Mutex::default(),
            slots: Arc::new(Semaphore::new(config.max_streams.min(hub::MAX_STREAMS))),
            snapshots: Semaphore::new(MAX_SNAPSHOT_PLAYERS),
            config,
            max_batch,
            store,
            streams: watch::Sender::new(0),
            feed: watch::Sender::new(None),
            in_doubt: Notify::new(),
            gauges: Gauges::new(),
            clock: RedisClock::new(),
        }))
    }

    /// The limits and intervals of watching players.
    pub fn config(&self) -> &WatchConfig {
        &self.0.config
    }

    /// Opens a stream, which watches no player yet.
    ///
    /// # Errors
    /// 503 `overloaded` if too many streams are open.
    pub fn open(&self) -> Result<WatchStream, Problem> {
        let slot = Arc::clone(&self.0.slots)
            .try_acquire_owned()
            .map_err(|_| Problem::overloaded())?;
        Ok(WatchStream::open(self.clone(), slot))
    }

    fn hub(&self) -> MutexGuard<'_, Hub<Arc<Notify>>> {
        self.0.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the hub, and wakes the tasks of streams that have changes to send.
    fn with_hub<T>(&self, change: impl FnOnce(&mut Hub<Arc<Notify>>) -> T) -> T {
        let (result, wakers, has_doubts) = {
            let mut hub = self.hub();
            let result = change(&mut hub);
            // Set under the lock, so that the gauges show the latest change.
            self.0.gauges.set(hub.counts());
            (result, hub.take_wakers(), hub.has_doubts())
        };
        // Each wake-up is a system call, so they happen after the lock is released.
        for waker in wakers {
            waker.notify_one();
        }
        if has_doubts {
            self.0.in_doubt.notify_one();
        }
        result
    }

    /// Applies events, each as JSON.
    fn apply_events(&self, events: &[Bytes]) {
        let transitions: Vec<_> = events
            .iter()
            .filter_map(|event| Transition::parse(event))
            .collect();
        self.with_hub(|hub| {
            for transition in &transitions {
                hub.apply_event(
                    transition.player_id,
                    transition.fact(),
                    transition.occurred_at,
                );
            }
        });
    }

    /// Waits for the permit to read a snapshot.
    ///
    /// # Errors
    /// [`StoreError::Timeout`] if Redis does not respond to the requests before it in time.
    async fn snapshot_turn(&self, players: usize) -> Result<SemaphorePermit<'_>, StoreError> {
        let permits = players.min(MAX_SNAPSHOT_PLAYERS) as u32;
        match timeout(MAX_SNAPSHOT_WAIT, self.0.snapshots.acquire_many(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(StoreError::Timeout(MAX_SNAPSHOT_WAIT)),
        }
    }

    /// Reads players from Redis, and applies their presences. Returns those that could not be read,
    /// and one of the errors.
    async fn read(&self, players: &[PlayerId]) -> Option<(Vec<PlayerId>, StoreError)> {
        // Reports that arrive after this tick may be newer than the read.
        let sent = self.hub().now();
        // Each chunk is applied and dropped as soon as it arrives.
        let read_chunk = async |chunk: &[PlayerId]| {
            let sightings = self.0.store.presences_each(chunk).await;
            self.apply_reads(&sightings, sent);
            let unread = chunk.iter().zip(sightings);
            unread
                .filter_map(|(player, read)| Some((player.clone(), read.err()?)))
                .collect::<Vec<_>>()
        };
        let unread = join_all(players.chunks(CHUNK).map(read_chunk))
            .await
            .concat();
        let (_, error) = unread.last().cloned()?;
        Some((
            unread.into_iter().map(|(player, _)| player).collect(),
            error,
        ))
    }

    fn apply_reads(&self, sightings: &[Result<Sighting, StoreError>], sent: Tick) {
        self.with_hub(|hub| {
            for (presence, as_of) in sightings.iter().flatten() {
                let fact = Fact {
                    state: presence.state,
                    last_seen: presence.last_seen,
                    version: presence.version,
                    activity: presence.activity.clone(),
                };
                hub.read(presence.player_id.as_str(), fact, *as_of, sent);
            }
        });
    }
}

impl RedisClock {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            offset: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Records that Redis's clock was `now` at some time between `sent` and this moment.
    fn record(&self, now: u64, sent: Instant) {
        // Assumes the middle of the round trip.
        let elapsed = (sent - self.start + sent.elapsed() / 2).as_millis() as u64;
        self.offset.store(
            now.saturating_sub(elapsed),
            std::sync::atomic::Ordering::Relaxed,
        );
    }

    /// Redis's clock, in Unix milliseconds. `None` before the first reading.
    fn now(&self) -> Option<u64> {
        let offset = self.offset.load(std::sync::atomic::Ordering::Relaxed);
        (offset != 0).then(|| offset + self.start.elapsed().as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ServerConfig};

    #[tokio::test(start_paused = true)]
    async fn a_limited_number_of_players_is_read_for_snapshots_and_others_wait_for_a_limited_time()
    {
        let config = Config::from_lookup(|_| None).unwrap();
        let watch_config = ServerConfig::from_lookup(|_| None).unwrap().watch;
        let watch = Watch::new(watch_config, 2_000, Store::new(&config).unwrap());
        let turns = [
            watch.snapshot_turn(3_999).await.unwrap(),
            watch.snapshot_turn(1).await.unwrap(),
        ];
        let begin = tokio::time::Instant::now();
        assert!(matches!(
            watch.snapshot_turn(1).await,
            Err(StoreError::Timeout(_))
        ));
        assert_eq!(begin.elapsed(), MAX_SNAPSHOT_WAIT, "on tokio's clock");
        drop(turns);
        assert!(watch.snapshot_turn(10_000).await.is_ok());
    }
}
