//! Connections: HTTP/1.1 on a socket, bounded in time and in memory.
//!
//! - `registry`: all connections, their number and their time limits.
//! - `state`: the phase of a connection, and the orders to it.
//! - `stream`: a client's socket, wrapped for hyper, whose own error responses get a body.
//! - `upgrade`: the switch to another protocol.

mod registry;
mod state;
mod stream;
mod upgrade;

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::HttpBody as _,
    http::{HeaderValue, header},
    response::Response,
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{HttpService, Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use presence::http::Problem;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

pub(crate) use registry::Connections;
pub(crate) use state::ConnectionState;
use state::Ending;
use stream::ClientStream;
pub(crate) use upgrade::Upgrade;

use crate::{
    call::respond,
    refusals::{Refusals, Refused},
};

/// The longest head of a request, and the most bytes of a body that are read at a time. It bounds
/// the memory per connection.
const MAX_HEADERS_BYTES: usize = 16 * 1024;

/// The most bytes that are read from a client after its last response. Closing a socket with unread
/// bytes resets it, and the client may not see the response.
const MAX_UNREAD_BYTES: u64 = 1024 * 1024;

/// Time limit for reading the rest that a client sends after its last response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// The prefix of the paths that reserved connections serve.
const PROBES: &str = "/health/";

/// The shutdown flag, shared by all components of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle {
    is_closing: Arc<AtomicBool>,
}

/// The context that all connections share.
#[derive(Clone)]
pub(crate) struct ConnectionContext {
    http: http1::Builder,
    lifecycle: Lifecycle,
    refusals: Arc<Refusals>,
}

impl Lifecycle {
    /// Marks the server as about to end: responses say `Connection: close`, and it is not ready.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to end.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }
}

impl ConnectionContext {
    pub(crate) fn new(lifecycle: Lifecycle) -> Self {
        let mut http = http1::Builder::new();
        // The registry enforces all time limits, without a timer per request.
        http.max_buf_size(MAX_HEADERS_BYTES)
            .header_read_timeout(None);
        http.writev(false); // most responses are short: copying one costs less than a vectored write
        Self {
            http,
            lifecycle,
            refusals: Arc::default(),
        }
    }

    /// Serves a connection until its end.
    pub(crate) async fn serve(
        self,
        socket: TcpStream,
        state: Arc<ConnectionState>,
        routes: Router,
    ) {
        // Buffers and the rest of this task are allocated when the first bytes arrive, so that a
        // silent connection costs little more than its socket.
        if until_readable(&socket, &state).await {
            Box::pin(self.serve_requests(socket, state, routes)).await;
        }
    }

    async fn serve_requests(self, socket: TcpStream, state: Arc<ConnectionState>, routes: Router) {
        let stream = TokioIo::new(ClientStream::new(socket, Arc::clone(&state)));
        let routes = TowerToHyperService::new(routes);
        let upgrade = OnceLock::new();
        let service = service_fn(|request| {
            state.requested();
            self.respond(&state, &routes, request, &upgrade)
        });
        let mut connection = self.http.serve_connection(stream, service);
        let ended = until_ended(&mut connection, &state).await;
        let parts = connection.into_parts();
        let (socket, has_refused) = parts.io.into_inner().into_socket();
        match ended {
            Ok(Ending::Close) => {
                if let Some(upgrade) = upgrade.get() {
                    upgrade.run(socket, parts.read_buf).await;
                }
            }
            Ok(Ending::HeadTimeout) => refuse(socket, Problem::head_timed_out()).await,
            // Drops what the kernel still holds for a client that does not read.
            Ok(Ending::Abort) => _ = socket.set_zero_linger(),
            Err(error) => {
                tracing::debug!(%error, "connection ended");
                match error.is_parse() {
                    true if has_refused => linger(socket).await,
                    true => refuse(socket, Problem::malformed()).await, // hyper does not respond to HTTP/2's preface
                    false => {}
                }
            }
        }
    }

    /// Responds to one request.
    async fn respond(
        &self,
        state: &ConnectionState,
        routes: &TowerToHyperService<Router>,
        request: Request<Incoming>,
        upgrade: &OnceLock<Upgrade>,
    ) -> Result<Response, Infallible> {
        // No further request is handled while the client does not read its responses.
        state.until_unblocked().await;
        let mut response = match state.is_reserved && !request.uri().path().starts_with(PROBES) {
            false => routes.call(request).await?,
            true => respond(Err(Problem::overloaded())),
        };
        if let Some(refused) = response.extensions().get::<Refused>() {
            self.refusals.log(state.peer, *refused);
        }
        if let Some(protocol) = response.extensions_mut().remove() {
            // hyper ends its connection after this response, and leaves the socket open.
            let _ = upgrade.set(protocol);
            state.responded(false);
            return Ok(response);
        }
        let has_length = response.body().size_hint().exact().is_some();
        if !has_length || state.is_reserved || self.lifecycle.is_closing() {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        state.responded(has_length);
        Ok(response)
    }
}

/// Waits until the client has sent bytes or closed its socket. `false` if the registry ends the
/// connection before that.
async fn until_readable(socket: &TcpStream, state: &ConnectionState) -> bool {
    poll_fn(|context| {
        state.register(context);
        match socket.poll_read_ready(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => state.ending().map_or(Poll::Pending, |_| Poll::Ready(false)),
        }
    })
    .await
}

/// Serves until the connection ends by itself, or the registry ends it.
async fn until_ended<S>(
    connection: &mut http1::Connection<TokioIo<ClientStream>, S>,
    state: &ConnectionState,
) -> hyper::Result<Ending>
where
    S: HttpService<Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    poll_fn(|context| {
        state.register(context);
        // Received bytes are handled first, so that a request that was read gets its response.
        if let Poll::Ready(ended) = Pin::new(&mut *connection).poll(context) {
            return Poll::Ready(ended.map(|()| Ending::Close));
        }
        state
            .ending()
            .map_or(Poll::Pending, |ending| Poll::Ready(Ok(ending)))
    })
    .await
}

/// Responds to a request that could not be parsed, and closes the connection.
async fn refuse(mut socket: TcpStream, problem: Problem) {
    let (parts, body) = presence::http::Response::from(problem).into_parts();
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        parts.status,
        body.len()
    );
    let response = [head.as_bytes(), &body].concat();
    if let Ok(Ok(())) = timeout(LINGER_TIMEOUT, socket.write_all(&response)).await {
        linger(socket).await;
    }
}

/// Reads what a client still sends, until it closes the connection or the time limit has passed.
async fn linger(mut socket: TcpStream) {
    let _ = socket.shutdown().await; // an error shows in reading as well
    let read = async move {
        tokio::io::copy(
            &mut (&mut socket).take(MAX_UNREAD_BYTES),
            &mut tokio::io::sink(),
        )
        .await
    };
    let _ = timeout(LINGER_TIMEOUT, read).await;
}
