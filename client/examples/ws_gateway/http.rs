//! Connections until they are WebSockets: accepted, limited in number and time.

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

/// How long a connection has to become a WebSocket, or to get its answer, whatever it sends and reads.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many connections may be in that time; others wait in the listener's queue.
const MAX_HANDSHAKES: usize = 1_000;

/// The pause when no connection can be accepted: there are too many open files, for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A player has nothing longer to say, in bytes.
const MAX_MESSAGE: usize = 4 * 1024;

pub(crate) struct Gateway {
    pub(crate) notifier: Arc<dyn Notifier>,
    /// One stream for the friends of all sockets.
    pub(crate) watcher: Option<Watcher>,
    /// For its counters only.
    presence: Option<Arc<HttpNotifier>>,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) ping_interval: Duration,
    /// With a counter behind it, an id that no connection ever had.
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
        Arc::new(Self { notifier, watcher, presence, sockets, ping_interval, instance, connections: AtomicU64::new(0) })
    }

    fn new_connection(&self) -> Result<ConnectionId, presence_client::InvalidId> {
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionId::parse(&format!("{}-{number}", self.instance))
    }
}

/// Serves connections for as long as it is polled.
pub(crate) async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    let router = Router::new().route("/ws", get(open)).route("/stats", get(stats));
    let router = router.merge(page::routes()).with_state(gateway);
    let service = TowerToHyperService::new(router);
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
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            _ = timeout(HANDSHAKE_TIMEOUT, connection.with_upgrades()).await;
            drop(handshake);
        });
    }
}

#[derive(Deserialize)]
struct Who {
    player: String,
}

async fn open(Shared(gateway): Shared<Arc<Gateway>>, Query(who): Query<Who>, upgrade: WebSocketUpgrade) -> Response {
    let Some(slot) = gateway.sockets.reserve() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "too many sockets").into_response();
    };
    match (PlayerId::parse(&who.player), gateway.new_connection()) {
        (Ok(player), Ok(connection)) => {
            let upgrade = upgrade.read_buffer_size(MAX_MESSAGE).max_message_size(MAX_MESSAGE);
            let id = [("x-connection-id", connection.to_string())]; // for support: which of the player's sockets is it?
            let serve = move |socket| async move {
                serve(gateway, player, connection, socket).await;
                drop(slot);
            };
            (id, upgrade.on_upgrade(serve)).into_response()
        }
        (Err(error), _) | (_, Err(error)) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// The open sockets, and the notifier's counters.
async fn stats(Shared(gateway): Shared<Arc<Gateway>>) -> Json<serde_json::Value> {
    let sockets = gateway.sockets.count();
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
