//! The default providers of credentials, loaded again when that may change their result.

use std::fmt;

use aws_config::{ConfigLoader, SdkConfig};
use aws_credential_types::provider::{
    ProvideCredentials, Result as Fetched, SharedCredentialsProvider, error::CredentialsError,
    future,
};
use tokio::sync::Mutex;

/// A configuration to load.
pub(super) type Loader = Box<dyn Fn() -> ConfigLoader + Send + Sync>;

/// The provider of a configuration. The configuration is loaded again if its provider failed, or
/// returned credentials without an expiry: a provider reads the files of the AWS CLI only once, and
/// would return the same keys forever.
///
/// A provider of credentials that expire is kept, because it caches what it needs to fetch the next
/// ones.
pub(super) struct ReloadingProvider {
    loader: Loader,
    kept: Mutex<Option<SharedCredentialsProvider>>,
}

impl ReloadingProvider {
    /// The provider of `config`, at first, and of what `loader` loads later.
    pub(super) fn new(config: &SdkConfig, loader: Loader) -> Self {
        Self {
            loader,
            kept: Mutex::new(config.credentials_provider()),
        }
    }

    async fn fetch(&self) -> Fetched {
        let mut kept = self.kept.lock().await;
        let provider = match kept.take() {
            Some(provider) => provider,
            None => provider_of(&(self.loader)().load().await)?,
        };
        let credentials = provider.provide_credentials().await?;
        if credentials.expiry().is_some() {
            *kept = Some(provider);
        }
        Ok(credentials)
    }
}

/// The provider of credentials in a configuration.
pub(super) fn provider_of(
    config: &SdkConfig,
) -> Result<SharedCredentialsProvider, CredentialsError> {
    let provider = config.credentials_provider();
    provider.ok_or_else(|| CredentialsError::not_loaded("the configuration has no provider"))
}

impl ProvideCredentials for ReloadingProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.fetch())
    }
}

/// Nothing of the providers: they may show secrets.
impl fmt::Debug for ReloadingProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadingProvider").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex as StdMutex},
        time::{Duration, SystemTime},
    };

    use aws_config::{BehaviorVersion, Region};
    use aws_credential_types::Credentials;

    use super::*;

    /// A provider that returns the next of these results each time, over all its copies.
    #[derive(Debug, Clone)]
    struct Script(Arc<StdMutex<VecDeque<Fetched>>>);

    impl ProvideCredentials for Script {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(self.0.lock().unwrap().pop_front().unwrap())
        }
    }

    fn keys(expiry: Option<SystemTime>) -> Fetched {
        Ok(Credentials::new("id", "key", None, expiry, "test"))
    }

    #[tokio::test]
    async fn a_configuration_is_kept_while_its_credentials_expire_and_else_loaded_again() {
        let expiry = Some(SystemTime::now() + Duration::from_hours(1));
        let failure = Err(CredentialsError::not_loaded("the role cannot be assumed"));
        let results = [
            keys(expiry),
            keys(expiry),
            failure,
            keys(expiry),
            keys(None),
            keys(None),
            keys(expiry),
        ];
        let script = Script(Arc::new(StdMutex::new(results.into())));
        let loads = Arc::new(StdMutex::new(0));
        let loader = {
            let loads = Arc::clone(&loads);
            move || {
                *loads.lock().unwrap() += 1;
                let loader =
                    aws_config::defaults(BehaviorVersion::latest()).empty_test_environment();
                loader
                    .region(Region::new("eu-central-1"))
                    .credentials_provider(script.clone())
            }
        };
        let config = loader().load().await;
        let provider = ReloadingProvider::new(&config, Box::new(loader));
        let mut outcomes = Vec::new();
        for _ in 0..7 {
            let is_ok = provider.fetch().await.is_ok();
            outcomes.push((is_ok, *loads.lock().unwrap()));
        }
        let expected = [
            (true, 1),
            (true, 1),
            (false, 1),
            (true, 2),
            (true, 2),
            (true, 3),
            (true, 4),
        ];
        assert_eq!(outcomes, expected);
    }
}
