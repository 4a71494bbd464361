//! AWS credentials that are fetched again before they expire.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, Result as Fetched, SharedCredentialsProvider, error::CredentialsError},
};
use tokio::{sync::Mutex, time::timeout};

/// Credentials are fetched again this long before they expire: AWS has new ones at least five minutes before.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// Credentials without an expiry, such as those of a file, are fetched again after this time: the file may have changed.
const MAX_AGE: Duration = Duration::from_mins(5);

/// Valid credentials are not fetched again sooner than this after the last attempt, whether it failed or returned the same.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// A call waits this long for new credentials while the current ones are valid.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);

/// The credentials of a provider.
pub(super) struct CachedCredentials {
    provider: SharedCredentialsProvider,
    current: Mutex<Option<Cached>>,
}

struct Cached {
    credentials: Credentials,
    refresh_at: SystemTime,
}

impl CachedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self { provider, current: Mutex::default() }
    }

    /// Credentials that are valid at `now`. They are fetched if there are none, or if those expire soon; if that fails, the
    /// current ones are used until they expire.
    pub(super) async fn get(&self, now: SystemTime) -> Fetched {
        // Held while credentials are fetched, so that concurrent calls share one fetch.
        let mut current = self.current.lock().await;
        match &mut *current {
            Some(cached) if now < cached.refresh_at => Ok(cached.credentials.clone()),
            Some(cached) if cached.is_valid(now) => {
                match timeout(REFRESH_TIMEOUT, self.provider.provide_credentials()).await {
                    Ok(Ok(credentials)) => *cached = Cached::new(credentials, now),
                    Ok(Err(error)) => cached.keep(now, &error),
                    Err(_) => cached.keep(now, &CredentialsError::provider_timed_out(REFRESH_TIMEOUT)),
                }
                Ok(cached.credentials.clone())
            }
            _ => {
                let credentials = self.provider.provide_credentials().await?;
                *current = Some(Cached::new(credentials.clone(), now));
                Ok(credentials)
            }
        }
    }
}

impl Cached {
    fn new(credentials: Credentials, now: SystemTime) -> Self {
        let refresh_at = credentials.expiry().map_or(now + MAX_AGE, |expiry| expiry - REFRESH_BEFORE);
        let mut cached = Self { credentials, refresh_at };
        cached.refresh_at = refresh_at.max(cached.next_attempt(now));
        cached
    }

    /// Keeps the credentials after a failed attempt to fetch new ones.
    fn keep(&mut self, now: SystemTime, error: &CredentialsError) {
        tracing::warn!(error = error as &dyn Error, "AWS credentials were not refreshed; using the current ones");
        self.refresh_at = self.next_attempt(now);
    }

    /// The earliest time of the next attempt to fetch credentials.
    fn next_attempt(&self, now: SystemTime) -> SystemTime {
        let after_pause = now + REFRESH_INTERVAL;
        self.credentials.expiry().map_or(after_pause, |expiry| expiry.min(after_pause))
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| now < expiry)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use aws_credential_types::provider::{ProvideCredentials, future};

    use super::*;

    /// A provider with scripted results; after the last one it never answers.
    #[derive(Debug)]
    struct Script {
        /// Seconds until the credentials expire, from [`start`]; `None` is a failure.
        results: Vec<Option<u64>>,
        calls: AtomicUsize,
    }

    impl ProvideCredentials for Script {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let Some(result) = self.results.get(call) else {
                return future::ProvideCredentials::new(std::future::pending());
            };
            let result = result.map(|seconds| {
                let expiry = start() + Duration::from_secs(seconds);
                Credentials::new("id", "key", None, Some(expiry), "test")
            });
            future::ProvideCredentials::ready(result.ok_or_else(|| CredentialsError::not_loaded("logged out")))
        }
    }

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(24)
    }

    /// Gets credentials at each of these seconds. Returns whether there were valid ones, and the number of fetches so far.
    async fn get(results: &[Option<u64>], seconds: &[u64]) -> Vec<(bool, usize)> {
        let script = Arc::new(Script { results: results.to_vec(), calls: AtomicUsize::new(0) });
        let provider: Arc<dyn ProvideCredentials> = script.clone();
        let cache = CachedCredentials::new(SharedCredentialsProvider::from(provider));
        let mut outcomes = Vec::new();
        for second in seconds {
            let now = start() + Duration::from_secs(*second);
            let credentials = cache.get(now).await;
            let is_valid = credentials.is_ok_and(|credentials| credentials.expiry().is_some_and(|expiry| now < expiry));
            outcomes.push((is_valid, script.calls.load(Ordering::Relaxed)));
        }
        outcomes
    }

    #[tokio::test]
    async fn credentials_are_fetched_again_five_minutes_before_they_expire() {
        let outcomes = get(&[Some(3_600), Some(7_200)], &[0, 3_299, 3_300, 3_600, 6_899]).await;
        assert_eq!(outcomes, [(true, 1), (true, 1), (true, 2), (true, 2), (true, 2)]);
    }

    #[tokio::test]
    async fn a_failed_refresh_is_repeated_after_a_pause_and_the_current_credentials_are_used_until_they_expire() {
        let results = [Some(3_600), None, None, None, None];
        let outcomes = get(&results, &[0, 3_300, 3_329, 3_330, 3_599, 3_600]).await;
        assert_eq!(outcomes, [(true, 1), (true, 2), (true, 2), (true, 3), (true, 4), (false, 5)]);
    }

    #[tokio::test]
    async fn credentials_that_a_provider_returns_again_are_not_fetched_for_each_call() {
        let outcomes = get(&[Some(100), Some(100), Some(4_000)], &[0, 1, 29, 30, 59, 60, 61]).await;
        assert_eq!(outcomes, [(true, 1), (true, 1), (true, 1), (true, 2), (true, 2), (true, 3), (true, 3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_provider_that_hangs_delays_one_call_while_the_current_credentials_are_valid() {
        let before = tokio::time::Instant::now();
        let outcomes = get(&[Some(3_600)], &[0, 3_300, 3_301, 3_329]).await;
        assert_eq!(outcomes, [(true, 1), (true, 2), (true, 2), (true, 2)]);
        assert!(before.elapsed() < 2 * REFRESH_TIMEOUT, "{:?}", before.elapsed());
    }

    #[tokio::test]
    async fn expired_credentials_are_not_used() {
        let outcomes = get(&[Some(3_600), None, Some(8_000)], &[0, 3_600, 3_601]).await;
        assert_eq!(outcomes, [(true, 1), (false, 2), (true, 3)]);
    }
}
