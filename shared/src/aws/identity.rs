//! Who the process is to AWS, and where.

use std::time::{Duration, SystemTime};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};

use super::container::ContainerCredentials;

/// What keys are said to come from.
const ENVIRONMENT: &str = "environment";

/// Signs requests to AWS in a region.
#[derive(Debug, Clone)]
pub struct Identity {
    region: String,
    credentials: SharedCredentialsProvider,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// No keys, or none that are still good.
    #[error("there are no AWS credentials")]
    Credentials(#[from] CredentialsError),
    /// The request cannot be signed.
    #[error("the request to AWS cannot be signed")]
    Signing(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where the signature stands.
pub(super) enum Place {
    /// In the headers of a request that is sent at once.
    Headers,
    /// In the URL, which is good for a while.
    Url(Duration),
}

impl Identity {
    /// An identity in a region.
    pub fn new(region: impl Into<String>, credentials: SharedCredentialsProvider) -> Self {
        Self { region: region.into(), credentials }
    }

    /// The region, such as `eu-central-1`.
    pub(super) fn region(&self) -> &str {
        &self.region
    }

    /// Signs a request for a service, as of a moment.
    pub(super) async fn sign(
        &self,
        request: &mut http::Request<Vec<u8>>,
        service: &str,
        place: Place,
        at: SystemTime,
    ) -> Result<(), SignError> {
        let keys = self.credentials.provide_credentials().await?.into();
        let mut settings = SigningSettings::default();
        if let Place::Url(validity) = place {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = Some(validity);
        }
        let parameters = v4::SigningParams::builder().identity(&keys).region(&self.region).name(service);
        let parameters = parameters.time(at).settings(settings).build().map_err(refused)?.into();
        let uri = request.uri().to_string();
        let headers = request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(request.body());
        let unsigned = SignableRequest::new(request.method().as_str(), uri, headers, body).map_err(refused)?;
        let (instructions, _) = sign(unsigned, &parameters).map_err(refused)?.into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }
}

/// The keys in `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`, as AWS Lambda sets them when it starts
/// a function, which ends before they run out; else those that ECS or EKS hand to a container.
pub fn credentials() -> SharedCredentialsProvider {
    let variable = |name: &'static str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(id), Some(key)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        let keys = Credentials::new(id, key, variable("AWS_SESSION_TOKEN"), None, ENVIRONMENT);
        return SharedCredentialsProvider::new(keys);
    }
    match ContainerCredentials::from_lookup(variable) {
        Some(container) => SharedCredentialsProvider::new(container),
        None => SharedCredentialsProvider::new(Nobody),
    }
}

/// Without keys.
#[derive(Debug)]
struct Nobody;

impl ProvideCredentials for Nobody {
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

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> SignError {
    SignError::Signing(Box::new(error))
}
