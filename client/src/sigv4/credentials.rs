//! AWS credentials that are fetched again before they expire.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{
    Credentials,
    provider::{
        ProvideCredentials as _, Result as Fetched, SharedCredentialsProvider,
        error::CredentialsError,
    },
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::error::ErrorChain;

/// Credentials are fetched again this long before they expire: AWS has new ones at least five
/// minutes before.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// Credentials without an expiry, such as those of a file, are fetched again after this time: the
/// file may have changed.
const MAX_AGE: Duration = Duration::from_mins(5);

/// Valid credentials are not fetched again sooner than this after the last attempt, whether it
/// failed or returned the same, unless they expire soon.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest time between two attempts, just before valid credentials expire.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// A call waits this long for new credentials if the current ones were refused.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(3);

/// A fetch is given up after this time. It is longer than any call, because a program that a
/// profile names may take long.
const FETCH_TIMEOUT: Duration = Duration::from_mins(1);

/// The credentials of a provider, shared by all calls.
///
/// Each fetch is a task of its own. It goes on when the call that began it is given up, so a slow
/// provider delays calls, but the next one finds its result.
pub(super) struct CachedCredentials {
    shared: Arc<Shared>,
}

struct Shared {
    provider: SharedCredentialsProvider,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Cached>,
    /// Why the last fetch failed.
    error: Option<Arc<CredentialsError>>,
    /// Closes at the end of the last fetch.
    fetch: Option<watch::Receiver<()>>,
    /// The earliest time of the next fetch that is due to a refused call.
    next_fetch_for_refusal: Option<SystemTime>,
}

struct Cached {
    credentials: Credentials,
    /// When the last attempt to fetch credentials ended.
    attempted_at: SystemTime,
    refresh_at: SystemTime,
    /// Whether a call with these credentials was refused.
    is_refused: bool,
}

/// What a call finds, with the fetch that it waits for.
enum Lookup {
    Usable(Credentials),
    Refused(watch::Receiver<()>),
    Missing(watch::Receiver<()>),
}

impl CachedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Self {
            shared: Arc::new(Shared {
                provider,
                state: Mutex::default(),
            }),
        }
    }

    /// Credentials that are valid at `now`. Those that expire soon are used while new ones are
    /// fetched. A call waits for a fetch if there are none, and for a short time if the current
    /// ones were refused.
    pub(super) async fn get(&self, now: SystemTime) -> Result<Credentials, Arc<CredentialsError>> {
        let began_at = Instant::now();
        match self.look_up(now) {
            Lookup::Usable(credentials) => return Ok(credentials),
            Lookup::Refused(mut fetch) => {
                if timeout(REFUSED_TIMEOUT, fetch.changed()).await.is_err() {
                    self.shared.state().stop_waiting();
                }
            }
            // The channel closes without a message.
            Lookup::Missing(mut fetch) => _ = fetch.changed().await,
        }
        let state = self.shared.state();
        let current = state
            .valid_at(now + began_at.elapsed())
            .map(|cached| cached.credentials.clone());
        current.ok_or_else(|| state.failure())
    }

    /// Looks for credentials, and starts to fetch new ones if it is time.
    fn look_up(&self, now: SystemTime) -> Lookup {
        let mut state = self.shared.state();
        let Some(cached) = state.valid_at(now) else {
            return Lookup::Missing(self.shared.start_fetch(&mut state, now));
        };
        let credentials = cached.credentials.clone();
        let is_refused = cached.is_refused;
        if now < cached.refresh_at {
            return Lookup::Usable(credentials);
        }
        let fetch = self.shared.start_fetch(&mut state, now);
        if is_refused {
            Lookup::Refused(fetch)
        } else {
            Lookup::Usable(credentials)
        }
    }

    /// Reports that a call that was signed at `signed_at` was refused, perhaps for its credentials:
    /// keys that were replaced may have been deleted. Credentials are fetched again before the next
    /// call, at most once per [`REFRESH_INTERVAL`].
    pub(super) fn report_refusal(&self, signed_at: SystemTime) {
        let mut state = self.shared.state();
        let refresh_at = state
            .next_fetch_for_refusal
            .map_or(signed_at, |next| next.max(signed_at));
        // Newer credentials were not the refused ones.
        let Some(cached) = state
            .current
            .as_mut()
            .filter(|cached| cached.attempted_at <= signed_at)
        else {
            return;
        };
        cached.is_refused = true;
        if refresh_at < cached.refresh_at {
            cached.refresh_at = refresh_at;
            state.next_fetch_for_refusal = Some(refresh_at + REFRESH_INTERVAL);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to fetch credentials, unless that is under way. The channel closes at the end.
    fn start_fetch(self: &Arc<Self>, state: &mut State, now: SystemTime) -> watch::Receiver<()> {
        // A task that ended early, together with its runtime, closed its channel as well.
        if let Some(fetch) = state
            .fetch
            .as_ref()
            .filter(|fetch| fetch.has_changed().is_ok())
        {
            return fetch.clone();
        }
        let (end_of_fetch, fetch) = watch::channel(());
        state.fetch = Some(fetch.clone());
        state.error = None;
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let began_at = Instant::now();
            let fetched = timeout(FETCH_TIMEOUT, shared.provider.provide_credentials())
                .await
                .unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(FETCH_TIMEOUT)));
            shared.state().store(fetched, now + began_at.elapsed());
            drop(end_of_fetch);
        });
        fetch
    }
}

impl State {
    /// The current credentials, if they are valid at `now`.
    fn valid_at(&self, now: SystemTime) -> Option<&Cached> {
        self.current.as_ref().filter(|cached| cached.is_valid(now))
    }

    /// Stores the result of a fetch that ended at `now`.
    fn store(&mut self, fetched: Fetched, now: SystemTime) {
        let cached = fetched.map(|credentials| Cached::new(credentials, now));
        match cached {
            Ok(cached) if cached.is_valid(now) => self.current = Some(cached),
            Ok(_) => self.fail(
                CredentialsError::not_loaded("the provider returned expired credentials"),
                now,
            ),
            Err(error) => self.fail(error, now),
        }
    }

    /// Keeps the current credentials after a failed fetch.
    fn fail(&mut self, error: CredentialsError, now: SystemTime) {
        if let Some(cached) = self.current.as_mut().filter(|cached| cached.is_valid(now)) {
            tracing::warn!(
                error = %ErrorChain(&error),
                "AWS credentials were not refreshed; using the current ones"
            );
            cached.attempted_at = now;
            cached.refresh_at = cached.next_attempt(now);
            cached.is_refused = false;
        }
        self.error = Some(Arc::new(error));
    }

    /// Lets calls use the current credentials, although they were refused, while a slow fetch goes
    /// on.
    fn stop_waiting(&mut self) {
        self.current
            .iter_mut()
            .for_each(|cached| cached.is_refused = false);
    }

    /// Why there are no valid credentials after a fetch.
    fn failure(&self) -> Arc<CredentialsError> {
        let create_interruption = || {
            Arc::new(CredentialsError::not_loaded(
                "the fetch of credentials was interrupted",
            ))
        };
        self.error.clone().unwrap_or_else(create_interruption)
    }
}

impl Cached {
    fn new(credentials: Credentials, now: SystemTime) -> Self {
        let refresh_at = credentials
            .expiry()
            .map_or(now + MAX_AGE, |expiry| expiry - REFRESH_BEFORE);
        let mut cached = Self {
            credentials,
            attempted_at: now,
            refresh_at,
            is_refused: false,
        };
        cached.refresh_at = refresh_at.max(cached.next_attempt(now));
        cached
    }

    /// The earliest time of the next attempt after one that ended at `now`: with half of the
    /// remaining time left, so that there are several attempts before the expiry.
    fn next_attempt(&self, now: SystemTime) -> SystemTime {
        let remaining = self
            .credentials
            .expiry()
            .map(|expiry| expiry.duration_since(now).unwrap_or_default());
        let pause = remaining.map_or(REFRESH_INTERVAL, |remaining| remaining / 2);
        now + pause.clamp(MIN_REFRESH_INTERVAL, REFRESH_INTERVAL)
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| now < expiry)
    }
}

#[cfg(test)]
mod tests;
