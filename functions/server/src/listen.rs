//! Sockets: HTTP/1.1 and HTTP/2 (with prior knowledge) on one port, bounded in number and in time.

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::workers::Workers;

/// The number of connections at a time; more of them wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;

/// How long a client may take to send the headers of a request.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

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
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).keep_alive_interval(HEADER_LIMIT);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let served = accepted.and_then(|(stream, slot)| workers.serve(stream, slot, &builder, &graceful));
        if let Err(error) = served {
            tracing::warn!(%error, "socket not accepted");
            tokio::time::sleep(BACK_OFF).await;
        }
    }
    drop(listener);
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(?drain, "requests did not finish in time");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}
