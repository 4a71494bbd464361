//! AWS credentials and request signing.

use std::time::{Duration, SystemTime};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sigv4::{
    http_request::{self, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};

use super::container::ContainerCredentials;

/// The provider name of credentials that come from environment variables.
const ENVIRONMENT: &str = "environment";

/// Signs requests to AWS in one region.
#[derive(Debug, Clone)]
pub struct Identity {
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

/// The part of a request that carries the signature.
pub(super) enum SignatureLocation {
    /// The headers, for a request that is sent immediately.
    Headers,
    /// The query, for a URL that stays valid for this long.
    Url(Duration),
}

impl Identity {
    /// Creates a signer for a region.
    pub fn new(region: impl Into<String>, credentials: SharedCredentialsProvider) -> Self {
        Self { region: region.into(), credentials }
    }

    /// The AWS region, such as `eu-central-1`.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Signs a request to a service. The signature is dated `at`.
    pub(super) async fn sign(
        &self,
        request: &mut http::Request<Vec<u8>>,
        service: &str,
        location: SignatureLocation,
        at: SystemTime,
    ) -> Result<(), SignError> {
        let keys = self.credentials.provide_credentials().await?.into();
        let mut settings = SigningSettings::default();
        if let SignatureLocation::Url(validity) = location {
            settings.signature_location = http_request::SignatureLocation::QueryParams;
            settings.expires_in = Some(validity);
        }
        let builder = v4::SigningParams::builder().identity(&keys).region(&self.region).name(service);
        let parameters = builder.time(at).settings(settings).build().map_err(signing_error)?.into();
        // The signature covers the URL, the body, and all headers that are text.
        let uri = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(request.body());
        let unsigned = SignableRequest::new(request.method().as_str(), uri, headers, body).map_err(signing_error)?;
        let (instructions, _) = sign(unsigned, &parameters).map_err(signing_error)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// The credentials of this process: the keys in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`,
/// else those of the container endpoint of ECS or EKS.
///
/// The variables are read once: AWS Lambda sets them when it starts a function, and ends the function before they
/// expire.
pub fn credentials() -> SharedCredentialsProvider {
    let variable = |name: &'static str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(id), Some(key)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        let keys = Credentials::new(id, key, variable("AWS_SESSION_TOKEN"), None, ENVIRONMENT);
        return SharedCredentialsProvider::new(keys);
    }
    match ContainerCredentials::from_lookup(variable) {
        Some(container) => SharedCredentialsProvider::new(container),
        None => SharedCredentialsProvider::new(NoCredentials),
    }
}

/// A provider that has no credentials, and says what to set.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error = CredentialsError::not_loaded(
            "neither AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set nor a container's endpoint",
        );
        provider::future::ProvideCredentials::ready(Err(error))
    }
}

fn signing_error(error: impl std::error::Error + Send + Sync + 'static) -> SignError {
    SignError::Signing(Box::new(error))
}
