//! A WebSocket gateway that tells the presence service of its sockets.
//!
//!     cargo run -p presence-client --example ws_gateway -- --bind 127.0.0.1:9001 --presence-url http://127.0.0.1:8080
//!
//! Then open `ws://127.0.0.1:9001/ws?player=alice` and send `{"state":"IN_MATCH"}`. Without a presence URL it is the same
//! gateway, of which nobody hears. What it did so far is at `/stats`. A real one authenticates its players; this one
//! believes what they say.

use std::{
    collections::HashMap,
    error::Error,
    future::pending,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{
        Query, State as Shared, WebSocketUpgrade,
        ws::{CloseCode, CloseFrame, Message, WebSocket, close_code},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use clap::Parser;
use presence_client::{ConnectionId, Endpoint, HttpNotifier, InvalidEndpoint, Notifier, PlayerId, Reason, State};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
    time::{interval, timeout},
};

/// A socket is pinged so often; one that was silent from one ping to the next is dead.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Nothing that a player has to say is longer, in bytes.
const MAX_MESSAGE: usize = 4 * 1024;

/// How long the sockets have to close, and the presence service to hear of it, when the gateway stops.
const SHUT_LIMIT: Duration = Duration::from_secs(2);
const DRAIN_LIMIT: Duration = Duration::from_secs(8);

#[derive(Parser)]
struct Args {
    /// Where players connect to.
    #[arg(long, env = "GATEWAY_BIND", default_value = "127.0.0.1:9001")]
    bind: SocketAddr,
    /// The presence service, such as http://127.0.0.1:8080; without it, nobody is told.
    #[arg(long, env = "GATEWAY_PRESENCE_URL", value_parser = Endpoint::parse)]
    presence_url: Option<Endpoint>,
    /// What the presence service asks its callers for.
    #[arg(long, env = "GATEWAY_PRESENCE_TOKEN", hide_env_values = true)]
    presence_token: Option<String>,
    /// How often the presence service hears of an open socket: what its PRESENCE_HEARTBEAT_INTERVAL says.
    #[arg(long, env = "GATEWAY_HEARTBEAT_INTERVAL", default_value = "15s", value_parser = humantime::parse_duration)]
    heartbeat_interval: Duration,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let args = Args::parse();
    let sockets = Arc::new(Sockets::default());
    let presence = presence(&args, Arc::clone(&sockets))?.map(Arc::new);
    let gateway = Gateway::new(presence.clone(), Arc::clone(&sockets));
    let listener = TcpListener::bind(args.bind).await?;
    tracing::info!(address = %listener.local_addr()?, has_presence = presence.is_some(), "listening");
    axum::serve(listener, router(gateway)).with_graceful_shutdown(terminated()).await?;

    // The players should come back, to another gateway: a restart is a loss, not a quit.
    let shut = timeout(SHUT_LIMIT, sockets.shut_all(close_code::RESTART)).await;
    if let Some(presence) = presence {
        let drained = presence.drain(Reason::Lost, DRAIN_LIMIT).await;
        tracing::info!(stats = ?presence.stats(), ?drained, "drained");
    }
    tracing::info!(?shut, "stopped");
    Ok(())
}

/// A notifier that has the sockets shut whose players were signed out; none without a presence URL.
fn presence(args: &Args, sockets: Arc<Sockets>) -> Result<Option<HttpNotifier>, InvalidEndpoint> {
    let Some(endpoint) = args.presence_url.clone() else { return Ok(None) };
    let endpoint = match &args.presence_token {
        Some(token) => endpoint.with_token(token)?,
        None => endpoint,
    };
    let on_closed = move |_: &PlayerId, connection: &ConnectionId| sockets.shut(connection, close_code::POLICY);
    let builder = HttpNotifier::builder(endpoint).heartbeat_interval(args.heartbeat_interval);
    builder.on_closed(on_closed).start().map(Some)
}

pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new().route("/ws", get(open)).route("/stats", get(stats)).with_state(Arc::new(gateway))
}

pub(crate) struct Gateway {
    notifier: Arc<dyn Notifier>,
    /// For its counters only.
    presence: Option<Arc<HttpNotifier>>,
    sockets: Arc<Sockets>,
    /// With a counter behind it, an id that no connection ever had.
    instance: String,
    connections: AtomicU64,
}

impl Gateway {
    pub(crate) fn new(presence: Option<Arc<HttpNotifier>>, sockets: Arc<Sockets>) -> Self {
        let instance = format!("{:016x}", rand::random::<u64>());
        let notifier = Arc::new(presence.clone());
        Self { notifier, presence, sockets, instance, connections: AtomicU64::new(0) }
    }

    fn new_connection(&self) -> Result<ConnectionId, presence_client::InvalidId> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionId::parse(&format!("{}-{number}", self.instance))
    }
}

/// The open sockets, each with a way to have it shut with a close code.
#[derive(Default)]
pub(crate) struct Sockets {
    open: Mutex<HashMap<ConnectionId, mpsc::Sender<CloseCode>>>,
    closed: Notify,
}

impl Sockets {
    fn add(&self, connection: &ConnectionId) -> mpsc::Receiver<CloseCode> {
        let (shut, orders) = mpsc::channel(1);
        self.open().insert(connection.clone(), shut);
        orders
    }

    fn remove(&self, connection: &ConnectionId) {
        self.open().remove(connection);
        self.closed.notify_waiters();
    }

    pub(crate) fn shut(&self, connection: &ConnectionId, code: CloseCode) {
        if let Some(shut) = self.open().get(connection) {
            _ = shut.try_send(code);
        }
    }

    async fn shut_all(&self, code: CloseCode) {
        self.open().values().for_each(|shut| _ = shut.try_send(code));
        loop {
            let closed = self.closed.notified();
            if self.open().is_empty() {
                return;
            }
            closed.await;
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ConnectionId, mpsc::Sender<CloseCode>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Who {
    player: String,
}

/// What a player may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    state: State,
}

async fn open(Shared(gateway): Shared<Arc<Gateway>>, Query(who): Query<Who>, upgrade: WebSocketUpgrade) -> Response {
    match (PlayerId::parse(&who.player), gateway.new_connection()) {
        (Ok(player), Ok(connection)) => {
            let upgrade = upgrade.read_buffer_size(MAX_MESSAGE).max_message_size(MAX_MESSAGE);
            let id = [("x-connection-id", connection.to_string())]; // for support: which of the player's sockets is it?
            (id, upgrade.on_upgrade(move |socket| serve(gateway, player, connection, socket))).into_response()
        }
        (Err(error), _) | (_, Err(error)) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// The open sockets, and what the presence service was told.
async fn stats(Shared(gateway): Shared<Arc<Gateway>>) -> Json<serde_json::Value> {
    let sockets = gateway.sockets.open().len();
    let presence = gateway.presence.as_ref().map(|presence| presence.stats()).map(|stats| {
        json!({
            "calls": stats.calls,
            "failures": stats.failures,
            "retries": stats.retries,
            "beats": stats.beats,
            "restored": stats.restored,
            "closed": stats.closed,
            "dropped": stats.dropped,
            "queue_length": stats.queue_length,
        })
    });
    Json(json!({"sockets": sockets, "presence": presence}))
}

/// From a socket's first moment to its last.
async fn serve(gateway: Arc<Gateway>, player: PlayerId, connection: ConnectionId, mut socket: WebSocket) {
    let orders = gateway.sockets.add(&connection);
    gateway.notifier.connected(&player, &connection);
    let reason = talk(&gateway, &player, &mut socket, orders).await;
    gateway.notifier.disconnected(&player, &connection, reason);
    gateway.sockets.remove(&connection);
}

/// Talks with a player until the socket closes, for the reason that is returned.
async fn talk(
    gateway: &Gateway,
    player: &PlayerId,
    socket: &mut WebSocket,
    mut orders: mpsc::Receiver<CloseCode>,
) -> Reason {
    let mut pings = interval(PING_INTERVAL);
    let mut was_heard = true;
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => match serde_json::from_str::<Said>(&text) {
                    Ok(said) => gateway.notifier.state_changed(player, said.state),
                    Err(error) => _ = socket.send(Message::text(error.to_string())).await,
                },
                Some(Ok(Message::Close(Some(frame)))) => return Reason::from_close_code(frame.code),
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Reason::Lost,
                Some(Ok(_)) => {}
            },
            _ = pings.tick() => {
                if !std::mem::take(&mut was_heard) || socket.send(Message::Ping("".into())).await.is_err() {
                    return Reason::Lost;
                }
                continue;
            }
            Some(code) = orders.recv() => {
                _ = socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
                return Reason::from_close_code(code);
            }
        }
        was_heard = true;
    }
}

/// Waits for SIGTERM.
async fn terminated() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => _ = terminate.recv().await,
        Err(_) => pending().await,
    }
}
