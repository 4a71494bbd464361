//! HTTP client of the OTLP receiver.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{runtime::Handle, time::timeout};

/// The longest response body that is read. A receiver responds with a few bytes.
const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// Sends the SDK's exports to the receiver. The SDK calls it in a thread of its own; the requests
/// run in the program's runtime.
#[derive(Debug)]
pub(super) struct Collector {
    runtime: Handle,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
    export_timeout: Duration,
    is_failing: AtomicBool,
}

impl Collector {
    /// Creates a client whose requests have `headers` and take `export_timeout` at most. It
    /// connects with the first export. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If `is_encrypted` and this machine has no root certificates.
    pub(super) fn new(
        is_encrypted: bool,
        headers: HeaderMap,
        export_timeout: Duration,
    ) -> std::io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(is_encrypted)?);
        let connector = https.https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self {
            runtime: Handle::current(),
            // No idle connections: a function's freeze kills them, and exports are seconds apart.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
            headers,
            export_timeout,
            is_failing: AtomicBool::default(),
        })
    }

    /// Logs the first failed export and the recovery, not every attempt.
    fn note(&self, outcome: Result<(), &dyn std::fmt::Display>) {
        match outcome {
            Err(error) if !self.is_failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, "spans not exported; traces have gaps");
            }
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("spans are exported again")
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // Replaces the headers that the SDK read from the process's environment. `extend` keeps
        // several values per name.
        request.headers_mut().extend(self.headers.clone());
        let client = self.client.clone();
        let export_timeout = self.export_timeout;
        let sending = self
            .runtime
            .spawn(async move { timeout(export_timeout, send(client, request)).await });
        let result = match sending.await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(format!(
                "the receiver did not respond within {:?}",
                self.export_timeout
            )
            .into()),
            Err(error) => Err(error.into()),
        };
        match &result {
            Ok(response) if response.status().is_success() => self.note(Ok(())),
            Ok(response) => self.note(Err(&format!(
                "the receiver responded with {}",
                response.status()
            ))),
            Err(error) => self.note(Err(error)),
        }
        result
    }
}

async fn send(
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = client.request(request.map(Full::new)).await?.into_parts();
    Ok(Response::from_parts(
        parts,
        Limited::new(body, MAX_RESPONSE_BYTES)
            .collect()
            .await?
            .to_bytes(),
    ))
}

/// Builds the TLS configuration. Root certificates are loaded only if they are needed: the smallest
/// containers have none.
fn tls(is_encrypted: bool) -> std::io::Result<ClientConfig> {
    let versions = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let roots = match is_encrypted {
        true => versions.with_native_roots()?,
        false => versions.with_root_certificates(RootCertStore::empty()),
    };
    Ok(roots.with_no_client_auth())
}
