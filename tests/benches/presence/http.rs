//! A load generator that costs little itself: requests are made beforehand, answers are only looked at.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post as on_post};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request's bytes.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A keep-alive connection that one call at a time is made on.
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a server");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, answer: Vec::with_capacity(256 * 1_024) }
    }

    /// Sends a request and returns the answer's body.
    ///
    /// # Panics
    /// Where the answer is not a 200.
    pub(crate) async fn call(&mut self, request: &[u8]) -> &[u8] {
        self.stream.write_all(request).await.expect("a server that reads");
        self.answer.clear();
        let (head, length) = loop {
            assert_ne!(self.stream.read_buf(&mut self.answer).await.expect("an answer"), 0, "an answer");
            if let Some(head) = self.answer.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = str::from_utf8(&self.answer[..head]).expect("a head");
                assert!(text.starts_with("HTTP/1.1 200"), "{text}");
                let header = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
                break (head + 4, text.lines().find_map(header).unwrap_or(0_usize));
            }
        };
        while self.answer.len() < head + length {
            assert_ne!(self.stream.read_buf(&mut self.answer).await.expect("an answer"), 0, "an answer");
        }
        &self.answer[head..]
    }
}

/// Sends all requests once, over some connections at a time, and returns how long all took.
pub(crate) async fn load(address: &str, connections: usize, requests: &[Vec<u8>]) -> Duration {
    let open: Vec<_> = join_all((0..connections).map(|_| Connection::open(address))).await;
    let share = requests.len().div_ceil(connections);
    let start = Instant::now();
    let loads = open.into_iter().zip(requests.chunks(share)).map(async |(mut connection, requests)| {
        for request in requests {
            connection.call(request).await;
        }
    });
    join_all(loads).await;
    start.elapsed()
}

/// Answers every POST with its body: the least that a server could do. Prints its address first.
pub(crate) fn echo() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let routes = Router::new().route("/{*path}", on_post(async |body: Bytes| body));
        axum::serve(listener, routes).await.expect("a server");
    });
}

/// Another process that runs [`echo`], with its address.
pub(crate) fn start_echo() -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let mut echo = command.arg("echo").stdout(Stdio::piped()).spawn().expect("this program starts");
    let mut address = String::new();
    BufReader::new(echo.stdout.take().expect("its output")).read_line(&mut address).expect("its address");
    (echo, address.trim().to_owned())
}
