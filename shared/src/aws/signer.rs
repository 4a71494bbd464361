//! AWS credentials and request signing.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use aws_config::{
    default_provider::credentials::DefaultCredentialsChain, provider_config::ProviderConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign},
    sign::v4,
};
use http::Request;
use tokio::{sync::Mutex, time::timeout};

use super::connector::http_client;
use crate::error_chain::error_chain;

/// Credentials are fetched again this long before they expire: AWS has new ones at least five
/// minutes before.
const REFRESH_BEFORE: Duration = Duration::from_mins(5);

/// Time limit of a lookup of credentials, whatever its providers do.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Signs requests to AWS in one region.
#[derive(Debug, Clone)]
pub struct RequestSigner {
    region: String,
    credentials: SharedCredentialsProvider,
}

/// Error of signing a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// There are no credentials, or they have expired.
    #[error("there are no AWS credentials")]
    Credentials(#[from] CredentialsError),
    /// The signer rejected the request.
    #[error("the request to AWS cannot be signed")]
    Signing(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RequestSigner {
    /// Creates a signer for a region.
    pub fn new(region: impl Into<String>, credentials: SharedCredentialsProvider) -> Self {
        Self {
            region: region.into(),
            credentials,
        }
    }

    /// The AWS region, such as `eu-central-1`.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Signs a request to a service. The signature is dated `at`.
    pub(super) async fn sign(
        &self,
        request: &mut Request<Vec<u8>>,
        service: &str,
        settings: SigningSettings,
        at: SystemTime,
    ) -> Result<(), SignError> {
        let identity = self.credentials.provide_credentials().await?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service)
            .time(at)
            .settings(settings)
            .build()
            .map_err(SignError::signing)?
            .into();
        let signable = signable(request).map_err(SignError::signing)?;
        let signed = sign(signable, &parameters).map_err(SignError::signing)?;
        let (instructions, _) = signed.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// What a signature covers: the method, the URL, the body, and all headers that are text.
fn signable(request: &Request<Vec<u8>>) -> Result<SignableRequest<'_>, SigningError> {
    let fields = request.headers().iter();
    let headers = fields.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(request.body());
    SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers,
        body,
    )
}

impl SignError {
    pub(super) fn signing(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Signing(Box::new(error))
    }
}

/// The credentials of this process, found as AWS's SDKs find them: the environment (AWS Lambda), a
/// profile, a web identity (EKS service accounts), the container endpoint (ECS, EKS Pod Identity),
/// the instance profile (EC2). Nothing is looked up before they are needed.
pub fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(ProcessCredentials::default())
}

/// A provider that keeps credentials until shortly before they expire. Those without an expiry are
/// looked up each time, as the file that they come from may have changed.
#[derive(Debug, Clone, Default)]
struct ProcessCredentials(Arc<Mutex<Option<Fetched>>>);

/// The outcome of the last lookup.
#[derive(Debug)]
struct Fetched {
    /// The newest credentials, or the error.
    outcome: Result<Credentials, String>,
    ended_at: Instant,
}

impl ProcessCredentials {
    async fn get(&self) -> provider::Result {
        // A task of its own: its result is kept if the caller does not wait for it.
        let fetch = tokio::spawn(self.clone().fetch(Instant::now()));
        fetch.await.map_err(CredentialsError::provider_error)?
    }

    async fn fetch(self, called_at: Instant) -> provider::Result {
        // Held during a lookup: callers that wait for it share its outcome.
        let mut fetched = self.0.lock().await;
        let current = fetched
            .as_ref()
            .and_then(|fetched| fetched.outcome.as_ref().ok());
        if let Some(credentials) = current.filter(|current| is_valid_in(current, REFRESH_BEFORE)) {
            return Ok(credentials.clone());
        }
        if let Some(Fetched { outcome, ended_at }) = &*fetched
            && *ended_at > called_at
        {
            return outcome.clone().map_err(CredentialsError::not_loaded);
        }
        let found = match timeout(LOOKUP_TIMEOUT, look_up()).await {
            Ok(found) => found.map_err(|error| error_chain(&error)),
            Err(_) => Err(format!("no provider responded within {LOOKUP_TIMEOUT:?}")),
        };
        // The current ones may still be valid for minutes.
        let outcome = found.or_else(|error| {
            let valid = current.filter(|current| is_valid_in(current, Duration::ZERO));
            valid.cloned().ok_or(error)
        });
        *fetched = Some(Fetched {
            outcome: outcome.clone(),
            ended_at: Instant::now(),
        });
        outcome.map_err(CredentialsError::not_loaded)
    }
}

/// Whether credentials that expire are still valid after this time.
fn is_valid_in(credentials: &Credentials, time: Duration) -> bool {
    credentials
        .expiry()
        .is_some_and(|expiry| SystemTime::now() + time < expiry)
}

impl ProvideCredentials for ProcessCredentials {
    fn provide_credentials<'a>(&'a self) -> provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        provider::future::ProvideCredentials::new(self.get())
    }
}

/// Looks up credentials. The chain is built each time, because it reads files only once.
async fn look_up() -> provider::Result {
    let config = ProviderConfig::default().with_http_client(http_client());
    let chain = DefaultCredentialsChain::builder()
        .configure(config)
        .build()
        .await;
    chain.provide_credentials().await
}
