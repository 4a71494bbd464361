//! The network between one gateway and the servers: it delays, loses, doubles and holds back what passes, as it is told,
//! and notes what reached a server, and what the server said to it.

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
use tokio::{net::TcpListener, time::sleep};

use super::{
    history::{Call, LeaseCall, Millis, Notes, Outcome, State, Verb, now, player_number},
    plan::{SERVERS, Weather},
};

/// No body of a gateway is longer.
const MAX_BODY: usize = 2 << 20;

/// A server that has not answered for so long is left out for [`EJECTION`], as a load balancer does.
const PATIENCE: Duration = Duration::from_secs(1);
const EJECTION: Millis = 1_500;

/// A frozen server may answer long after anybody cares; its answer is still noted.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

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
    /// Until when a server is left out.
    ejected_until: [AtomicU64; SERVERS],
    http: reqwest::Client,
    chance: Mutex<(StdRng, Weather)>,
    notes: Notes,
}

/// A call of the gateway, as it is forwarded.
#[derive(Clone)]
struct Message {
    path: String,
    body: Bytes,
    asked: Millis,
}

/// What a server said.
struct Answer {
    status: StatusCode,
    retry_after: Option<header::HeaderValue>,
    body: Bytes,
}

/// What happens to one call.
enum Fate {
    Passes,
    Delayed(Duration),
    Lost,
    Unanswered,
    Doubled,
    HeldBack(Duration),
}

impl Proxy {
    /// Starts it, on a free port, in fair weather.
    ///
    /// # Panics
    /// Where there is no free port.
    pub(super) async fn start(gateway: usize, servers: [String; SERVERS], seed: u64, notes: Notes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("the port's number"));
        let chance = Mutex::new((StdRng::seed_from_u64(seed), Weather::default()));
        let (http, ejected_until) = (reqwest::Client::new(), Default::default());
        let inner = Arc::new(Inner { gateway, servers, ejected_until, http, chance, notes });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&inner));
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// Where the gateway finds the service.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// From now on, so much goes wrong.
    pub(super) fn set_weather(&self, weather: Weather) {
        self.inner.chance.lock().unwrap_or_else(PoisonError::into_inner).1 = weather;
    }
}

async fn pass(Shared(inner): Shared<Arc<Inner>>, request: Request) -> Response {
    let (asked, path) = (now(), request.uri().path().to_owned());
    let Ok(body) = to_bytes(request.into_body(), MAX_BODY).await else { return broken() };
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
            let _ = forward(first).await; // the gateway never hears of it
            broken()
        }
        Fate::Doubled => tokio::join!(forward(first), forward(1 - first)).0,
        Fate::HeldBack(time) => {
            let (inner, copy) = (Arc::clone(&inner), message.clone());
            tokio::spawn(async move {
                sleep(time).await;
                inner.forward(&copy, 1 - first).await
            });
            forward(first).await
        }
    }
}

impl Inner {
    /// What happens to a call, and the server that gets it first.
    fn draw(&self, message: &Message) -> (Fate, usize) {
        let (rng, weather) = &mut *self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let server = rng.random_range(0..SERVERS);
        let mut chance = rng.random_range(0..1_000);
        let mut is = |share| {
            let is_so = chance < share;
            chance = if is_so { u32::MAX } else { chance.saturating_sub(share) };
            is_so
        };
        let fate = if is(weather.delayed) {
            Fate::Delayed(Duration::from_millis(rng.random_range(50..1_500)))
        } else if is(weather.lost) {
            Fate::Lost
        } else if is(weather.unanswered) {
            Fate::Unanswered
        } else if is(weather.doubled) {
            Fate::Doubled
        // Of two states the later to arrive counts, whoever sent it: nothing makes a late copy of one harmless.
        } else if is(weather.held_back) && message.path != "/presence/state" {
            Fate::HeldBack(Duration::from_millis(rng.random_range(200..5_000)))
        } else {
            Fate::Passes
        };
        (fate, server)
    }

    /// Sends a call to a server, to the other one where that cannot be reached; and goes on waiting for its answer after
    /// the gateway has been told that there is none.
    async fn forward(self: &Arc<Self>, message: &Message, server: usize) -> Response {
        let server = if self.ejected_until[server].load(Ordering::Relaxed) > now() { 1 - server } else { server };
        let (inner, message) = (Arc::clone(self), message.clone());
        let exchange = tokio::spawn(async move {
            match inner.exchange(&message, server).await {
                Err(error) if error.is_connect() => inner.exchange(&message, 1 - server).await,
                result => result,
            }
        });
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(Ok(answer))) => answer.into_response(),
            Ok(_) => empty(StatusCode::BAD_GATEWAY),
            Err(_) => {
                self.ejected_until[server].store(now() + EJECTION, Ordering::Relaxed);
                empty(StatusCode::GATEWAY_TIMEOUT)
            }
        }
    }

    async fn exchange(&self, message: &Message, server: usize) -> reqwest::Result<Answer> {
        let request = self.http.post(format!("http://{}{}", self.servers[server], message.path));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(message.body.clone());
        let sent = now();
        let answer = async {
            let response = request.timeout(ANSWER_LIMIT).send().await?;
            let (status, retry_after) = (response.status(), response.headers().get(header::RETRY_AFTER).cloned());
            Ok(Answer { status, retry_after, body: response.bytes().await? })
        };
        let answer: reqwest::Result<Answer> = answer.await;
        if !answer.as_ref().is_err_and(reqwest::Error::is_connect) {
            let calls = self.calls(message, server, sent, answer.as_ref().ok());
            let lease_call = self.lease_call(message, server, sent, answer.as_ref().ok());
            let mut history = self.notes.lock();
            history.calls.extend(calls);
            history.lease_calls.extend(lease_call);
        }
        answer
    }

    /// What a call and its answer say, entry by entry.
    fn calls(&self, message: &Message, server: usize, sent: Millis, answer: Option<&Answer>) -> Vec<Call> {
        let body: Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let said: Value = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default();
        let status = answer.map(|answer| answer.status.as_u16());
        let listed = |member: &str| said[member].as_array().into_iter().flatten().map(names).collect::<HashSet<_>>();
        let (closed, failed) = (listed("closed"), listed("failed"));
        let entries = body["connections"].as_array().map_or(std::slice::from_ref(&body), Vec::as_slice);
        let seen = said["version"].as_u64().zip(serde_json::from_value::<State>(said["state"].clone()).ok());
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

    /// What a call about the gateway's own lease and its response say; `None` for calls about connections.
    fn lease_call(&self, message: &Message, server: usize, sent: Millis, answer: Option<&Answer>) -> Option<LeaseCall> {
        if message.path != "/presence/gateway" {
            return None;
        }
        let body: Value = serde_json::from_slice(&message.body).ok()?;
        let answer = answer.filter(|answer| answer.status == StatusCode::OK);
        let said: Value = answer.and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or_default();
        Some(LeaseCall {
            gateway: self.gateway,
            id: body["gateway_id"].as_str()?.into(),
            is_leaving: body.get("leaving").is_some(),
            server,
            sent,
            ended: now(),
            status: serde_json::from_value(said["status"].clone()).ok(),
        })
    }
}

impl Answer {
    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status).header(header::CONTENT_TYPE, "application/json");
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
    let text = |member: &str| entry[member].as_str().unwrap_or_default().to_owned();
    (text("player_id"), text("connection_id"))
}

fn empty(status: StatusCode) -> Response {
    Response::builder().status(status).body(Body::empty()).expect("a response")
}

/// A response that breaks off before its first byte, as a socket does.
fn broken() -> Response {
    let error = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Response::new(Body::from_stream(stream::once(async { Err::<Bytes, _>(error) })))
}
