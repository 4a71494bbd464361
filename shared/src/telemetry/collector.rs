//! HTTP client of the OTLP receiver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use opentelemetry_http::{HttpClient, HttpError};
use rustls::ClientConfig;
use tokio::{runtime::Handle, time::timeout};

use crate::http_client::{connect, exchange, tls_for};

/// Sends the SDK's exports to the receiver. The SDK calls it in a thread of its own; the requests
/// run in the program's runtime.
#[derive(Debug)]
pub(super) struct Collector {
    runtime: Handle,
    /// `None` for a receiver without TLS.
    tls: Option<Arc<ClientConfig>>,
    headers: HeaderMap,
    export_timeout: Duration,
    is_failing: AtomicBool,
}

impl Collector {
    /// Creates a client of the receiver at `endpoint`, whose requests have `headers` and take
    /// `export_timeout` at most. It connects for each export: exports are seconds apart, and a
    /// function's freeze kills idle connections. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// If the endpoint needs root certificates and this machine has none.
    pub(super) fn new(
        endpoint: &Uri,
        headers: HeaderMap,
        export_timeout: Duration,
    ) -> std::io::Result<Self> {
        Ok(Self {
            runtime: Handle::current(),
            tls: tls_for(endpoint)?,
            headers,
            export_timeout,
            is_failing: AtomicBool::default(),
        })
    }

    /// Logs the first failed export and the recovery, not every attempt.
    fn record(&self, outcome: Result<(), &dyn std::fmt::Display>) {
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
        let tls = self.tls.clone();
        let send = async move { exchange(connect(request.uri(), tls).await?, request).await };
        let export_timeout = self.export_timeout;
        let sending = self
            .runtime
            .spawn(async move { timeout(export_timeout, send).await });
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
            Ok(response) if response.status().is_success() => self.record(Ok(())),
            Ok(response) => self.record(Err(&format!(
                "the receiver responded with {}",
                response.status()
            ))),
            Err(error) => self.record(Err(error)),
        }
        result
    }
}
