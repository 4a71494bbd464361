//! A client's socket, wrapped for hyper, which adds bodies to the responses that hyper sends to
//! requests that it cannot parse: 400, 414 and 431.
//!
//! hyper has no hook for them: it writes a head without a body, then ends the connection. So they
//! are recognized in the bytes that it is about to write. No response of this service looks like
//! that, as each of its errors has a body.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use presence::http::{Problem, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::state::ConnectionState;

/// The beginning of hyper's own responses, up to the first digit of the status.
const BEGINNING: &[u8] = b"HTTP/1.1 4";

/// The header of hyper's own responses that announces an empty body.
const NO_BODY: &[u8] = b"content-length: 0\r\n";

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
        match find_automatic(bytes) {
            Some(0) => {
                this.rest = with_problem(bytes);
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

/// The position of hyper's own response in the bytes that it is about to write. It is always at the
/// end.
fn find_automatic(bytes: &[u8]) -> Option<usize> {
    // The fast path: this service's bodies do not end like a head.
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let start = bytes
        .windows(BEGINNING.len())
        .rposition(|window| window == BEGINNING)?;
    position_of_no_body(&bytes[start..]).map(|_| start)
}

/// Adds a body to hyper's own response that says what was wrong.
fn with_problem(response: &[u8]) -> Vec<u8> {
    let problem = match response.get(BEGINNING.len() - 1..BEGINNING.len() + 2) {
        Some(b"431" | b"414") => Problem::headers_too_large(),
        _ => Problem::malformed(),
    };
    let body = Response::from(problem).into_body();
    let at = position_of_no_body(response).unwrap_or_default();
    let headers = format!(
        "content-type: application/problem+json\r\ncache-control: no-store\r\ncontent-length: {}\r\n",
        body.len()
    );
    [
        &response[..at],
        headers.as_bytes(),
        &response[at + NO_BODY.len()..],
        &body,
    ]
    .concat()
}

fn position_of_no_body(response: &[u8]) -> Option<usize> {
    response
        .windows(NO_BODY.len())
        .position(|window| window == NO_BODY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_HYPER: &[u8] =
        b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
    const OF_SERVICE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

    #[test]
    fn a_response_of_hyper_gets_a_body() {
        assert_eq!(find_automatic(OF_HYPER), Some(0));
        let response = String::from_utf8(with_problem(OF_HYPER)).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 ") && head.contains("date: x"),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert_eq!(head.matches("content-length").count(), 1);
        assert!(body.contains("\"status\":431"), "{body}");
    }

    #[test]
    fn it_is_found_after_a_response_of_the_service() {
        assert_eq!(
            find_automatic(&[OF_SERVICE, OF_HYPER].concat()),
            Some(OF_SERVICE.len())
        );
    }

    #[test]
    fn responses_of_the_service_are_unchanged() {
        let to_head = b"HTTP/1.1 404 Not Found\r\ncontent-length: 145\r\n\r\n";
        let redirect = b"HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\n\r\n";
        let stream = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        for bytes in [OF_SERVICE, to_head, redirect, stream, b"", b"\r\n\r\n"] {
            assert_eq!(
                find_automatic(bytes),
                None,
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}
