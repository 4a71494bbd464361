//! Calls of AWS services that speak JSON.

use std::time::{Duration, SystemTime};

use backon::{ExponentialBuilder, Retryable as _};
use http::{Request, header};
use serde_json::Value;

use super::{
    http::send,
    identity::{Identity, Place, SignError},
};

/// How long one attempt may take.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(2_500);

/// A service of AWS.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    /// As in its host's name, and in signatures.
    pub(super) name: &'static str,
    /// The variable that may name another endpoint for it.
    pub(super) endpoint_variable: &'static str,
}

/// Makes calls.
pub(super) struct Api<'a> {
    identity: &'a Identity,
    service: Service,
    endpoint: String,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// Who the process is could not be shown.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// No answer.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// What was called.
        endpoint: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer that says no.
    #[error("{code}: {message}")]
    Refused {
        /// What kind of error, by AWS's name.
        code: String,
        /// What AWS says of it.
        message: String,
        /// Whether it is worth another try.
        is_transient: bool,
    },
}

impl<'a> Api<'a> {
    /// Nothing is connected before the first call.
    pub(super) fn new(
        identity: &'a Identity,
        service: Service,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Self {
        let endpoint = lookup(service.endpoint_variable).or_else(|| lookup("AWS_ENDPOINT_URL"));
        let endpoint = endpoint.unwrap_or_else(|| default_endpoint(service.name, identity.region()));
        Self { identity, service, endpoint }
    }

    /// Makes a call, again where the network or AWS has a bad moment.
    pub(super) async fn call(&self, target: &'static str, body: &Value) -> Result<Value, ApiError> {
        let patience = ExponentialBuilder::default().with_jitter().with_min_delay(Duration::from_millis(100));
        let is_worth_another = |error: &ApiError| match error {
            ApiError::Unreachable { .. } => true,
            ApiError::Refused { is_transient, .. } => *is_transient,
            ApiError::Sign(_) => false,
        };
        (|| self.attempt(target, body)).retry(patience.with_max_times(2)).when(is_worth_another).await
    }

    async fn attempt(&self, target: &'static str, body: &Value) -> Result<Value, ApiError> {
        let mut request = Request::post(&self.endpoint)
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(body.to_string().into_bytes())
            .map_err(|error| ApiError::unreachable(&self.endpoint, error))?;
        self.identity.sign(&mut request, self.service.name, Place::Headers, SystemTime::now()).await?;
        let answer = tokio::time::timeout(ATTEMPT_LIMIT, send(request)).await;
        let answer = answer.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let (parts, body) = answer.map_err(|error| ApiError::unreachable(&self.endpoint, error))?.into_parts();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        if parts.status.is_success() { Ok(body) } else { Err(ApiError::refused(parts.status, &body)) }
    }
}

impl ApiError {
    fn unreachable(endpoint: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable { endpoint: endpoint.to_owned(), source: source.into() }
    }

    /// `{"__type": "com.amazonaws.ssm#ThrottlingException", "message": "Rate exceeded"}`, with `Message` for some.
    fn refused(status: http::StatusCode, body: &Value) -> Self {
        let code = body["__type"].as_str().unwrap_or(status.as_str());
        let code = code.rsplit('#').next().unwrap_or_default().to_owned();
        let message = body["message"].as_str().or_else(|| body["Message"].as_str()).unwrap_or("no reason given");
        let is_throttled = ["Throttl", "TooManyRequests", "RequestLimit"].iter().any(|name| code.contains(name));
        Self::Refused { message: message.to_owned(), is_transient: status.is_server_error() || is_throttled, code }
    }
}

fn default_endpoint(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{domain}/")
}
