//! Times at which credentials are fetched, and calls that wait for that.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use aws_credential_types::provider::{ProvideCredentials, future};
use tokio::time::sleep;

use super::*;

/// A provider with scripted results; after the last one it never responds.
#[derive(Debug)]
struct Script {
    results: Vec<Step>,
    calls: AtomicUsize,
}

/// The result of one fetch.
#[derive(Debug, Clone, Copy)]
struct Step {
    delay: Duration,
    /// When the credentials expire, in seconds from [`start`]; `None` is a failure.
    expiry: Option<u64>,
}

impl From<Option<u64>> for Step {
    fn from(expiry: Option<u64>) -> Self {
        Self {
            delay: Duration::ZERO,
            expiry,
        }
    }
}

impl Step {
    /// A result after so many seconds.
    fn after(seconds: u64, expiry: Option<u64>) -> Self {
        Self {
            delay: Duration::from_secs(seconds),
            expiry,
        }
    }
}

impl ProvideCredentials for Script {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let Some(Step { delay, expiry }) = self.results.get(call).copied() else {
            return future::ProvideCredentials::new(pending());
        };
        future::ProvideCredentials::new(async move {
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let seconds = expiry.ok_or_else(|| CredentialsError::not_loaded("logged out"))?;
            let expires_at = (seconds != NEVER).then(|| start() + Duration::from_secs(seconds));
            Ok(Credentials::new("id", "key", None, expires_at, "test"))
        })
    }
}

/// An expiry that credentials do not have.
const NEVER: u64 = u64::MAX;

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(24)
}

/// A cache, with its script and a clock that starts at [`start`].
struct Fixture {
    cache: CachedCredentials,
    script: Arc<Script>,
    started_at: Instant,
}

impl Fixture {
    fn new<S: Into<Step>>(results: impl IntoIterator<Item = S>) -> Self {
        let results = results.into_iter().map(Into::into).collect();
        let script = Arc::new(Script {
            results,
            calls: AtomicUsize::new(0),
        });
        let provider: Arc<dyn ProvideCredentials> = script.clone();
        let cache = CachedCredentials::new(SharedCredentialsProvider::from(provider));
        Self {
            cache,
            script,
            started_at: Instant::now(),
        }
    }

    /// Gets credentials at this second. Returns the second at which they expire, and the number of
    /// fetches so far.
    async fn get_at(&self, second: u64) -> (Option<u64>, usize) {
        tokio::time::sleep_until(self.started_at + Duration::from_secs(second)).await;
        let expiry = self.get().await.ok();
        self.settle().await;
        (expiry, self.fetches())
    }

    /// Gets credentials now. Returns the second at which they expire.
    async fn get(&self) -> Result<u64, Arc<CredentialsError>> {
        let credentials = self.cache.get(self.now()).await?;
        Ok(credentials.expiry().map_or(NEVER, |expiry| {
            expiry.duration_since(start()).unwrap().as_secs()
        }))
    }

    /// Lets a fetch start, and end if its provider responds at once.
    async fn settle(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    fn now(&self) -> SystemTime {
        start() + self.started_at.elapsed()
    }

    fn fetches(&self) -> usize {
        self.script.calls.load(Ordering::Relaxed)
    }
}

/// Gets credentials at each of these seconds; see [`Fixture::get_at`].
async fn get<S: Into<Step>>(
    results: impl IntoIterator<Item = S>,
    seconds: impl IntoIterator<Item = u64>,
) -> Vec<(Option<u64>, usize)> {
    let fixture = Fixture::new(results);
    let mut outcomes = Vec::new();
    for second in seconds {
        outcomes.push(fixture.get_at(second).await);
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn credentials_are_fetched_again_five_minutes_before_they_expire() {
    let outcomes = get(
        [Some(3_600), Some(7_200)],
        [0, 3_299, 3_300, 3_301, 3_600, 6_899],
    )
    .await;
    let first = Some(3_600);
    let second = Some(7_200);
    assert_eq!(
        outcomes,
        [
            (first, 1),
            (first, 1),
            (first, 2),
            (second, 2),
            (second, 2),
            (second, 2)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_without_an_expiry_are_fetched_again_every_five_minutes() {
    let outcomes = get(
        [Some(NEVER), Some(NEVER), None, Some(NEVER)],
        [0, 299, 300, 599, 600, 629, 630],
    )
    .await;
    let keys = Some(NEVER);
    assert_eq!(
        outcomes,
        [
            (keys, 1),
            (keys, 1),
            (keys, 2),
            (keys, 2),
            (keys, 3),
            (keys, 3),
            (keys, 4)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_repeated_after_a_pause_and_the_current_credentials_are_used_until_they_expire()
 {
    let results = [Some(3_600), None, None, None, None];
    let outcomes = get(results, [0, 3_300, 3_329, 3_330, 3_599, 3_600]).await;
    let first = Some(3_600);
    assert_eq!(
        outcomes,
        [
            (first, 1),
            (first, 2),
            (first, 2),
            (first, 3),
            (first, 4),
            (None, 5)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn credentials_that_a_provider_returns_again_are_not_fetched_for_each_call() {
    let outcomes = get(
        [Some(100), Some(100), Some(4_000)],
        [0, 1, 29, 30, 59, 60, 61],
    )
    .await;
    let same = Some(100);
    assert_eq!(
        outcomes,
        [
            (same, 1),
            (same, 1),
            (same, 1),
            (same, 2),
            (same, 2),
            (same, 3),
            (Some(4_000), 3)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn there_are_several_attempts_before_credentials_of_a_short_life_expire() {
    let results = [Some(20), Some(20), None, Some(4_000)];
    let outcomes = get(results, [0, 9, 10, 14, 15, 17, 18]).await;
    let short = Some(20);
    assert_eq!(
        outcomes,
        [
            (short, 1),
            (short, 1),
            (short, 2),
            (short, 2),
            (short, 3),
            (short, 3),
            (short, 4)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn expired_credentials_are_not_used() {
    let outcomes = get(
        [Some(3_600), None, Some(3_601), Some(8_000)],
        [0, 3_600, 3_601, 3_602],
    )
    .await;
    assert_eq!(
        outcomes,
        [(Some(3_600), 1), (None, 2), (None, 3), (Some(8_000), 4)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refresh_delays_no_call_however_long_it_takes() {
    let fixture = Fixture::new([Step::after(2, Some(3_600)), Step::after(50, Some(7_200))]);
    assert_eq!(fixture.get_at(0).await, (Some(3_600), 1));
    for second in [3_300, 3_310, 3_349] {
        assert_eq!(fixture.get_at(second).await, (Some(3_600), 2), "{second}");
        assert_eq!(
            fixture.now(),
            start() + Duration::from_secs(second),
            "the call did not wait"
        );
    }
    assert_eq!(fixture.get_at(3_351).await, (Some(7_200), 2));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_goes_on_after_the_call_that_began_it_and_serves_the_next_ones() {
    let fixture = Fixture::new([Step::after(20, Some(3_600))]);
    for _ in 0..3 {
        assert!(
            timeout(Duration::from_secs(6), fixture.get())
                .await
                .is_err()
        );
    }
    let (first, second) = tokio::join!(fixture.get(), fixture.get());
    assert_eq!(
        (first.unwrap(), second.unwrap(), fixture.fetches()),
        (3_600, 3_600, 1)
    );
    assert_eq!(fixture.now(), start() + Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn the_calls_that_wait_for_a_failing_fetch_return_its_error() {
    let fixture = Fixture::new([Step::after(2, None)]);
    let (first, second) = tokio::join!(fixture.get(), fixture.get());
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(
            matches!(*error, CredentialsError::CredentialsNotLoaded(_)),
            "{error:?}"
        );
    }
    assert_eq!(fixture.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_given_up_and_asked_again() {
    let fixture = Fixture::new([Step::after(1_000, Some(3_600)), Step::from(Some(3_600))]);
    let error = fixture.get().await.unwrap_err();
    assert!(
        matches!(*error, CredentialsError::ProviderTimedOut(_)),
        "{error:?}"
    );
    assert_eq!(fixture.now(), start() + FETCH_TIMEOUT);
    assert_eq!(fixture.get().await.unwrap(), 3_600);
}

#[test]
fn a_fetch_that_ended_with_its_runtime_is_begun_again() {
    let start_runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = start_runtime();
    let fixture = {
        let _guard = first.enter();
        Fixture::new([Step::after(10, Some(3_600)), Step::from(Some(3_600))])
    };
    let now = start();
    assert!(
        first
            .block_on(async { timeout(Duration::from_secs(1), fixture.cache.get(now)).await })
            .is_err()
    );
    drop(first);
    assert!(start_runtime().block_on(fixture.cache.get(now)).is_ok());
    assert_eq!(fixture.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_fetched_again_before_the_next_call() {
    let fixture = Fixture::new([Step::from(Some(3_600)), Step::after(2, Some(7_200))]);
    assert_eq!(fixture.get_at(0).await, (Some(3_600), 1));
    assert_eq!(fixture.get_at(100).await, (Some(3_600), 1));
    fixture.cache.report_refusal(fixture.now());
    assert_eq!(
        fixture.get().await.unwrap(),
        7_200,
        "the call waits for the new ones"
    );
    assert_eq!(fixture.now(), start() + Duration::from_secs(102));
    fixture
        .cache
        .report_refusal(start() + Duration::from_secs(100));
    assert_eq!(
        fixture.get_at(103).await,
        (Some(7_200), 2),
        "others were refused"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_all_refused_fetch_credentials_at_an_interval() {
    let fixture = Fixture::new([Some(3_600); 10]);
    for second in 0..=60 {
        fixture.get_at(second).await;
        fixture.cache.report_refusal(fixture.now());
    }
    assert_eq!(fixture.fetches(), 4, "at 0, 1, 30 and 60 seconds");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_delays_a_call_after_a_refusal_for_a_short_time_only() {
    let fixture = Fixture::new([Some(3_600)]);
    fixture.get_at(0).await;
    fixture.get_at(100).await;
    fixture.cache.report_refusal(fixture.now());
    assert_eq!(fixture.get().await.unwrap(), 3_600);
    assert_eq!(
        fixture.now(),
        start() + Duration::from_secs(100) + REFUSED_TIMEOUT
    );
    assert_eq!(
        fixture.get().await.unwrap(),
        3_600,
        "the next call does not wait"
    );
    assert_eq!(
        fixture.now(),
        start() + Duration::from_secs(100) + REFUSED_TIMEOUT
    );
}
