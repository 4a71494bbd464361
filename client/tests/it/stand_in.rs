//! A stand-in for the service, with its state in memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt as _,
};
use presence_client::{ConnectionId, Endpoint, PlayerId};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

/// Time limit for everything that a test awaits.
const AWAIT_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct StandIn {
    port: u16,
    inner: Arc<Inner>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct Inner {
    state: Mutex<ServiceState>,
    changes: watch::Sender<()>,
}

/// The state of the service, and the calls that it received.
#[derive(Default)]
pub(crate) struct ServiceState {
    /// `player/connection`
    pub(crate) leases: BTreeSet<String>,
    pub(crate) closed: BTreeSet<String>,
    pub(crate) states: BTreeMap<String, String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) tcp_connections: usize,
    /// Responds to a call instead of the service, if it returns a response.
    pub(crate) instead: Option<Instead>,
    /// Players whose store node does not reply.
    pub(crate) failing: BTreeSet<String>,
    /// Added to the response to one connect.
    pub(crate) heartbeat_interval_ms: Option<u64>,
    /// Gateways with a lease. `None`: a service without gateway leases, which responds with 404.
    pub(crate) gateways: Option<Gateways>,
    /// Calls about gateway leases. `calls` does not contain them.
    pub(crate) gateway_calls: Vec<Call>,
    /// Calls wait for this if it is set.
    pub(crate) stall: Option<Arc<Notify>>,
}

/// Gateways that have a lease, and the connections that belong to each.
#[derive(Default)]
pub(crate) struct Gateways {
    pub(crate) known: BTreeSet<String>,
    pub(crate) owned: BTreeMap<String, BTreeSet<String>>,
}

type Instead = Box<dyn FnMut(&Call) -> Option<Response> + Send>;

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) authorization: Option<String>,
}

impl Call {
    /// `player/connection` of each entry.
    pub(crate) fn entries(&self) -> Vec<String> {
        match self.body["connections"].as_array() {
            Some(entries) => entries.iter().map(name).collect(),
            None => vec![name(&self.body)],
        }
    }
}

impl StandIn {
    pub(crate) async fn start() -> Self {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            changes: watch::Sender::new(()),
        });
        let mut stand_in = Self {
            port: 0,
            inner,
            running: None,
        };
        stand_in.resume().await;
        stand_in
    }

    /// Closes the port and all connections.
    pub(crate) async fn stop(&mut self) {
        if let Some((stop, server)) = self.running.take() {
            let _ = stop.send(());
            server.await.unwrap();
        }
    }

    /// Opens the port again.
    pub(crate) async fn resume(&mut self) {
        let tcp_listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = tcp_listener.local_addr().unwrap().port();
        let inner = Arc::clone(&self.inner);
        let listener = tcp_listener.tap_io(move |_| inner.state().tcp_connections += 1);
        let router = Router::new()
            .route("/presence/{call}", post(respond).get(respond_to_get))
            .route("/prefix/presence/{player}", get(respond_to_get))
            .with_state(Arc::clone(&self.inner));
        let (stop, stopped) = oneshot::channel::<()>();
        let server =
            axum::serve(listener, router).with_graceful_shutdown(async { _ = stopped.await });
        self.running = Some((stop, tokio::spawn(async { server.await.unwrap() })));
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.url()).unwrap()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, ServiceState> {
        self.inner.state()
    }

    /// Waits until the state of the service meets a condition.
    pub(crate) async fn until(&self, mut is_met: impl FnMut(&ServiceState) -> bool) {
        let mut changes = self.inner.changes.subscribe();
        let enough = async {
            while !is_met(&self.state()) {
                changes.changed().await.unwrap();
            }
        };
        let in_time = tokio::time::timeout(AWAIT_TIMEOUT, enough).await.is_ok();
        assert!(
            in_time,
            "timed out; the last calls: {:#?}",
            self.state().calls.iter().rev().take(5).collect::<Vec<_>>()
        );
    }

    pub(crate) fn respond_instead(
        &self,
        instead: impl FnMut(&Call) -> Option<Response> + Send + 'static,
    ) {
        self.state().instead = Some(Box::new(instead));
    }

    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.state()
            .calls
            .iter()
            .filter(|call| call.path == path)
            .cloned()
            .collect()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, ServiceState> {
        self.state.lock().unwrap()
    }
}

/// Serves routes on a free port until the test ends. Returns the URL, without a path.
pub(crate) async fn serve(routes: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await.unwrap() });
    url
}

pub(crate) fn player(number: usize) -> PlayerId {
    PlayerId::parse(&format!("p{number}")).unwrap()
}

pub(crate) fn connection(number: usize) -> ConnectionId {
    ConnectionId::parse(&format!("c{number}")).unwrap()
}

pub(crate) fn problem(status: u16, slug: &str, field: Option<&str>) -> Response {
    let body = json!({
        "type": format!("urn:presence:{slug}"), "title": slug, "status": status, "detail": "requested by the test",
        "field": field,
    });
    let status = StatusCode::from_u16(status).unwrap();
    (
        status,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}

async fn respond_to_get(
    inner: Shared<Arc<Inner>>,
    Path(player): Path<String>,
    headers: HeaderMap,
) -> Response {
    respond(
        inner,
        Path("get".into()),
        headers,
        json!({ "player_id": player }).to_string(),
    )
    .await
}

async fn respond(
    Shared(inner): Shared<Arc<Inner>>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let stall = inner.state().stall.clone();
    if let Some(stall) = stall {
        stall.notified().await;
    }
    let authorization = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    let call = Call {
        at: Instant::now(),
        path,
        body: serde_json::from_str(&body).unwrap(),
        authorization,
    };
    let response = inner.state().respond(&call);
    inner.changes.send_replace(());
    response
}

impl ServiceState {
    fn respond(&mut self, call: &Call) -> Response {
        if call.path == "gateway" {
            self.gateway_calls.push(call.clone());
            return self.respond_to_gateway(call);
        }
        self.calls.push(call.clone());
        if let Some(response) = self.instead.as_mut().and_then(|instead| instead(call)) {
            return response;
        }
        if let Err(refusal) = self.take_gateway(call) {
            return *refusal;
        }
        match call.path.as_str() {
            "get" => json_response(self.presence(text(&call.body["player_id"]))),
            "state" => self.set_state(call),
            "friends" => {
                let ids = call.body["player_ids"].as_array().unwrap();
                let presences: Vec<_> = ids.iter().map(|id| self.presence(text(id))).collect();
                json_response(json!({ "as_of": 1, "presences": presences }))
            }
            _ if call.body["connections"].is_array() => self.batch(call),
            _ => self.one(call),
        }
    }

    fn respond_to_gateway(&mut self, call: &Call) -> Response {
        let Some(gateways) = &mut self.gateways else {
            return problem(404, "not-found", None);
        };
        let id = text(&call.body["gateway_id"]).to_owned();
        if call.body["leaving"].is_null() {
            let status = if gateways.known.insert(id.clone()) {
                "new"
            } else {
                "alive"
            };
            let body = json!({"gateway_id": id, "status": status, "ttl_ms": 300, "heartbeat_interval_ms": 100});
            return json_response(body);
        }
        gateways.known.remove(&id);
        let owned = gateways.owned.remove(&id).unwrap_or_default();
        let ended = owned
            .iter()
            .filter(|lease| self.leases.remove(*lease))
            .count();
        json_response(json!({"gateway_id": id, "status": "left", "connections": ended}))
    }

    /// Records the gateway that a connect or heartbeat names. A service without gateway leases
    /// refuses it.
    fn take_gateway(&mut self, call: &Call) -> Result<(), Box<Response>> {
        let Some(id) = call.body["gateway_id"].as_str() else {
            return Ok(());
        };
        let Some(gateways) = &mut self.gateways else {
            return Err(Box::new(problem(
                400,
                "invalid-request",
                Some("gateway_id"),
            )));
        };
        gateways
            .owned
            .entry(id.to_owned())
            .or_default()
            .extend(call.entries());
        Ok(())
    }

    fn batch(&mut self, call: &Call) -> Response {
        let mut restored = vec![];
        let mut closed = vec![];
        let mut failed = vec![];
        for entry in call.body["connections"].as_array().unwrap() {
            if self.failing.contains(text(&entry["player_id"])) {
                let mut entry = entry.clone();
                entry["error"] = json!("store-unavailable");
                failed.push(entry);
            } else {
                let is_known = self.leases.contains(&name(entry));
                match self.apply(&call.path, name(entry)) {
                    false => closed.push(entry.clone()),
                    true if call.path == "heartbeat" && !is_known => restored.push(entry.clone()),
                    true => {}
                }
            }
        }
        let accepted = call.entries().len() - closed.len() - failed.len();
        json_response(
            json!({ "accepted": accepted, "restored": restored, "closed": closed, "failed": failed }),
        )
    }

    fn one(&mut self, call: &Call) -> Response {
        let player = text(&call.body["player_id"]).to_owned();
        if self.failing.contains(&player) {
            return problem(503, "store-unavailable", None);
        }
        if !self.apply(&call.path, name(&call.body)) {
            return problem(410, "connection-closed", None);
        }
        let mut presence = self.presence(&player);
        if let ("connect", Some(interval)) = (call.path.as_str(), self.heartbeat_interval_ms) {
            presence["heartbeat_interval_ms"] = json!(interval);
            presence["ttl_ms"] = json!(3 * interval);
        }
        json_response(presence)
    }

    fn apply(&mut self, path: &str, name: String) -> bool {
        if path == "disconnect" {
            self.leases.remove(&name);
            self.closed.insert(name);
            return true;
        }
        let is_open = !self.closed.contains(&name);
        if is_open {
            self.leases.insert(name);
        }
        is_open
    }

    fn set_state(&mut self, call: &Call) -> Response {
        let player = text(&call.body["player_id"]).to_owned();
        let state = text(&call.body["state"]).to_owned();
        if call.body["state"].is_null() {
            return json_response(self.presence(&player)); // an activity
        }
        let of_player = format!("{player}/");
        if state == "OFFLINE" {
            let (gone, left) = std::mem::take(&mut self.leases)
                .into_iter()
                .partition(|l| l.starts_with(&of_player));
            self.leases = left;
            self.closed.append(&mut { gone });
        } else if state.starts_with("IN_")
            && !self
                .leases
                .iter()
                .any(|lease| lease.starts_with(&of_player))
        {
            return problem(409, "transition-rejected", None);
        }
        self.states.insert(player.clone(), state);
        json_response(self.presence(&player))
    }

    fn presence(&self, player: &str) -> Value {
        let count = self
            .leases
            .iter()
            .filter(|lease| lease.starts_with(&format!("{player}/")))
            .count();
        let state = self
            .states
            .get(player)
            .map_or(if count > 0 { "ONLINE" } else { "OFFLINE" }, String::as_str);
        json!({ "player_id": player, "state": state, "last_seen": 7, "connection_count": count, "version": 9 })
    }
}

fn json_response(body: Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn name(entry: &Value) -> String {
    format!(
        "{}/{}",
        text(&entry["player_id"]),
        text(&entry["connection_id"])
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
