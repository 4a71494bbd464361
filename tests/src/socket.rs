//! A socket to a server, for requests that no HTTP client would send.

use std::io;

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream},
};

use crate::Server;

/// A socket to a server.
#[derive(Debug)]
pub struct Socket(BufReader<TcpStream>);

/// A response as it was sent.
#[derive(Debug)]
pub struct RawResponse {
    /// The status code.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl Socket {
    /// Connects to a server.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn connect(server: &Server) -> Self {
        Self::connect_to(server.address()).await
    }

    /// Connects to the server at an address.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn connect_to(address: &str) -> Self {
        Self(BufReader::new(
            TcpStream::connect(address)
                .await
                .expect("the server listens"),
        ))
    }

    /// Connects to a server, over a socket of which the kernel keeps only some kilobytes until they
    /// are read.
    ///
    /// # Panics
    /// If it does not listen.
    pub async fn with_small_buffer(server: &Server) -> Self {
        Self(BufReader::new(with_small_buffer(server).await))
    }

    /// Sends text. An error means that the server has closed the socket: reading returns the
    /// reason.
    pub async fn send(&mut self, text: &str) {
        let _ = self.0.get_mut().write_all(text.as_bytes()).await;
    }

    /// Sends a request, and reads the response.
    ///
    /// # Panics
    /// If there is no response.
    pub async fn ask(&mut self, request: &str) -> RawResponse {
        self.send(request).await;
        self.response().await.expect("a response")
    }

    /// Reads a response whose length is known.
    ///
    /// # Errors
    /// If the socket is closed before its end.
    ///
    /// # Panics
    /// If it is not an HTTP response.
    pub async fn response(&mut self) -> io::Result<RawResponse> {
        let mut received = String::new();
        while !received.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = received.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or_default()];
        self.0.read_exact(&mut body).await?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .expect("a status");
        Ok(RawResponse {
            status,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            head,
        })
    }

    /// The next line.
    ///
    /// # Panics
    /// If the socket is closed instead.
    pub async fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(
            self.0.read_line(&mut line).await.expect("a socket"),
            0,
            "the socket was closed"
        );
        line
    }

    /// Whether the server closes the socket without sending anything more.
    pub async fn is_closed(&mut self) -> bool {
        !matches!(self.0.read(&mut [0]).await, Ok(1..))
    }
}

/// Connects to a server. The kernel keeps only some kilobytes of what it sends until they are read.
pub(crate) async fn with_small_buffer(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4 * 1024).expect("a buffer");
    socket
        .connect(server.address().parse().expect("an address"))
        .await
        .expect("the server listens")
}

impl RawResponse {
    /// Whether the headers have this line.
    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }

    /// The `type` of a problem, without what all have in common.
    pub fn slug(&self) -> &str {
        self.body["type"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches("urn:presence:")
    }
}
