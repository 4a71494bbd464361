//! Credentials from the container endpoint of ECS and EKS Pod Identity.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>

use std::time::Duration;

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError},
};
use http::{HeaderValue, Request, Uri, header};
use serde::Deserialize;

use super::http::send;

/// The address of the ECS endpoint.
const ECS: &str = "http://169.254.170.2";

/// Time limit of a request to the endpoint, which is on the same host.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// A credentials provider that asks the container endpoint each time. It caches nothing: the endpoint itself caches
/// keys until shortly before they expire, and signatures are needed less than twice a minute.
#[derive(Debug)]
pub(super) struct ContainerCredentials {
    uri: Uri,
    token: Option<Token>,
}

/// The authorization token that the endpoint expects.
#[derive(Debug)]
enum Token {
    /// The token itself.
    Text(String),
    /// The path of a file that holds the token. It is rewritten from time to time.
    File(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
}

impl ContainerCredentials {
    /// Reads the container's environment variables. `None` if they name no endpoint.
    pub(super) fn from_lookup(variable: impl Fn(&'static str) -> Option<String>) -> Option<Self> {
        let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        // ECS sets a path on its fixed address, EKS a complete URL.
        let uri = full.or_else(|| Some(format!("{ECS}{}", variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?)))?;
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(Token::File);
        let token = file.or_else(|| variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Token::Text));
        Some(Self { uri: uri.parse().ok()?, token })
    }

    async fn fetch(&self) -> Result<Credentials, CredentialsError> {
        let mut request = Request::get(&self.uri).body(Vec::new()).map_err(CredentialsError::invalid_configuration)?;
        let token = match &self.token {
            Some(Token::File(path)) => {
                Some(std::fs::read_to_string(path).map_err(CredentialsError::invalid_configuration)?)
            }
            Some(Token::Text(text)) => Some(text.clone()),
            None => None,
        };
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(token.trim()).map_err(CredentialsError::invalid_configuration)?;
            value.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, send(request)).await;
        let received = sent.map_err(|_| CredentialsError::provider_timed_out(REQUEST_TIMEOUT))?;
        let response = received.map_err(CredentialsError::provider_error)?;
        if !response.status().is_success() {
            let error = format!("the container endpoint responded with {}", response.status());
            return Err(CredentialsError::provider_error(error));
        }
        let keys: Keys = serde_json::from_slice(response.body()).map_err(CredentialsError::provider_error)?;
        Ok(Credentials::new(keys.access_key_id, keys.secret_access_key, keys.token, None, "container"))
    }
}

impl ProvideCredentials for ContainerCredentials {
    fn provide_credentials<'a>(&'a self) -> provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        provider::future::ProvideCredentials::new(self.fetch())
    }
}
