//! AWS signatures (SigV4) for APIs of API Gateway that authorize callers by IAM.

mod credentials;
mod reload;

use std::{fmt, sync::Arc, time::SystemTime};

use aws_config::{
    BehaviorVersion, ConfigLoader, Region, SdkConfig,
    environment::EnvironmentVariableRegionProvider, meta::region::RegionProviderChain,
    profile::ProfileFileRegionProvider,
};
use aws_credential_types::provider::{SharedCredentialsProvider, error::CredentialsError};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningError, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use bytes::Bytes;
use http::{Request, header};

use self::{
    credentials::CachedCredentials,
    reload::{ReloadingProvider, provider_of},
};
use crate::{Endpoint, InvalidEndpoint};

/// The service name in signatures for API Gateway, for all kinds of APIs.
const SERVICE: &str = "execute-api";

/// Signs requests to API Gateway with AWS credentials. Cheap to clone; clones share the
/// credentials.
///
/// [`Endpoint::with_signer`](crate::Endpoint::with_signer) signs all calls with it. Each attempt
/// has a signature of its own. Signatures contain this machine's time: AWS refuses them if it is
/// more than five minutes off.
///
/// Credentials that expire are fetched again five minutes before, while calls use the current ones.
/// Credentials without an expiry are fetched again every five minutes, and all credentials after a
/// call was refused with 403, at most every 30 s.
#[derive(Clone)]
pub struct AwsSigner {
    region: Option<String>,
    credentials: Arc<CachedCredentials>,
}

/// Why a request could not be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There are no credentials, or none that are valid now.
    #[error("there are no AWS credentials")]
    Credentials(#[from] Arc<CredentialsError>),
    /// The request cannot be signed.
    #[error("the request cannot be signed")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AwsSigner {
    /// A signer for `endpoint` with the credentials that the AWS CLI would use: from the
    /// environment, a profile (`AWS_PROFILE`, SSO included, but not the sessions of `aws login`), a
    /// web identity, a container, or a virtual machine. The files of profiles are read again when
    /// credentials are fetched again, so keys in them may be replaced. The first credentials are
    /// fetched at once.
    ///
    /// # Errors
    /// [`SignError::Credentials`] if there are none.
    pub async fn load(endpoint: &Endpoint) -> Result<Self, SignError> {
        Self::load_with(endpoint, |loader| loader).await
    }

    /// A signer like that of [`AwsSigner::load`], with changes to the configuration of the AWS SDK,
    /// such as another profile:
    ///
    /// ```no_run
    /// # use presence_client::{AwsSigner, Endpoint};
    /// # async fn sign(endpoint: Endpoint) -> Result<(), Box<dyn std::error::Error>> {
    /// let signer = AwsSigner::load_with(&endpoint, |loader| loader.profile_name("games")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`SignError::Credentials`] if there are no credentials.
    pub async fn load_with(
        endpoint: &Endpoint,
        configure: impl Fn(ConfigLoader) -> ConfigLoader + Send + Sync + 'static,
    ) -> Result<Self, SignError> {
        // The TLS library of the other calls, so that no second one is linked.
        let http_client = aws_smithy_http_client::Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https();
        let region = region_of(&endpoint.host()).map(|region| Region::new(region.to_owned()));
        let create_loader = move || {
            let loader =
                aws_config::defaults(BehaviorVersion::latest()).http_client(http_client.clone());
            configure(match &region {
                Some(region) => loader.region(configured_region().or_else(region.clone())),
                None => loader,
            })
        };
        let config = create_loader().load().await;
        let provider = ReloadingProvider::new(&config, Box::new(create_loader));
        Self::with_provider(&config, SharedCredentialsProvider::new(provider)).await
    }

    /// A signer with the credentials and the region of a configuration of the AWS SDK. The
    /// configuration has read the files of profiles, and does not read them again: use
    /// [`AwsSigner::load_with`] if keys in them may be replaced. The first credentials are fetched
    /// at once.
    ///
    /// # Errors
    /// [`SignError::Credentials`] if there are none.
    pub async fn from_config(config: &SdkConfig) -> Result<Self, SignError> {
        let provider = provider_of(config).map_err(Arc::new)?;
        Self::with_provider(config, provider).await
    }

    async fn with_provider(
        config: &SdkConfig,
        provider: SharedCredentialsProvider,
    ) -> Result<Self, SignError> {
        let region = config.region().map(ToString::to_string);
        let signer = Self {
            region,
            credentials: Arc::new(CachedCredentials::new(provider)),
        };
        signer.credentials.get(SystemTime::now()).await?;
        Ok(signer)
    }

    /// A signer with the credentials of `provider`, for APIs in `region`.
    pub fn new(region: &str, provider: SharedCredentialsProvider) -> Self {
        Self {
            region: Some(region.to_owned()),
            credentials: Arc::new(CachedCredentials::new(provider)),
        }
    }

    /// This signer for the API at `host`: the region in the host name takes precedence.
    pub(crate) fn for_host(mut self, host: &str) -> Result<Self, InvalidEndpoint> {
        self.region = region_of(host).map(str::to_owned).or(self.region);
        if self.region.is_some() {
            Ok(self)
        } else {
            Err(InvalidEndpoint::Region)
        }
    }

    /// Adds the headers of a signature made at the time `at`.
    pub(crate) async fn sign<B>(
        &self,
        request: &mut Request<B>,
        body: &Bytes,
        at: SystemTime,
    ) -> Result<(), SignError> {
        let identity = self.credentials.get(at).await?.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region.as_deref().unwrap_or_default())
            .name(SERVICE)
            .time(at)
            .settings(SigningSettings::default())
            .build()
            .map_err(SignError::request)?
            .into();
        let signable = signable(request, body).map_err(SignError::request)?;
        let signed = sign(signable, &parameters).map_err(SignError::request)?;
        let (instructions, _) = signed.into_parts();
        instructions.apply_to_request_http1x(request);
        // The library marks only the session token as sensitive.
        request
            .headers_mut()
            .get_mut(header::AUTHORIZATION)
            .into_iter()
            .for_each(|value| value.set_sensitive(true));
        Ok(())
    }

    /// Reports that a request that was signed at `signed_at` was refused.
    pub(crate) fn report_refusal(&self, signed_at: SystemTime) {
        self.credentials.report_refusal(signed_at);
    }
}

/// What a signature covers beside what the library adds (host, time, session token): the method,
/// the URL, the body and the content type. Proxies may change other headers.
fn signable<'a, B>(
    request: &'a Request<B>,
    body: &'a Bytes,
) -> Result<SignableRequest<'a>, SigningError> {
    let header_value = request.headers().get(header::CONTENT_TYPE);
    let content_type = header_value.and_then(|value| value.to_str().ok());
    let headers = content_type.map(|value| (header::CONTENT_TYPE.as_str(), value));
    SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers.into_iter(),
        SignableBody::Bytes(body),
    )
}

/// The region only: a provider may show its secrets.
impl fmt::Debug for AwsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSigner")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl SignError {
    fn request(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Request(Box::new(error))
    }
}

/// The region of the environment or the profile. No other place is asked, such as the metadata
/// service of a virtual machine, which on other machines is a wait for nothing.
fn configured_region() -> RegionProviderChain {
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
}

/// The region in the host name of an API, `ID.execute-api.REGION.amazonaws.com`, or of the VPC
/// endpoint of private APIs, `vpce-ID.execute-api.REGION.vpce.amazonaws.com`. A custom domain has
/// none.
fn region_of(host: &str) -> Option<&str> {
    let name = host
        .strip_suffix(".cn")
        .unwrap_or(host)
        .strip_suffix(".amazonaws.com")?;
    let (_, after_service) = name.split_once(".execute-api.")?;
    after_service.split('.').next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_credential_types::{
        Credentials,
        provider::{ProvideCredentials, future},
    };

    use super::*;

    const ID: &str = "AKIDEXAMPLE";
    const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    fn keys(session: Option<&str>, expiry: Option<SystemTime>) -> Credentials {
        Credentials::new(ID, KEY, session.map(str::to_owned), expiry, "test")
    }

    fn moment() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_323_045) // 2026-01-02T03:04:05Z
    }

    /// The expected signatures are from AWS's Python library, botocore.
    #[tokio::test]
    async fn a_signature_equals_the_one_of_another_library_of_aws() {
        const URL: &str = "https://a1b2c3.execute-api.eu-central-1.amazonaws.com";
        for (method, target, body, session, signed, expected) in [
            (
                "GET",
                "/presence/alice",
                "",
                None,
                "host;x-amz-date",
                "6a225e5f2e3f449cc260d919ac35bb146176b52ed6335d7ff7db946ced9315b9",
            ),
            (
                "GET",
                "/prod/presence/steam%7C1%3Aa%40b-._C?history=true",
                "",
                Some("FwoGZXIvYXdzEXAMPLE/token+="),
                "host;x-amz-date;x-amz-security-token",
                "a6d45dc417b4ca474029e1ef5d470aa9fbd9d5d752f551aeccc4ab9cc698b82e",
            ),
            (
                "POST",
                "/presence/state",
                r#"{"player_id":"alice","state":"IN_MATCH"}"#,
                None,
                "content-type;host;x-amz-date",
                "3386d1dd91a8d9ccb9a9f8e12d461821283ae17c62882e5565ab1fe6d200d0a8",
            ),
        ] {
            let body = Bytes::from_static(body.as_bytes());
            let mut request = Request::builder()
                .method(method)
                .uri(format!("{URL}{target}"))
                .body(())
                .unwrap();
            if !body.is_empty() {
                request
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
            }
            let signer = AwsSigner::new(
                "eu-central-1",
                SharedCredentialsProvider::new(keys(session, None)),
            );
            signer.sign(&mut request, &body, moment()).await.unwrap();
            assert_eq!(
                request.headers()["authorization"],
                format!(
                    "AWS4-HMAC-SHA256 Credential={ID}/20260102/eu-central-1/execute-api/aws4_request, \
                     SignedHeaders={signed}, Signature={expected}"
                ),
                "{method} {target}"
            );
            assert_eq!(request.headers()["x-amz-date"], "20260102T030405Z");
            let token = request
                .headers()
                .get("x-amz-security-token")
                .map(|token| token.to_str().unwrap());
            assert_eq!(token, session);
        }
    }

    #[test]
    fn the_region_is_that_of_the_host_name_else_that_of_the_configuration() {
        let create_signer = || {
            AwsSigner::new(
                "us-east-1",
                SharedCredentialsProvider::new(keys(None, None)),
            )
        };
        for (host, expected) in [
            ("a1b2c3.execute-api.eu-west-1.amazonaws.com", "eu-west-1"),
            (
                "a1b2c3.execute-api.cn-north-1.amazonaws.com.cn",
                "cn-north-1",
            ),
            (
                "vpce-0a1b-2c3d.execute-api.eu-north-1.vpce.amazonaws.com",
                "eu-north-1",
            ),
            ("presence.example.com", "us-east-1"),
            ("a1b2c3.execute-api.example.com", "us-east-1"),
            ("127.0.0.1", "us-east-1"),
        ] {
            assert_eq!(
                create_signer().for_host(host).unwrap().region.as_deref(),
                Some(expected),
                "{host}"
            );
        }
        let without_region = AwsSigner {
            region: None,
            ..create_signer()
        };
        assert!(matches!(
            without_region.for_host("presence.example.com"),
            Err(InvalidEndpoint::Region)
        ));
    }

    /// A provider of keys that its `Debug` shows.
    #[derive(Debug)]
    struct Careless(&'static str);

    impl ProvideCredentials for Careless {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Ok(Credentials::new(
                ID,
                self.0,
                Some("session".into()),
                None,
                "test",
            )))
        }
    }

    #[tokio::test]
    async fn keys_and_signatures_are_never_shown() {
        let signer = AwsSigner::new(
            "eu-central-1",
            SharedCredentialsProvider::new(Careless(KEY)),
        );
        let mut request = Request::builder()
            .uri("https://presence.example.com/presence/alice")
            .body(())
            .unwrap();
        signer
            .sign(&mut request, &Bytes::new(), moment())
            .await
            .unwrap();
        let endpoint = Endpoint::parse("https://presence.example.com")
            .unwrap()
            .with_signer(signer)
            .unwrap();
        let shown = format!("{endpoint:?} {request:?}");
        for secret in [KEY, "Signature=", "session"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
