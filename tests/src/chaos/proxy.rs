//! Network between one gateway and the servers: it delays, loses, doubles and holds back calls, and
//! records which calls reached a server and how the server responded.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State as Shared},
    http::{StatusCode, header},
    response::Response,
};
use futures_util::stream;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    history::{Call, LeaseCall, Millis, Outcome, Recorder, State, Verb, now, player_number},
    plan::{NetworkFaults, SERVERS},
};
use crate::serve;

/// The longest body of a gateway's call, in bytes.
const MAX_BODY: usize = 2 << 20;

/// A server that has not responded for this time is ejected for [`EJECTION_PERIOD`], as by a load
/// balancer.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
const EJECTION_PERIOD: Millis = 1_500;

/// Time limit for recording a response. A frozen server may respond long after the gateway gave up.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// The network of one gateway.
#[derive(Debug)]
pub(super) struct Proxy {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    gateway: usize,
    servers: [String; SERVERS],
    /// The end of each server's ejection.
    ejected_until: [AtomicU64; SERVERS],
    http: reqwest::Client,
    chance: Mutex<(StdRng, NetworkFaults)>,
    recorder: Recorder,
}

/// A call of the gateway, as it is forwarded.
#[derive(Clone)]
struct Message {
    path: String,
    body: Bytes,
    asked: Millis,
}

/// The response of a server.
struct Reply {
    status: StatusCode,
    retry_after: Option<header::HeaderValue>,
    body: Bytes,
}

/// The fate of one call.
enum Fate {
    Passes,
    Delayed(Duration),
    Lost,
    Unanswered,
    Doubled,
    HeldBack(Duration),
}

impl Proxy {
    /// Starts a proxy on a free port. It passes all calls on.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub(super) async fn start(
        gateway: usize,
        servers: [String; SERVERS],
        seed: u64,
        recorder: Recorder,
    ) -> Self {
        let chance = Mutex::new((StdRng::seed_from_u64(seed), NetworkFaults::default()));
        let http = reqwest::Client::new();
        let ejected_until = Default::default();
        let inner = Arc::new(Inner {
            gateway,
            servers,
            ejected_until,
            http,
            chance,
            recorder,
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        let url = serve(router).await;
        Self { url, inner }
    }

    /// The URL of the service for the gateway.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sets the share of calls that are affected from now on.
    pub(super) fn set_network_faults(&self, network: NetworkFaults) {
        self.inner
            .chance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .1 = network;
    }
}

async fn pass(Shared(inner): Shared<Arc<Inner>>, request: Request) -> Response {
    let asked = now();
    let path = request.uri().path().to_owned();
    let Ok(body) = to_bytes(request.into_body(), MAX_BODY).await else {
        return broken();
    };
    let message = Message { path, body, asked };
    let (fate, first) = inner.draw(&message);
    let forward = |server| inner.forward(&message, server);
    match fate {
        Fate::Passes => forward(first).await,
        Fate::Delayed(time) => {
            sleep(time).await;
            forward(first).await
        }
        Fate::Lost => broken(),
        Fate::Unanswered => {
            let _ = forward(first).await; // the gateway does not receive it
            broken()
        }
        Fate::Doubled => tokio::join!(forward(first), forward(1 - first)).0,
        Fate::HeldBack(time) => {
            let inner = Arc::clone(&inner);
            let copy = message.clone();
            tokio::spawn(async move {
                sleep(time).await;
                inner.forward(&copy, 1 - first).await
            });
            forward(first).await
        }
    }
}

impl Inner {
    /// Draws the fate of a call, and the server that receives it first.
    fn draw(&self, message: &Message) -> (Fate, usize) {
        let (rng, network) = &mut *self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let server = rng.random_range(0..SERVERS);
        let mut chance = rng.random_range(0..1_000);
        let mut is = |share| {
            let is_so = chance < share;
            chance = if is_so {
                u32::MAX
            } else {
                chance.saturating_sub(share)
            };
            is_so
        };
        let fate = if is(network.delayed) {
            Fate::Delayed(Duration::from_millis(rng.random_range(50..1_500)))
        } else if is(network.lost) {
            Fate::Lost
        } else if is(network.unanswered) {
            Fate::Unanswered
        } else if is(network.doubled) {
            Fate::Doubled
        // The last state to arrive counts, so a late copy of a state would override a newer one.
        } else if is(network.held_back) && message.path != "/presence/state" {
            Fate::HeldBack(Duration::from_millis(rng.random_range(200..5_000)))
        } else {
            Fate::Passes
        };
        (fate, server)
    }

    /// Sends a call to a server, or to the other one if that cannot be reached. Waits for the
    /// response even after the gateway was sent an error.
    async fn forward(self: &Arc<Self>, message: &Message, server: usize) -> Response {
        let server = if self.ejected_until[server].load(Ordering::Relaxed) > now() {
            1 - server
        } else {
            server
        };
        let inner = Arc::clone(self);
        let message = message.clone();
        let exchange = tokio::spawn(async move {
            match inner.exchange(&message, server).await {
                Err(error) if error.is_connect() => inner.exchange(&message, 1 - server).await,
                result => result,
            }
        });
        match tokio::time::timeout(CALL_TIMEOUT, exchange).await {
            Ok(Ok(Ok(reply))) => reply.into_response(),
            Ok(_) => empty(StatusCode::BAD_GATEWAY),
            Err(_) => {
                self.ejected_until[server].store(now() + EJECTION_PERIOD, Ordering::Relaxed);
                empty(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }

    async fn exchange(&self, message: &Message, server: usize) -> reqwest::Result<Reply> {
        let request = self
            .http
            .post(format!("http://{}{}", self.servers[server], message.path))
            .header(header::CONTENT_TYPE, "application/json")
            .body(message.body.clone());
        let sent = now();
        let exchange = async {
            let response = request.timeout(RESPONSE_TIMEOUT).send().await?;
            let status = response.status();
            let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
            Ok(Reply {
                status,
                retry_after,
                body: response.bytes().await?,
            })
        };
        let reply: reqwest::Result<Reply> = exchange.await;
        if !reply.as_ref().is_err_and(reqwest::Error::is_connect) {
            let calls = self.calls(message, server, sent, reply.as_ref().ok());
            let lease_call = self.lease_call(message, server, sent, reply.as_ref().ok());
            let mut history = self.recorder.lock();
            history.calls.extend(calls);
            history.lease_calls.extend(lease_call);
        }
        reply
    }

    /// The entries of a call, with the outcomes in its response.
    fn calls(
        &self,
        message: &Message,
        server: usize,
        sent: Millis,
        reply: Option<&Reply>,
    ) -> Vec<Call> {
        let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let replied: Value = reply
            .and_then(|reply| serde_json::from_slice(&reply.body).ok())
            .unwrap_or_default();
        let status = reply.map(|reply| reply.status.as_u16());
        let get_listed = |member: &str| {
            replied[member]
                .as_array()
                .into_iter()
                .flatten()
                .map(names)
                .collect::<HashSet<_>>()
        };
        let closed = get_listed("closed");
        let failed = get_listed("failed");
        let entries = body["connections"]
            .as_array()
            .map_or(std::slice::from_ref(&body), Vec::as_slice);
        let seen = replied["version"]
            .as_u64()
            .zip(serde_json::from_value::<State>(replied["state"].clone()).ok());
        let owner: Option<Arc<str>> = body["gateway_id"].as_str().map(Into::into);
        let calls = entries.iter().filter_map(|entry| {
            let verb = verb(&message.path, &body)?;
            let outcome = match status {
                Some(200) if closed.contains(&names(entry)) => Outcome::Closed,
                Some(200) if failed.contains(&names(entry)) => Outcome::Unknown,
                Some(200) => Outcome::Accepted,
                Some(410) => Outcome::Closed,
                Some(409) => Outcome::Rejected,
                _ => Outcome::Unknown,
            };
            Some(Call {
                player: player_number(entry["player_id"].as_str()?)?,
                connection: entry["connection_id"].as_str().map(Into::into),
                verb,
                gateway: self.gateway,
                owner: owner.clone(),
                server,
                asked: message.asked,
                sent,
                ended: now(),
                outcome,
                seen: seen.map(|(version, state)| (state, version)),
            })
        });
        calls.collect()
    }

    /// A call about the gateway's own lease, with the status in its response; `None` for calls
    /// about connections.
    fn lease_call(
        &self,
        message: &Message,
        server: usize,
        sent: Millis,
        reply: Option<&Reply>,
    ) -> Option<LeaseCall> {
        if message.path != "/presence/gateway" {
            return None;
        }
        let body: Value = serde_json::from_slice(&message.body).ok()?;
        let reply = reply.filter(|reply| reply.status == StatusCode::OK);
        let replied: Value = reply
            .and_then(|reply| serde_json::from_slice(&reply.body).ok())
            .unwrap_or_default();
        Some(LeaseCall {
            gateway: self.gateway,
            id: body["gateway_id"].as_str()?.into(),
            is_leaving: body.get("leaving").is_some(),
            server,
            sent,
            ended: now(),
            status: serde_json::from_value(replied["status"].clone()).ok(),
        })
    }
}

impl Reply {
    fn into_response(self) -> Response {
        let mut response = Response::builder()
            .status(self.status)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(retry_after) = self.retry_after {
            response = response.header(header::RETRY_AFTER, retry_after);
        }
        response.body(Body::from(self.body)).expect("a response")
    }
}

fn verb(path: &str, body: &Value) -> Option<Verb> {
    Some(match path {
        "/presence/connect" => Verb::Connect,
        "/presence/heartbeat" => Verb::Heartbeat,
        "/presence/disconnect" if body["reason"] == "lost" => Verb::Lost,
        "/presence/disconnect" if body["reason"] == "moving" => Verb::Moving,
        "/presence/disconnect" => Verb::Quit,
        "/presence/state" => Verb::SetState(serde_json::from_value(body["state"].clone()).ok()?),
        _ => return None,
    })
}

fn names(entry: &Value) -> (String, String) {
    let get_text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    (get_text("player_id"), get_text("connection_id"))
}

fn empty(status: StatusCode) -> Response {
    Response::builder()
        .status(status)
        .body(Body::empty())
        .expect("a response")
}

/// A response that ends before its first byte, like a broken socket.
fn broken() -> Response {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Response::new(Body::from_stream(stream::once(async {
        Err::<Bytes, _>(error)
    })))
}
