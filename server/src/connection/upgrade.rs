//! Upgrade of a connection to another protocol, after a response 101.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{body::Bytes, response::Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A function that speaks the other protocol until its end.
type Protocol = Box<dyn FnOnce(UpgradedSocket) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The protocol with which a connection continues after its response. It travels in the response's
/// extensions.
#[derive(Clone)]
pub(crate) struct Upgrade(Arc<Mutex<Option<Protocol>>>);

/// A client's socket whose first bytes may have been read already.
pub(crate) struct UpgradedSocket {
    socket: TcpStream,
    first: Bytes,
}

impl Upgrade {
    /// Makes the connection continue with `protocol` after this response.
    pub(crate) fn after<F>(
        response: &mut Response,
        protocol: impl FnOnce(UpgradedSocket) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let protocol: Protocol = Box::new(|socket| Box::pin(protocol(socket)));
        response
            .extensions_mut()
            .insert(Self(Arc::new(Mutex::new(Some(protocol)))));
    }

    /// Speaks the protocol on a socket from which `first` has been read already.
    pub(super) async fn run(&self, socket: TcpStream, first: Bytes) {
        let protocol = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(protocol) = protocol {
            protocol(UpgradedSocket { socket, first }).await;
        }
    }
}

impl AsyncRead for UpgradedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.socket).poll_read(context, into);
        }
        let length = self.first.len().min(into.remaining());
        into.put_slice(&self.first.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpgradedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
