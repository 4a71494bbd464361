//! The listener, which accepts connections, passes them to the workers, and drains them at the end.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use futures_util::FutureExt as _;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::{
    connection::{ConnectionContext, Connections, Lifecycle},
    workers::Workers,
};

/// The kernel's buffer for responses that a client has not read yet, per connection. The kernel
/// doubles the value for its own overhead. By default the buffer grows to several megabytes.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// The kernel's buffer for requests that the server has not read yet, per connection. See
/// [`SEND_BUFFER_BYTES`].
const RECEIVE_BUFFER_BYTES: u32 = 128 * 1024;

/// The number of connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 1_024;

/// The pause after a socket could not be accepted, as the process has too many files open.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long the server keeps accepting after SIGTERM, with `Connection: close` in its responses.
/// Load balancers have to notice that it is not ready, and clients move to another server with
/// their next request.
const CLOSE_DELAY: Duration = Duration::from_millis(1_500);

/// Time limit for the first request of the connections that were accepted last.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_millis(250);

/// Listens on an address.
///
/// # Errors
/// If the address is not this machine's, or is in use.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit these.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections, and serves them on the workers.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) workers: Workers<Router>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) context: ConnectionContext,
}

impl Acceptor {
    /// Serves until `stop`, then lets connections end within `drain_timeout`. `on_drain` is called
    /// when no more are accepted.
    pub(crate) async fn serve(
        mut self,
        lifecycle: Lifecycle,
        stop: impl Future<Output = ()>,
        drain_timeout: Duration,
        on_drain: impl FnOnce(),
    ) {
        let mut stop = pin!(async {
            stop.await;
            tracing::info!("presence-server is shutting down");
            lifecycle.close();
            sleep(CLOSE_DELAY).await;
        });
        let mut is_failing = false;
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = self.accept() => accepted,
            };
            let has_failed = accepted.is_err();
            if let Err(error) = accepted {
                // Logged once per episode.
                if !is_failing {
                    tracing::error!(%error, "sockets not accepted, retrying");
                }
                sleep(ACCEPT_BACKOFF).await;
            }
            is_failing = has_failed;
        }
        // Closing the listener resets the connections in its queue, so they are accepted first.
        self.accept_backlog();
        let Self {
            listener,
            connections,
            ..
        } = self;
        drop(listener);
        sleep(LAST_REQUEST_TIMEOUT).await;
        on_drain();
        connections.drain();
        if timeout(
            drain_timeout - CLOSE_DELAY - LAST_REQUEST_TIMEOUT,
            connections.closed(),
        )
        .await
        .is_err()
        {
            tracing::warn!(?drain_timeout, "requests did not finish in time");
        }
    }

    async fn accept(&mut self) -> std::io::Result<()> {
        let (socket, peer) = self.listener.accept().await?;
        let slot = self.connections.admit().await;
        let state = self.connections.add(peer, slot);
        socket.set_nodelay(true)?;
        let socket = socket.into_std()?;
        let (runtime, routes) = self.workers.take_turn();
        let _entered = runtime.enter(); // registers the socket with the runtime that serves it
        let serving =
            self.context
                .clone()
                .serve(TcpStream::from_std(socket)?, state, routes.clone());
        runtime.spawn(serving);
        Ok(())
    }

    /// Accepts the connections that are in the kernel's queue.
    fn accept_backlog(&mut self) {
        while let Some(Ok(())) = self.accept().now_or_never() {}
    }
}
