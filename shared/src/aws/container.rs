//! Keys from the endpoint that ECS and EKS Pod Identity give a container.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>

use std::time::Duration;

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError},
};
use http::{HeaderValue, Request, Uri, header};
use serde::Deserialize;

use super::http::send;

/// Where ECS answers.
const ECS: &str = "http://169.254.170.2";

/// How long the endpoint, which is on the same host, may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Asks each time: the endpoint keeps keys until shortly before they run out, and hardly anybody signs twice a minute.
#[derive(Debug)]
pub(super) struct ContainerCredentials {
    uri: Uri,
    token: Option<Token>,
}

/// What shows the endpoint who asks.
#[derive(Debug)]
enum Token {
    Text(String),
    /// A file that is rewritten from time to time.
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
    /// By the variables that the container's environment has; `None` where it has none of them.
    pub(super) fn from_lookup(variable: impl Fn(&'static str) -> Option<String>) -> Option<Self> {
        let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let uri = full.or_else(|| Some(format!("{ECS}{}", variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")?)))?;
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(Token::File);
        let token = file.or_else(|| variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Token::Text));
        Some(Self { uri: uri.parse().ok()?, token })
    }

    async fn ask(&self) -> Result<Credentials, CredentialsError> {
        let mut request = Request::get(&self.uri).body(Vec::new()).map_err(CredentialsError::invalid_configuration)?;
        let token = match &self.token {
            Some(Token::File(path)) => {
                Some(std::fs::read_to_string(path).map_err(CredentialsError::invalid_configuration)?)
            }
            Some(Token::Text(text)) => Some(text.clone()),
            None => None,
        };
        if let Some(token) = token {
            let mut token = HeaderValue::from_str(token.trim()).map_err(CredentialsError::invalid_configuration)?;
            token.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        let answer = tokio::time::timeout(LIMIT, send(request)).await;
        let answer = answer.map_err(|_| CredentialsError::provider_timed_out(LIMIT))?;
        let answer = answer.map_err(CredentialsError::provider_error)?;
        if !answer.status().is_success() {
            return Err(CredentialsError::provider_error(format!("the container's endpoint says {}", answer.status())));
        }
        let keys: Keys = serde_json::from_slice(answer.body()).map_err(CredentialsError::provider_error)?;
        Ok(Credentials::new(keys.access_key_id, keys.secret_access_key, keys.token, None, "container"))
    }
}

impl ProvideCredentials for ContainerCredentials {
    fn provide_credentials<'a>(&'a self) -> provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        provider::future::ProvideCredentials::new(self.ask())
    }
}
