//! A caller that watches players.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _, stream::SplitSink};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::AbortHandle,
    time::sleep,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async, tungstenite::Message,
};

use crate::players;

/// Players per request.
const BATCH: usize = 2_000;

/// A caller that watches players.
pub(crate) struct Watcher {
    pub(crate) players: Vec<usize>,
    requests: SplitSink<WebSocketStream<MaybeTlsStream<TcpStream>>, Message>,
    seen: Arc<Mutex<Seen>>,
    pub(super) reader: AbortHandle,
}

/// The messages that a watcher received.
#[derive(Default)]
pub(crate) struct Seen {
    pub(super) versions: HashMap<usize, u64>,
    /// The arrivals since this was last emptied: each player and the time.
    pub(super) arrivals: Vec<(usize, Instant)>,
    replies: usize,
    /// Whether the last request failed and must be repeated.
    is_refused: bool,
    pub(super) last_reply: Option<Instant>,
}

impl Watcher {
    pub(crate) async fn open(address: &str, players: Vec<usize>) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}/watch"))
            .await
            .expect("a stream");
        Self::new(socket, players)
    }

    /// Opens a stream with a receive buffer of a few kilobytes.
    pub(crate) async fn with_small_buffer(address: &str, players: Vec<usize>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("a buffer");
        let stream = socket
            .connect(address.parse().expect("an address"))
            .await
            .expect("a connection");
        let (web_socket, _) = client_async(
            format!("ws://{address}/watch"),
            MaybeTlsStream::Plain(stream),
        )
        .await
        .expect("a stream");
        Self::new(web_socket, players)
    }

    fn new(socket: WebSocketStream<MaybeTlsStream<TcpStream>>, players: Vec<usize>) -> Self {
        let (requests, mut messages) = socket.split();
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let reader = tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if let Message::Text(text) = message {
                    shared
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .record(&text);
                }
            }
        });
        Self {
            players,
            requests,
            seen,
            reader: reader.abort_handle(),
        }
    }

    pub(crate) async fn watch(&mut self, with_known: bool) {
        for players in self.players.chunks(BATCH) {
            let ids: Vec<_> = players
                .iter()
                .map(|player| format!(r#""{}""#, players::player(*player)))
                .collect();
            let known = if with_known {
                self.seen().known(players)
            } else {
                String::new()
            };
            let request = format!(r#"{{"watch":[{}],"known":{{{known}}}}}"#, ids.join(","));
            let before = self.seen().replies;
            // A refused request is repeated.
            while self.seen().replies == before {
                self.seen().is_refused = false;
                self.requests
                    .send(Message::text(request.clone()))
                    .await
                    .expect("a stream that takes requests");
                while self.seen().replies == before && !self.seen().is_refused {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Seen {
    /// Records a message. It is not parsed as JSON, as the load shares its CPU with the service.
    fn record(&mut self, text: &str) {
        let now = Instant::now();
        for entry in text.split(r#""player_id":"player-"#).skip(1) {
            let player = number(entry) as usize;
            let version = entry
                .split_once(r#""version":"#)
                .map_or(0, |(_, rest)| number(rest));
            self.versions.insert(player, version);
            self.arrivals.push((player, now));
        }
        if text.contains(r#""error""#) {
            assert!(text.contains("urn:presence:store-unavailable"), "{text}");
            self.is_refused = true;
        }
        if text.contains(r#""watching""#) {
            self.replies += 1;
            self.last_reply = Some(now);
        }
    }

    fn known(&self, players: &[usize]) -> String {
        let find_version = |player: &usize| self.versions.get(player).copied().unwrap_or_default();
        let known = players
            .iter()
            .map(|player| format!(r#""{}":{}"#, players::player(*player), find_version(player)));
        known.collect::<Vec<_>>().join(",")
    }
}

/// The number at the beginning of a text.
fn number(text: &str) -> u64 {
    text.bytes()
        .take_while(u8::is_ascii_digit)
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
