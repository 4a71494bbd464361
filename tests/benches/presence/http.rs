//! A load generator with little overhead: requests are built in advance, and responses are not
//! parsed.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post as on_post};
use futures_util::future::join_all;
use rand::RngExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The bytes of a POST request with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A response of any status.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Seconds.
    retry_after: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The pause before the request is sent again: what the server asks for, with jitter.
    pub(crate) fn retry_after(&self) -> Duration {
        let pause = Duration::from_secs(self.retry_after.unwrap_or(1));
        pause.mul_f64(rand::rng().random_range(1.0..1.5))
    }
}

/// A keep-alive connection for one call at a time.
pub(crate) struct Connection {
    stream: TcpStream,
    response: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a server");
        stream.set_nodelay(true).expect("a socket");
        Self {
            stream,
            response: Vec::with_capacity(256 * 1_024),
        }
    }

    /// Sends a request and returns the body of its response.
    ///
    /// # Panics
    /// If the status is not 200.
    pub(crate) async fn call(&mut self, request: &[u8]) -> &[u8] {
        let (head, status, _) = self.exchange(request).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&self.response));
        &self.response[head..]
    }

    /// Sends a request and returns its response, whatever the status.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Response {
        let (head, status, retry_after) = self.exchange(request).await;
        Response {
            status,
            retry_after,
            body: self.response[head..].to_vec(),
        }
    }

    /// Returns the length of the response's head, the status and the `Retry-After` in seconds.
    async fn exchange(&mut self, request: &[u8]) -> (usize, u16, Option<u64>) {
        self.stream
            .write_all(request)
            .await
            .expect("a server that reads");
        self.response.clear();
        let (head, status, length, retry_after) = loop {
            assert_ne!(
                self.stream
                    .read_buf(&mut self.response)
                    .await
                    .expect("a response"),
                0,
                "a response"
            );
            if let Some(head) = self
                .response
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                let text = str::from_utf8(&self.response[..head]).expect("a head");
                let find_header = |name: &str| {
                    text.lines()
                        .find_map(|line| line.to_ascii_lowercase().strip_prefix(name)?.parse().ok())
                };
                let status = text
                    .get(9..12)
                    .and_then(|status| status.parse().ok())
                    .expect("a status");
                break (
                    head + 4,
                    status,
                    find_header("content-length: ").unwrap_or(0) as usize,
                    find_header("retry-after: "),
                );
            }
        };
        while self.response.len() < head + length {
            assert_ne!(
                self.stream
                    .read_buf(&mut self.response)
                    .await
                    .expect("a response"),
                0,
                "a response"
            );
        }
        (head, status, retry_after)
    }
}

/// Sends each request once, over several connections at a time, and returns the total duration.
pub(crate) async fn load(address: &str, connections: usize, requests: &[Vec<u8>]) -> Duration {
    let open: Vec<_> = join_all((0..connections).map(|_| Connection::open(address))).await;
    let share = requests.len().div_ceil(connections);
    let start = Instant::now();
    let loads =
        open.into_iter()
            .zip(requests.chunks(share))
            .map(async |(mut connection, requests)| {
                for request in requests {
                    connection.call(request).await;
                }
            });
    join_all(loads).await;
    start.elapsed()
}

/// Runs a server that responds to every POST with its body, the minimum of work. Prints its address
/// first.
pub(crate) fn echo() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let routes = Router::new().route("/{*path}", on_post(async |body: Bytes| body));
        axum::serve(listener, routes).await.expect("a server");
    });
}

/// Starts a process that runs [`echo`], and returns it with its address.
pub(crate) fn start_echo() -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let mut echo = command
        .arg("echo")
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let mut address = String::new();
    BufReader::new(echo.stdout.take().expect("its output"))
        .read_line(&mut address)
        .expect("its address");
    (echo, address.trim().to_owned())
}
