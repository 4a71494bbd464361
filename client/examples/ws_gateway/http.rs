//! HTTP server: accepts connections and upgrades them to WebSockets, limited in number and time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State as Shared, WebSocketUpgrade},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use presence_client::{ConnectionId, HttpNotifier, Notifier, PlayerId, Watcher};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{conversation::serve, page, sockets::Sockets};

/// Time limit for a connection to become a WebSocket, or to receive its response, whatever it sends
/// and reads.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most connections that are not WebSockets yet; others wait in the listener's queue.
const MAX_HANDSHAKES: usize = 1_000;

/// The pause after a connection could not be accepted, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest message of a player, in bytes.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;

pub(crate) struct Gateway {
    pub(crate) notifier: Arc<dyn Notifier>,
    /// One stream for the friends of all sockets.
    pub(crate) watcher: Option<Watcher>,
    /// The notifier as its concrete type, for its counters.
    presence: Option<Arc<HttpNotifier>>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) ping_interval: Duration,
    /// Random text of this process. With a counter behind it, it is an id that no connection ever
    /// had.
    instance: String,
    connections: AtomicU64,
}

impl Gateway {
    pub(crate) fn new(
        presence: Option<Arc<HttpNotifier>>,
        watcher: Option<Watcher>,
        sockets: Arc<Sockets>,
        ping_interval: Duration,
    ) -> Arc<Self> {
        let instance = format!("{:016x}", rand::random::<u64>());
        let notifier = Arc::new(presence.clone());
        Arc::new(Self {
            notifier,
            watcher,
            presence,
            sockets,
            ping_interval,
            instance,
            connections: AtomicU64::new(0),
        })
    }

    fn new_connection(&self) -> Result<ConnectionId, presence_client::InvalidId> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionId::parse(&format!("{}-{number}", self.instance))
    }
}

/// Accepts and serves connections until the future is dropped.
pub(crate) async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    let routes = Router::new()
        .route("/ws", get(open))
        .route("/stats", get(stats))
        .merge(page::routes());
    let service = TowerToHyperService::new(routes.with_state(gateway));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            _ = timeout(HANDSHAKE_TIMEOUT, connection.with_upgrades()).await;
            drop(handshake);
        });
    }
}

#[derive(Deserialize)]
struct OpenQuery {
    player: String,
}

async fn open(
    Shared(gateway): Shared<Arc<Gateway>>,
    Query(query): Query<OpenQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(slot) = gateway.sockets.reserve() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "5")],
            "too many sockets",
        )
            .into_response();
    };
    match (PlayerId::parse(&query.player), gateway.new_connection()) {
        (Ok(player), Ok(connection)) => {
            let upgrade = upgrade
                .read_buffer_size(MAX_MESSAGE_BYTES)
                .max_message_size(MAX_MESSAGE_BYTES);
            // Lets support find out which of the player's sockets this is.
            let id = [("x-connection-id", connection.to_string())];
            let serve_socket = move |socket| async move {
                serve(gateway, player, connection, socket).await;
                drop(slot);
            };
            (id, upgrade.on_upgrade(serve_socket)).into_response()
        }
        (Err(error), _) | (_, Err(error)) => {
            (StatusCode::BAD_REQUEST, error.to_string()).into_response()
        }
    }
}

/// The number of open sockets, and the notifier's counters.
async fn stats(Shared(gateway): Shared<Arc<Gateway>>) -> Json<serde_json::Value> {
    let sockets = gateway.sockets.count();
    let presence = gateway
        .presence
        .as_ref()
        .map(|presence| presence.stats())
        .map(|stats| {
            json!({
                "calls": stats.calls,
                "failures": stats.failures,
                "retries": stats.retries,
                "heartbeats": stats.heartbeats,
                "restored": stats.restored,
                "closed": stats.closed,
                "dropped": stats.dropped,
                "queue_length": stats.queue_length,
            })
        });
    Json(json!({"sockets": sockets, "presence": presence}))
}
