//! A caller that watches players over a WebSocket.

use std::collections::HashMap;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, client_async, connect_async,
    tungstenite::{Error, Message, protocol::frame::coding::CloseCode},
};

use crate::{Server, socket::with_small_buffer};

/// A caller with a stream, which holds what it was sent. Each message is checked: no version of a
/// player decreases, and a message names each player once.
#[derive(Debug)]
pub struct Watcher {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    held: HashMap<String, Value>,
    highest: HashMap<String, u64>,
    feed: Option<String>,
}

impl Watcher {
    /// Opens a stream, and waits for its first message: the state of the feed.
    pub async fn open(server: &Server) -> Self {
        let mut watcher = Self::connect(server).await.expect("a stream");
        let first = watcher.next().await;
        assert!(first["feed"].is_string(), "{first}");
        watcher
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn connect(server: &Server) -> Result<Self, Box<Error>> {
        let (socket, _) = connect_async(url(server)).await?;
        Ok(Self::new(socket))
    }

    /// Opens a stream of which the kernel keeps only some kilobytes until they are read.
    pub async fn with_small_buffer(server: &Server) -> Self {
        let socket = with_small_buffer(server).await;
        let (socket, _) = client_async(url(server), MaybeTlsStream::Plain(socket))
            .await
            .expect("a stream");
        Self::new(socket)
    }

    fn new(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self {
            socket,
            held: HashMap::new(),
            highest: HashMap::new(),
            feed: None,
        }
    }

    /// Sends a request.
    pub async fn send(&mut self, request: Value) {
        self.send_message(Message::text(request.to_string())).await;
    }

    /// Sends a message of any kind.
    pub async fn send_message(&mut self, message: Message) {
        self.socket
            .send(message)
            .await
            .expect("a socket that takes messages");
    }

    /// The next message.
    ///
    /// # Panics
    /// If the stream ends instead.
    pub async fn next(&mut self) -> Value {
        self.try_next()
            .await
            .unwrap_or_else(|code| panic!("the stream ended with {code:?}"))
    }

    /// The next message, or the code with which the stream was closed.
    pub async fn try_next(&mut self) -> Result<Value, Option<CloseCode>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let message = serde_json::from_str(&text).expect("a message is JSON");
                    self.take(&message);
                    return Ok(message);
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The code with which the stream is closed; what comes before is taken.
    pub async fn close_code(&mut self) -> Option<CloseCode> {
        loop {
            if let Err(code) = self.try_next().await {
                return code;
            }
        }
    }

    /// Sends a request, and returns the presences that come before its reply, and the reply.
    pub async fn ask(&mut self, request: Value) -> (Vec<Value>, Value) {
        self.send(request).await;
        let mut presences = Vec::new();
        loop {
            let message = self.next().await;
            match message["presences"].as_array() {
                Some(list) => presences.extend(list.iter().cloned()),
                None if message["feed"].is_string() => {}
                None => return (presences, message),
            }
        }
    }

    /// Watches players, and waits for the reply.
    ///
    /// # Panics
    /// If it is an error.
    pub async fn watch(&mut self, players: &[&str]) -> Vec<Value> {
        let (presences, reply) = self.ask(serde_json::json!({"watch": players})).await;
        assert!(reply["watching"].is_u64(), "{reply}");
        presences
    }

    /// What the caller holds of a player; null for nothing.
    pub fn held(&self, player: &str) -> &Value {
        self.held.get(player).unwrap_or(&Value::Null)
    }

    /// Reads messages until the caller holds this state of a player.
    pub async fn until(&mut self, player: &str, state: &str) {
        while self.held(player)["state"] != state {
            self.next().await;
        }
    }

    /// Reads messages until the feed is in this state.
    pub async fn until_feed(&mut self, state: &str) {
        while self.feed.as_deref() != Some(state) {
            self.next().await;
        }
    }

    fn take(&mut self, message: &Value) {
        if let Some(feed) = message["feed"].as_str() {
            self.feed = Some(feed.to_owned());
        }
        let mut named = std::collections::HashSet::new();
        for presence in message["presences"].as_array().into_iter().flatten() {
            let player = presence["player_id"].as_str().expect("a player").to_owned();
            assert!(named.insert(player.clone()), "{player} twice in {message}");
            if let Some(version) = presence["version"].as_u64() {
                let highest = self.highest.entry(player.clone()).or_default();
                assert!(
                    version >= *highest,
                    "{player} went from {highest} back to {version}"
                );
                *highest = version;
            }
            self.held.insert(player, presence.clone());
        }
    }
}

fn url(server: &Server) -> String {
    server.url("/watch").replacen("http", "ws", 1)
}
