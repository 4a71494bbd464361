//! Sockets: HTTP/1.1 and HTTP/2 (with prior knowledge) on one port, bounded in number and in time.

use std::{
    future::poll_fn,
    io::ErrorKind,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::Router;
use hyper::{
    server::conn::{http1, http2},
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::workers::Workers;

/// The number of connections at a time; more of them wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;

/// How long a client may take to send the headers of its first request.
const FIRST_LIMIT: Duration = Duration::from_secs(10);

/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// How long a connection may then be without a request, the sending of its headers included: longer than load balancers
/// (60 s) and the pools of HTTP clients (90 s) keep one that is idle, since they would send a request into its end.
const IDLE_LIMIT: Duration = Duration::from_secs(120);

/// The most bytes of headers that a request may have, and the most of a body that are read at a time: what a connection
/// takes up, however many there are.
const MAX_HEADERS: usize = 16 * 1024;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often to look again at a connection whose first bytes do not say yet what it is.
const GLANCE: Duration = Duration::from_millis(50);

/// The number of requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 250;

/// How long to wait after a socket could not be accepted: the process has too many files open.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets requests finish for `drain` at most.
pub(crate) async fn serve(
    listener: TcpListener,
    mut workers: Workers,
    stop: impl Future<Output = ()>,
    drain: Duration,
) {
    let protocols = Protocols::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (open, closing) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let served = accepted.and_then(|(stream, slot)| {
            let talk = Talk { protocols: protocols.clone(), closing: closing.clone() };
            workers.serve(stream, slot, talk)
        });
        if let Err(error) = served {
            tracing::warn!(%error, "socket not accepted");
            sleep(BACK_OFF).await;
        }
    }
    drop((listener, closing));
    open.send_replace(());
    if timeout(drain, open.closed()).await.is_err() {
        tracing::warn!(?drain, "requests did not finish in time");
    }
}

/// How either protocol is spoken.
#[derive(Clone)]
struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new() -> Self {
        let (mut http1, mut http2) = (http1::Builder::new(), http2::Builder::new(TokioExecutor::new()));
        http1.timer(TokioTimer::new()).header_read_timeout(IDLE_LIMIT).max_buf_size(MAX_HEADERS);
        http1.writev(false); // one piece: most answers are short, and copying one costs less than a second piece
        http2.timer(TokioTimer::new()).keep_alive_interval(PING_INTERVAL);
        http2.max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADERS as u32);
        Self { http1, http2 }
    }
}

/// How one connection is served.
pub(crate) struct Talk {
    protocols: Protocols,
    /// Changes when the server ends, which waits until all of these are gone.
    closing: watch::Receiver<()>,
}

impl Talk {
    /// Serves a connection until its end; one that has not said anything by the time of `closing` is let go.
    pub(crate) async fn serve(mut self, stream: TcpStream, routes: Router) {
        let is_http2 = tokio::select! {
            biased;
            is_http2 = timeout(FIRST_LIMIT, is_http2(&stream)) => is_http2,
            _ = self.closing.changed() => return,
        };
        let Ok(Ok(is_http2)) = is_http2 else { return };
        let has_begun = Arc::new(AtomicBool::new(false));
        let begun = Arc::clone(&has_begun);
        let routes = TowerToHyperService::new(routes);
        let service = service_fn(move |request| {
            begun.store(true, Ordering::Relaxed);
            routes.call(request)
        });
        let (stream, Protocols { http1, http2 }) = (TokioIo::new(stream), &self.protocols);
        let ended = match is_http2 {
            true => {
                let connection = http2.serve_connection(stream, service);
                finish(connection, http2::Connection::graceful_shutdown, &has_begun, self.closing).await
            }
            false => {
                let connection = http1.serve_connection(stream, service);
                finish(connection, http1::Connection::graceful_shutdown, &has_begun, self.closing).await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        }
    }
}

/// Serves a connection until it ends, or until its last request has been answered after `closing`.
async fn finish<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    shut: fn(Pin<&mut C>),
    has_begun: &AtomicBool,
    mut closing: watch::Receiver<()>,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        ended = &mut connection => return ended,
        () = no_request(has_begun) => return Ok(()),
        _ = closing.changed() => shut(connection.as_mut()),
    }
    connection.await
}

/// Returns when the first request should have begun, and has not.
async fn no_request(has_begun: &AtomicBool) {
    let mut limit = pin!(sleep(FIRST_LIMIT));
    poll_fn(|context| match has_begun.load(Ordering::Relaxed) {
        true => Poll::Pending, // for good
        false => limit.as_mut().poll(context),
    })
    .await;
}

/// Whether a connection begins as HTTP/2 does. hyper finds that out as well, and waits for ever for who says nothing.
async fn is_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        match stream.peek(&mut first).await? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length if !PREFACE.starts_with(&first[..length]) => return Ok(false),
            length if length == PREFACE.len() => return Ok(true),
            _ => sleep(GLANCE).await,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}
