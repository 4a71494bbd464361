//! Sockets: HTTP/1.1 and HTTP/2 (with prior knowledge) on one port, bounded in number and in time.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
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

/// How long a client may take to send the headers of a request.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

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
    let http = builder();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let (open, closing) = watch::channel(());
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let served = accepted.and_then(|(stream, slot)| {
            let talk = Talk { http: http.clone(), watcher: graceful.watcher(), closing: closing.clone() };
            workers.serve(stream, slot, talk)
        });
        if let Err(error) = served {
            tracing::warn!(%error, "socket not accepted");
            sleep(BACK_OFF).await;
        }
    }
    drop((listener, open));
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(?drain, "requests did not finish in time");
    }
}

/// How one connection is served.
pub(crate) struct Talk {
    http: Builder<TokioExecutor>,
    watcher: Watcher,
    closing: watch::Receiver<()>,
}

impl Talk {
    /// Serves a connection until its end; one that has not said anything by the time of `closing` is let go.
    pub(crate) async fn serve(mut self, stream: TcpStream, routes: Router) {
        let is_http2 = tokio::select! {
            biased;
            is_http2 = timeout(HEADER_LIMIT, is_http2(&stream)) => is_http2,
            _ = self.closing.changed() => return,
        };
        let Ok(Ok(is_http2)) = is_http2 else { return };
        let http = if is_http2 { self.http.http2_only() } else { self.http.http1_only() };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(error, "connection ended");
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT).max_buf_size(MAX_HEADERS);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(HEADER_LIMIT);
    http.http2().max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADERS as u32);
    http
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
