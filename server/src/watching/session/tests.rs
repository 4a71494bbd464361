//! Sessions over sockets in memory, with a clock that jumps from one timer to the next.

use std::time::Duration;

use presence::{
    config::{Config, WatchConfig},
    runtime::App,
};
use tokio::{
    io::{DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

use super::*;

/// A client that sends and reads raw bytes.
struct Client {
    socket: DuplexStream,
    begin: Instant,
    session: JoinHandle<()>,
    open: Option<watch::Sender<()>>,
}

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// A pong without content, masked with zeros.
const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];

impl Client {
    /// Connects a client to a server without Redis. The socket holds up to `buffer` unread bytes.
    fn connect(buffer: usize) -> Self {
        let config = Config::from_lookup(|name| {
            (name == "PRESENCE_REDIS_URL").then(|| "redis://127.0.0.1:1".to_owned())
        });
        let app = App::new(config.unwrap()).unwrap();
        let seconds = Duration::from_secs;
        let config = WatchConfig {
            max_streams: 1,
            max_players: 1,
            interval: seconds(1),
            poll_interval: seconds(5),
        };
        let watch = app.watch(config);
        let upkeep = app.watch_upkeep(watch.clone());
        tokio::spawn(async move { upkeep.run().await });
        let (open, closing) = watch::channel(());
        let session = Session::new(watch.open().unwrap(), seconds(1), closing);
        let (socket, other) = duplex(buffer);
        Self {
            socket,
            begin: Instant::now(),
            session: tokio::spawn(session.run(other)),
            open: Some(open),
        }
    }

    /// Receives the next frame. Returns its first byte and its content.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = self.socket.read_u8().await.unwrap();
        let mut content = vec![0; self.socket.read_u8().await.unwrap().into()];
        self.socket.read_exact(&mut content).await.unwrap();
        (first, content)
    }

    async fn close_code(&mut self) -> u16 {
        loop {
            if let (CLOSE, content) = self.frame().await {
                return u16::from_be_bytes([content[0], content[1]]);
            }
        }
    }

    fn seconds(&self) -> u64 {
        self.begin.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn the_feed_is_sent_first_and_a_ping_every_15_seconds() {
    let mut client = Client::connect(1_024);
    assert_eq!(
        client.frame().await,
        (TEXT, br#"{"feed":"stale"}"#.to_vec())
    );
    for seconds in [15, 30] {
        assert_eq!(client.frame().await.0, PING);
        assert_eq!(client.seconds(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_reply_to_pings_is_closed_after_45_seconds() {
    let mut client = Client::connect(1_024);
    assert_eq!(client.close_code().await, 1011);
    assert_eq!(client.seconds(), 45);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_replies_to_pings_stays() {
    let mut client = Client::connect(1_024);
    while client.seconds() < 600 {
        if let (PING, _) = client.frame().await {
            client.socket.write_all(&PONG).await.unwrap();
        }
    }
    client.open.take();
    let last = client.frame().await;
    assert_eq!((last.0, &last.1[..2]), (CLOSE, &1001_u16.to_be_bytes()[..]));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_dropped_after_60_seconds() {
    let mut client = Client::connect(8);
    for second in (0..60).step_by(10) {
        sleep_until(client.begin + Duration::from_secs(second)).await;
        client.socket.write_all(&PONG).await.unwrap();
    }
    assert!(!client.session.is_finished());
    client.session.await.unwrap();
    assert_eq!(
        client.begin.elapsed().as_secs(),
        61,
        "with a second for the last frame"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_just_in_time_gets_the_reason_of_the_close() {
    let mut client = Client::connect(8);
    let pongs = async {
        for _ in 0..6 {
            client.socket.write_all(&PONG).await.unwrap();
            sleep(Duration::from_secs(10)).await;
        }
    };
    pongs.await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(client.close_code().await, 1013);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_a_little_is_kept() {
    let mut client = Client::connect(8);
    let mut first = [0; 4];
    for _ in 0..4 {
        sleep(Duration::from_secs(40)).await;
        client.socket.write_all(&PONG).await.unwrap();
        client.socket.read_exact(&mut first).await.unwrap();
    }
    assert!(!client.session.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_session_whose_client_reads_nothing() {
    let mut client = Client::connect(8);
    sleep(Duration::from_secs(5)).await;
    client.open.take();
    client.session.await.unwrap();
    assert!(client.begin.elapsed() < Duration::from_secs(8));
}
