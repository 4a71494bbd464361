//! A node that serves a fixed number of entries per second, on tokio's paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::{sync::Mutex as Serial, time::sleep};

use super::*;

const STORE_TIMEOUT: Duration = Duration::from_millis(500);

/// Serves one call at a time, as Redis does.
struct Node {
    per_second: usize,
    busy: Serial<()>,
    slowest: Mutex<Duration>,
    served: AtomicUsize,
}

impl Node {
    fn new(per_second: usize) -> Self {
        Self {
            per_second,
            busy: Serial::default(),
            slowest: Mutex::default(),
            served: AtomicUsize::new(0),
        }
    }

    async fn serve(&self, permit: Permit, entries: usize) {
        let sent_at = Instant::now();
        let turn = self.busy.lock().await;
        sleep(Duration::from_secs_f64(
            entries as f64 / self.per_second as f64,
        ))
        .await;
        drop(turn);
        self.served.fetch_add(entries, Ordering::Relaxed);
        permit.end(RoundTrip::Replied);
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = slowest.max(sent_at.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_waits_here_and_not_in_the_node() {
    let limit = InFlightLimit::new(STORE_TIMEOUT);
    let node = Node::new(20_000);
    // 100 gateways that send batches of 1,000 as fast as they get responses: 5 s of work if all are
    // sent at once.
    let gateways = (0..100).map(async |_| {
        for _ in 0..5 {
            let permit = limit.acquire(1_000, Urgency::Normal).await.unwrap();
            node.serve(permit, 1_000).await;
        }
    });
    let start = Instant::now();
    join_all(gateways).await;
    assert_eq!(node.served.load(Ordering::Relaxed), 500_000);
    assert!(
        *node.slowest.lock().unwrap() < STORE_TIMEOUT,
        "{:?}",
        node.slowest
    );
    // The node is never idle meanwhile (the clock is paused: this is computed, not timed).
    assert!(
        start.elapsed() < Duration::from_secs(26),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn renewals_go_first() {
    let limit = InFlightLimit::new(STORE_TIMEOUT);
    let node = Node::new(20_000);
    let storm = join_all((0..60).map(async |_| {
        let permit = limit.acquire(1_000, Urgency::Normal).await.unwrap();
        node.serve(permit, 1_000).await;
    }));
    let renewals = async {
        sleep(Duration::from_millis(10)).await; // the storm waits by now
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            let permit = limit.acquire(50, Urgency::Renewal).await.unwrap();
            node.serve(permit, 50).await;
            slowest = slowest.max(start.elapsed());
        }
        slowest
    };
    let (_, slowest) = tokio::join!(storm, renewals);
    assert!(slowest < STORE_TIMEOUT, "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn work_whose_turn_comes_too_late_is_refused_with_the_time_to_wait() {
    let limit = InFlightLimit::new(STORE_TIMEOUT);
    let node = Node::new(1_000);
    let results = join_all((0..40).map(async |n| {
        sleep(Duration::from_millis(100 * n)).await;
        let permit = limit.acquire(1_000, Urgency::Normal).await?;
        node.serve(permit, 1_000).await;
        Ok::<_, StoreError>(())
    }))
    .await;
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    let pauses: Vec<_> = refused
        .map(|error| match error {
            StoreError::Overloaded { retry_after } => *retry_after,
            error => panic!("{error}"),
        })
        .collect();
    assert!(!pauses.is_empty() && pauses.len() < 40);
    assert!(
        pauses
            .iter()
            .all(|pause| (Duration::from_secs(1)..=MAX_RETRY_AFTER).contains(pause)),
        "{pauses:?}"
    );
    assert!(
        pauses.iter().any(|pause| *pause > Duration::from_secs(1)),
        "{pauses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_burst_after_a_quiet_time_is_not_refused() {
    for urgency in [Urgency::Normal, Urgency::Renewal] {
        let limit = InFlightLimit::new(STORE_TIMEOUT);
        let node = Node::new(20_000);
        for _ in 0..2 {
            sleep(Duration::from_secs(5)).await;
            let permit = limit.acquire(1, Urgency::Normal).await.unwrap();
            node.serve(permit, 1).await;
            // One and a half seconds of work, although little was done in the seconds before.
            let burst = (0..15).map(async |_| {
                let permit = limit.acquire(2_000, urgency).await?;
                node.serve(permit, 2_000).await;
                Ok::<_, StoreError>(())
            });
            for result in join_all(burst).await {
                result.unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_silent_node_fails_with_its_first_timeout() {
    let limit = InFlightLimit::new(STORE_TIMEOUT);
    let in_flight = limit.acquire(1_000, Urgency::Normal).await.unwrap();
    let start = Instant::now();
    let waiting =
        join_all([Urgency::Normal, Urgency::Renewal].map(|urgency| limit.acquire(1_000, urgency)));
    let silent = async {
        sleep(STORE_TIMEOUT).await;
        in_flight.end(RoundTrip::TimedOut);
    };
    let (results, ()) = tokio::join!(waiting, silent);
    assert!(
        results
            .iter()
            .all(|result| matches!(result, Err(StoreError::Timeout(_)))),
        "{results:?}"
    );
    assert_eq!(start.elapsed(), STORE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_takes_nothing_along() {
    let limit = InFlightLimit::new(STORE_TIMEOUT);
    let in_flight = limit.acquire(1_000, Urgency::Normal).await.unwrap();
    let gave_up = tokio::time::timeout(
        Duration::from_millis(1),
        limit.acquire(1_000, Urgency::Normal),
    )
    .await;
    assert!(gave_up.is_err());
    drop(in_flight);
    assert_eq!(limit.lock().in_flight, 0);
    let permit = limit.acquire(1_000, Urgency::Normal).await.unwrap();
    drop(permit);
    assert_eq!(limit.lock().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn the_limit_follows_a_node_that_becomes_slower_and_faster() {
    let limit = InFlightLimit::new(STORE_TIMEOUT);
    let find_limit = async |per_second: usize| {
        let node = Node::new(per_second);
        for _ in 0..40 {
            join_all((0..64).map(async |_| {
                let permit = limit.acquire(100, Urgency::Normal).await.unwrap();
                node.serve(permit, 100).await;
            }))
            .await;
        }
        limit.max_entries()
    };
    assert_eq!(limit.max_entries(), 1_000);
    let fast = find_limit(100_000).await;
    let slow = find_limit(10_000).await;
    let fast_again = find_limit(100_000).await;
    assert!(
        slow < fast / 2 && fast_again > 2 * slow,
        "{fast} {slow} {fast_again}"
    );
}
