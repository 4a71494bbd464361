//! HTTP connector of the AWS SDK's credential providers.
//!
//! The SDK's own connector would link a second HTTP client, with HTTP/2 and connection pools, into
//! every function. Credentials take one or two small requests per hour.

use std::time::Duration;

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{
            HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector, http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_smithy_types::body::SdkBody;
use tokio::time::timeout;

use super::http::{connect, exchange};

/// Sends requests with the HTTP client of the other AWS calls.
#[derive(Debug)]
struct Connector(HttpConnectorSettings);

/// Creates the HTTP client for credential providers.
pub(super) fn http_client() -> SharedHttpClient {
    http_client_fn(|settings, _| SharedHttpConnector::new(Connector(settings.clone())))
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(call(request, self.0.clone()))
    }
}

async fn call(
    request: HttpRequest,
    settings: HttpConnectorSettings,
) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let (parts, body) = request.into_parts();
    let bytes = body
        .bytes()
        .ok_or_else(|| ConnectorError::user("the request's body is a stream".into()))?;
    let request = http::Request::from_parts(parts, bytes.to_vec());
    let stream = limit(settings.connect_timeout(), connect(request.uri())).await?;
    let response = limit(settings.read_timeout(), exchange(stream, request)).await?;
    HttpResponse::try_from(response.map(SdkBody::from))
        .map_err(|error| ConnectorError::other(error.into(), None))
}

/// Runs a step of a call within the provider's time limit, if it has one. Without it, the lookup
/// of credentials as a whole is limited. The SDK retries a step that failed or took too long.
async fn limit<T>(
    time: Option<Duration>,
    step: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, ConnectorError> {
    let Some(time) = time else {
        return step.await.map_err(ConnectorError::io);
    };
    match timeout(time, step).await {
        Ok(outcome) => outcome.map_err(ConnectorError::io),
        Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
    }
}
