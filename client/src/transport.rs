//! HTTP calls with a time limit.

use std::sync::{Arc, PoisonError, RwLock};
#[cfg(feature = "sigv4")]
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

#[cfg(feature = "sigv4")]
use crate::SignError;
use crate::{CallError, Endpoint, InvalidEndpoint, PlayerId, Problem, pool::Pool};

/// The longest response, in bytes: 2,000 entries with the longest ids fit.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;

/// A body, as it comes.
pub(crate) type Stream = UnsyncBoxBody<Bytes, BrokenBody>;

/// A WebSocket to the service.
pub(crate) type WebSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A body that does not arrive whole. A type of its own, and no box, for the compiler to see that
/// calls are `Send`.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BrokenBody(BoxError);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the calls. Clones share their connections and their token.
#[derive(Debug, Clone)]
pub(crate) struct Transport {
    pool: Arc<Pool>,
    authorization: Arc<RwLock<Option<HeaderValue>>>,
    endpoint: Endpoint,
}

impl Transport {
    /// Prepares the calls; nothing is connected before the first one.
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, InvalidEndpoint> {
        let pool = Arc::new(Pool::new(&endpoint)?);
        let authorization = Arc::new(RwLock::new(endpoint.authorization.clone()));
        Ok(Self {
            pool,
            authorization,
            endpoint,
        })
    }

    /// Sends this bearer token with every call from now on.
    pub(crate) fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        let authorization = self.endpoint.bearer(token)?;
        *self
            .authorization
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(authorization);
        Ok(())
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, CallError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, CallError> {
        let body = serde_json::to_vec(body).unwrap_or_default(); // never fails for structs of texts and numbers
        self.call(Method::POST, path, body.into()).await
    }

    /// Makes a GET, and returns the response with any status.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Response<Bytes>, CallError> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    /// Opens a streaming response. The time limit covers its head only.
    pub(crate) async fn open(&self, path: &str) -> Result<Stream, CallError> {
        let response = self
            .within_limit(self.begin(Method::GET, path, Bytes::new()))
            .await?;
        if !response.status().is_success() {
            return Err(Problem::from_response(&self.within_limit(whole(response)).await?).into());
        }
        Ok(response.into_body())
    }

    /// Opens a WebSocket (RFC 6455, section 4.1). The time limit is for the handshake.
    pub(crate) async fn open_web_socket(&self, path: &str) -> Result<WebSocket, CallError> {
        let key = generate_key();
        let request = self
            .request(Method::GET, path)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        let response = self.within_limit(self.send(request, Bytes::new())).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Problem::from_response(&self.within_limit(whole(response)).await?).into());
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept
            .is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes())
        {
            return Err(CallError::Unreachable(
                "the response to the WebSocket handshake has a wrong key".into(),
            ));
        }
        let socket = self
            .within_limit(async { Ok(hyper::upgrade::on(response).await?) })
            .await?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_RESPONSE_BYTES))
            .max_frame_size(Some(MAX_RESPONSE_BYTES));
        Ok(
            WebSocketStream::from_raw_socket(TokioIo::new(socket), Role::Client, Some(config))
                .await,
        )
    }

    async fn call<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, CallError> {
        let response = self.exchange(method, path, body).await?;
        if !response.status().is_success() {
            return Err(Problem::from_response(&response).into());
        }
        serde_json::from_slice(response.body()).map_err(CallError::Garbled)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, CallError> {
        self.within_limit(async { whole(self.begin(method, path, body).await?).await })
            .await
    }

    async fn within_limit<T>(
        &self,
        part: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, CallError> {
        let part = tokio::time::timeout(self.endpoint.request_timeout, part).await;
        part.map_err(|_| CallError::TimedOut)?.map_err(failure)
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Stream>, BoxError> {
        let mut request = self.request(method, path);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.send(request, body).await
    }

    /// A request with address and token.
    fn request(&self, method: Method, path: &str) -> request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint.base));
        match self.authorization() {
            Some(authorization) => request.header(header::AUTHORIZATION, authorization),
            None => request,
        }
    }

    async fn send(
        &self,
        request: request::Builder,
        body: Bytes,
    ) -> Result<Response<Stream>, BoxError> {
        #[cfg_attr(
            not(feature = "sigv4"),
            expect(unused_mut, reason = "only a signature changes it")
        )]
        let mut request = request.body(Full::new(body.clone()))?;
        #[cfg(feature = "sigv4")]
        let signed_at = self.sign(&mut request, &body).await?;
        let response = self.pool.client().request(request).await?;
        #[cfg(feature = "sigv4")]
        if response.status() == StatusCode::FORBIDDEN {
            self.endpoint
                .signer
                .iter()
                .for_each(|signer| signer.report_refusal(signed_at));
        }
        Ok(response.map(|body| {
            body.map_err(|error| BrokenBody(error.into()))
                .boxed_unsync()
        }))
    }

    /// Signs a request, if requests are signed. Returns the time at which it has its credentials.
    #[cfg(feature = "sigv4")]
    async fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
        body: &Bytes,
    ) -> Result<SystemTime, SignError> {
        if let Some(signer) = &self.endpoint.signer {
            signer.sign(request, body, SystemTime::now()).await?;
        }
        Ok(SystemTime::now())
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The error of a call without a response.
fn failure(error: BoxError) -> CallError {
    #[cfg(feature = "sigv4")]
    if error.is::<SignError>() {
        return CallError::NotSigned(error);
    }
    CallError::Unreachable(error)
}

async fn whole(response: Response<Stream>) -> Result<Response<Bytes>, BoxError> {
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(
        parts,
        Limited::new(body, MAX_RESPONSE_BYTES)
            .collect()
            .await?
            .to_bytes(),
    ))
}

/// Encodes an id as a segment of a path: `|` is the only character of ids that has to be escaped.
pub(crate) fn path_segment(player: &PlayerId) -> String {
    player.as_str().replace('|', "%7C")
}
