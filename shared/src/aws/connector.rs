//! HTTP connector of the AWS SDK's credential providers.
//!
//! The SDK's own connector would link a second HTTP client, with HTTP/2 and connection pools, into
//! every function. Credentials take one or two small requests per hour.

use std::time::Duration;

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        connection::{CaptureSmithyConnection, ConnectionMetadata},
        http::{
            HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector, http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::http_client::{connect, exchange, tls_for};

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
    // The SDK logs an error if it has no connection to close after a response with status 503.
    if let Some(capture) = request.extension::<CaptureSmithyConnection>() {
        capture.set_connection_retriever(|| Some(closed_connection()));
    }
    let (parts, body) = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?
        .into_parts();
    // Read to its end, though it is in memory: the SDK counts the bytes that were read, and ends
    // a call of which it has counted no byte for some seconds.
    let bytes = body.collect().await.map_err(ConnectorError::user)?;
    let buffered = http::Request::from_parts(parts, bytes.to_bytes().to_vec());
    let tls = tls_for(buffered.uri()).map_err(|error| ConnectorError::io(error.into()))?;
    let stream = within(settings.connect_timeout(), connect(buffered.uri(), tls)).await?;
    let response = within(settings.read_timeout(), exchange(stream, buffered)).await?;
    HttpResponse::try_from(response.map(SdkBody::from))
        .map_err(|error| ConnectorError::other(error.into(), None))
}

/// Describes the connection of a call to the SDK. No other call uses it, so the SDK has nothing to
/// close.
fn closed_connection() -> ConnectionMetadata {
    ConnectionMetadata::builder()
        .proxied(false)
        .poison_fn(|| {})
        .build()
}

/// Runs a step of a call within the provider's time limit, if it has one. Without it, the lookup
/// of credentials as a whole is limited. The SDK retries a step that failed or took too long.
async fn within<T>(
    step_timeout: Option<Duration>,
    step: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, ConnectorError> {
    let Some(step_timeout) = step_timeout else {
        return step.await.map_err(ConnectorError::io);
    };
    match timeout(step_timeout, step).await {
        Ok(outcome) => outcome.map_err(ConnectorError::io),
        Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    const FORM: &str = "Action=AssumeRoleWithWebIdentity";

    /// Receives one request with `FORM` as its body, and responds with status 200.
    async fn receive_form(listener: TcpListener) {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(FORM.as_bytes()) {
            assert_ne!(client.read_buf(&mut received).await.unwrap(), 0);
        }
        let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        client.write_all(response).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_that_the_sdk_wraps_is_read_through_its_wrapper() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(receive_form(listener));
        let is_read = Arc::<AtomicBool>::default();
        let flag = Arc::clone(&is_read);
        // As the SDK does to measure throughput.
        let body = SdkBody::from(FORM).map_preserve_contents(move |body| {
            let flag = Arc::clone(&flag);
            SdkBody::from_body_1_x(body.map_frame(move |frame| {
                flag.store(true, Ordering::Relaxed);
                frame
            }))
        });
        let mut request = HttpRequest::new(body);
        request.set_method("POST").unwrap();
        request.set_uri(url).unwrap();

        let settings = HttpConnectorSettings::builder().build();
        let response = call(request, settings).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert!(is_read.load(Ordering::Relaxed));
        server.await.unwrap();
    }
}
