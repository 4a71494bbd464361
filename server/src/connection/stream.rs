//! A client's socket, wrapped for hyper.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{automatic_response, state::ConnectionState};

/// A client's socket. It records when the client sends, and when it does not read; and it adds a
/// body to hyper's own error responses.
pub(super) struct ClientStream {
    socket: TcpStream,
    state: Arc<ConnectionState>,
    is_blocked: bool,
    /// The unsent rest of a response that replaces hyper's own.
    rest: Vec<u8>,
    /// Whether hyper has responded to a request that it could not parse.
    has_refused: bool,
}

impl ClientStream {
    pub(super) fn new(socket: TcpStream, state: Arc<ConnectionState>) -> Self {
        Self {
            socket,
            state,
            is_blocked: false,
            rest: Vec::new(),
            has_refused: false,
        }
    }

    /// The socket, and whether its client got a response to a request that could not be parsed.
    pub(super) fn into_socket(self) -> (TcpStream, bool) {
        (self.socket, self.has_refused)
    }

    fn write_socket(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        if written.is_pending() && !self.is_blocked {
            self.is_blocked = true;
            self.state.blocked();
        }
        written
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            this.state.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match automatic_response::find(bytes) {
            Some(0) => {
                this.rest = automatic_response::with_problem(bytes);
                this.has_refused = true;
                Poll::Ready(Ok(bytes.len()))
            }
            // Earlier responses are written first; hyper then retries the rest.
            Some(start) => this.write_socket(context, &bytes[..start]),
            None => this.write_socket(context, bytes),
        }
    }

    /// Writes the rest of a replaced response. hyper calls this when it has nothing more to write.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            let written = this.write_socket(context, &rest);
            this.rest = rest;
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => drop(this.rest.drain(..length)),
            }
        }
        if this.is_blocked {
            this.is_blocked = false;
            this.state.unblocked();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(context))?;
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
