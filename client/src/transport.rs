//! HTTP: one call at a time, each within its limit, over connections that are kept.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::{Serialize, de::DeserializeOwned};

use crate::{CallError, Endpoint, InvalidEndpoint, Problem};

/// Connections that were not used for so long are closed: before the usual load balancer does, after 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(45);

/// The longest answer, in bytes: 2,000 entries with the longest ids, and something to spare.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// A body, as it comes.
pub(crate) type Stream = UnsyncBoxBody<Bytes, BrokenBody>;

/// A body that does not arrive whole. A type of its own, and no box, for the compiler to see that calls are `Send`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BrokenBody(BoxError);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the calls.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Endpoint,
}

impl Transport {
    /// Nothing is connected before the first call.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, InvalidEndpoint> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(endpoint.connect_timeout));
        let https = HttpsConnectorBuilder::new().with_tls_config(tls(endpoint.is_encrypted)?);
        let connector = https.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self { client, endpoint })
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, CallError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, CallError> {
        let body = serde_json::to_vec(body).unwrap_or_default(); // never fails for structs of texts and numbers
        self.call(Method::POST, path, body.into()).await
    }

    /// What is there, whatever its status.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Response<Bytes>, CallError> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// A body that goes on for as long as the service likes. The time limit is for its beginning.
    pub(crate) async fn open(&self, path: &str) -> Result<Stream, CallError> {
        let response = self.within_limit(self.begin(Method::GET, path, Bytes::new())).await?;
        if !response.status().is_success() {
            return Err(Problem::from_answer(&self.within_limit(whole(response)).await?).into());
        }
        Ok(response.into_body())
    }

    async fn call<A: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<A, CallError> {
        let answer = self.exchange(method, path, body).await?;
        if !answer.status().is_success() {
            return Err(Problem::from_answer(&answer).into());
        }
        serde_json::from_slice(answer.body()).map_err(CallError::Garbled)
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Bytes>, CallError> {
        self.within_limit(async { whole(self.begin(method, path, body).await?).await }).await
    }

    async fn within_limit<T>(&self, part: impl Future<Output = Result<T, BoxError>>) -> Result<T, CallError> {
        let part = tokio::time::timeout(self.endpoint.request_timeout, part).await;
        part.map_err(|_| CallError::TimedOut)?.map_err(CallError::Unreachable)
    }

    async fn begin(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Stream>, BoxError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.endpoint.base));
        if let Some(authorization) = &self.endpoint.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let response = self.client.request(request.body(Full::new(body))?).await?;
        Ok(response.map(|body| body.map_err(|error| BrokenBody(error.into())).boxed_unsync()))
    }
}

async fn whole(response: Response<Stream>) -> Result<Response<Bytes>, BoxError> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, Limited::new(body, MAX_ANSWER).collect().await?.to_bytes()))
}

/// Root certificates are read only where they are needed: the smallest containers have none.
fn tls(is_encrypted: bool) -> Result<ClientConfig, InvalidEndpoint> {
    let versions = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(|error| InvalidEndpoint::RootCertificates(std::io::Error::other(error)))?;
    let roots = if is_encrypted {
        versions.with_native_roots().map_err(InvalidEndpoint::RootCertificates)?
    } else {
        versions.with_root_certificates(RootCertStore::empty())
    };
    Ok(roots.with_no_client_auth())
}
