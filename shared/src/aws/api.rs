//! Client for the JSON APIs of AWS services.

use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::SigningSettings;
use backon::{ExponentialBuilder, Retryable as _};
use http::{Request, header};
use serde_json::Value;

use super::signer::{RequestSigner, SignError};
use crate::http_client::send;

/// Time limit of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// A client of one AWS service.
pub(super) struct Api<'a> {
    signer: &'a RequestSigner,
    /// The service's name, as it appears in its host name and in signatures.
    service: &'static str,
    endpoint: String,
}

/// Error of an API call.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The request could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The endpoint did not respond.
    #[error("{endpoint} cannot be reached")]
    Unreachable {
        /// The URL that was called.
        endpoint: String,
        /// The error of the connection.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// AWS responded with an error.
    #[error("{code}: {message}")]
    Refused {
        /// AWS's error code, such as `ThrottlingException`.
        code: String,
        /// AWS's error message.
        message: String,
        /// Whether a retry may succeed.
        is_transient: bool,
    },
}

impl<'a> Api<'a> {
    /// Prepares a client of the service at `endpoint`, or else at AWS's own. It connects with the
    /// first call.
    pub(super) fn new(
        signer: &'a RequestSigner,
        service: &'static str,
        endpoint: Option<String>,
    ) -> Self {
        Self {
            signer,
            service,
            endpoint: endpoint.unwrap_or_else(|| default_endpoint(service, signer.region())),
        }
    }

    /// Calls the API, retrying network errors, 5xx and throttling.
    pub(super) async fn call(&self, target: &'static str, body: &Value) -> Result<Value, ApiError> {
        let backoff = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(100));
        let is_transient = |error: &ApiError| match error {
            ApiError::Unreachable { .. } => true,
            ApiError::Refused { is_transient, .. } => *is_transient,
            ApiError::Sign(_) => false,
        };
        (|| self.attempt(target, body))
            .retry(backoff.with_max_times(2))
            .when(is_transient)
            .await
    }

    async fn attempt(&self, target: &'static str, body: &Value) -> Result<Value, ApiError> {
        let mut request = Request::post(&self.endpoint)
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", target)
            .body(body.to_string().into_bytes())
            .map_err(|error| ApiError::unreachable(&self.endpoint, error))?;
        let settings = SigningSettings::default();
        self.signer
            .sign(&mut request, self.service, settings, SystemTime::now())
            .await?;
        let timed = tokio::time::timeout(ATTEMPT_TIMEOUT, send(request)).await;
        // A timeout counts as an unreachable endpoint.
        let sent = timed.unwrap_or_else(|elapsed| Err(elapsed.into()));
        let (parts, body) = sent
            .map_err(|error| ApiError::unreachable(&self.endpoint, error))?
            .into_parts();
        // An error response of a proxy may not be JSON; its status is enough.
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        if parts.status.is_success() {
            Ok(json)
        } else {
            Err(ApiError::refused(parts.status, &json))
        }
    }
}

impl ApiError {
    fn unreachable(
        endpoint: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unreachable {
            endpoint: endpoint.to_owned(),
            source: source.into(),
        }
    }

    /// Parses an error body: `{"__type": "com.amazonaws.ssm#ThrottlingException", "message": "Rate
    /// exceeded"}`. Some services write `Message`.
    fn refused(status: http::StatusCode, body: &Value) -> Self {
        let kind = body["__type"].as_str().unwrap_or(status.as_str());
        // The part before the `#` is a namespace.
        let code = kind.rsplit('#').next().unwrap_or_default().to_owned();
        let message = body["message"]
            .as_str()
            .or_else(|| body["Message"].as_str())
            .unwrap_or("no reason given");
        let is_throttled = ["Throttl", "TooManyRequests", "RequestLimit"]
            .iter()
            .any(|name| code.contains(name));
        Self::Refused {
            message: message.to_owned(),
            is_transient: status.is_server_error() || is_throttled,
            code,
        }
    }
}

fn default_endpoint(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://{service}.{region}.{domain}/")
}
