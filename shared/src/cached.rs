//! Cache of one value with request coalescing.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::Instant};

/// A cached value. It is computed on demand, once at a time for all callers, and shared until it
/// expires.
#[derive(Debug)]
pub struct Cached<T> {
    ttl: Duration,
    slot: Mutex<Slot<T>>,
}

#[derive(Debug)]
struct Slot<T> {
    latest: Option<Computed<T>>,
    /// The next value, while it is being computed.
    in_flight: Option<watch::Receiver<Option<Computed<T>>>>,
}

/// A value and the time of its computation, by two clocks: while AWS Lambda freezes a process, only
/// the system clock advances.
#[derive(Debug, Clone)]
struct Computed<T> {
    value: T,
    at: Instant,
    at_system: SystemTime,
}

impl<T: Clone + Send + Sync + 'static> Cached<T> {
    /// Creates an empty cache, whose values are shared for `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            slot: Mutex::new(Slot {
                latest: None,
                in_flight: None,
            }),
        }
    }

    /// Returns the latest value, or computes a new one. `None` if the computation panicked. Must be
    /// called in a tokio runtime.
    ///
    /// `compute` runs in a task: callers that disconnect do not abort it, and so cannot start it
    /// over and over.
    pub async fn get<F>(&self, compute: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.get_for(|_| self.ttl, compute).await
    }

    /// Like [`get`](Self::get), but a value is shared for the time that `ttl_of` returns for it.
    pub async fn get_for<F>(
        &self,
        ttl_of: impl FnOnce(&T) -> Duration,
        compute: impl FnOnce() -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut in_flight = {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.settle();
            match &slot.latest {
                Some(computed) if computed.is_younger_than(ttl_of(&computed.value)) => {
                    return Some(computed.value.clone());
                }
                _ => slot
                    .in_flight
                    .get_or_insert_with(|| start(compute()))
                    .clone(),
            }
        };
        let computed = in_flight.wait_for(Option::is_some).await.ok()?.clone();
        computed.map(|computed| computed.value)
    }
}

impl<T: Clone> Slot<T> {
    /// Stores a computation that has finished.
    fn settle(&mut self) {
        let Some(in_flight) = &self.in_flight else {
            return;
        };
        let computed = in_flight.borrow().clone();
        // A sender that was dropped without a value has panicked.
        if computed.is_some() || in_flight.has_changed().is_err() {
            self.latest = computed;
            self.in_flight = None;
        }
    }
}

impl<T> Computed<T> {
    fn new(value: T) -> Self {
        Self {
            value,
            at: Instant::now(),
            at_system: SystemTime::now(),
        }
    }

    fn is_younger_than(&self, ttl: Duration) -> bool {
        // If the system clock was set back, the age is unknown.
        self.at.elapsed() < ttl && self.at_system.elapsed().unwrap_or(ttl) < ttl
    }
}

fn start<T: Send + Sync + 'static>(
    computing: impl Future<Output = T> + Send + 'static,
) -> watch::Receiver<Option<Computed<T>>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move { sender.send_replace(Some(Computed::new(computing.await))) });
    receiver
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    /// Counts how often it is computed; each time takes half a second.
    async fn count(computed: Arc<AtomicUsize>) -> usize {
        let count = computed.fetch_add(1, Ordering::Relaxed) + 1;
        sleep(Duration::from_millis(500)).await;
        count
    }

    #[tokio::test(start_paused = true)]
    async fn callers_at_the_same_time_and_shortly_after_share_a_value() {
        let cached = Cached::new(Duration::from_secs(1));
        let computed = Arc::default();
        let get = || cached.get(|| count(Arc::clone(&computed)));
        assert_eq!(join_all((0..100).map(|_| get())).await, vec![Some(1); 100]);
        advance(Duration::from_millis(900)).await;
        assert_eq!(get().await, Some(1));
        advance(Duration::from_millis(200)).await;
        assert_eq!(get().await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_may_be_shared_for_longer_than_others() {
        let cached = Cached::new(Duration::from_secs(1));
        let computed = Arc::default();
        let get_ttl = |count: &usize| Duration::from_secs(if *count == 1 { 10 } else { 1 });
        let get = || cached.get_for(get_ttl, || count(Arc::clone(&computed)));
        for (pause, expected) in [(0, 1), (9, 1), (2, 2), (2, 3)] {
            advance(Duration::from_secs(pause)).await;
            assert_eq!(get().await, Some(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_disconnect_do_not_start_it_again() {
        let cached = Cached::new(Duration::from_secs(1));
        let computed = Arc::default();
        for _ in 0..100 {
            let get = cached.get(|| count(Arc::clone(&computed)));
            assert!(
                tokio::time::timeout(Duration::from_millis(1), get)
                    .await
                    .is_err()
            );
        }
        assert_eq!(cached.get(|| count(Arc::clone(&computed))).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_cannot_be_computed_is_tried_again() {
        let cached = Cached::new(Duration::from_secs(1));
        assert_eq!(
            cached.get(async || panic!("on purpose")).await,
            None::<usize>
        );
        assert_eq!(cached.get(async || 1).await, Some(1));
    }
}
