//! The server's binary, over real sockets.

use std::{
    collections::{HashMap, HashSet},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use presence_tests::{NatsServer, RedisServer, STORE_TIMEOUT, Server, send};
use serde_json::{Value, json};

const STREAM: &str = "PRESENCE_EVENTS";

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
}

impl Fixture {
    async fn new() -> Self {
        Self {
            redis: RedisServer::start().await,
            nats: NatsServer::start().await,
        }
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        let redis = self.redis.url();
        let nats = self.nats.url();
        let mut variables = vec![
            ("PRESENCE_REDIS_URL", &*redis),
            ("PRESENCE_NATS_URL", &*nats),
            STORE_TIMEOUT,
        ];
        variables.extend(more);
        Server::start(&variables)
    }

    async fn events(&self) -> Vec<Value> {
        let messages = self.nats.messages(STREAM).await;
        messages
            .iter()
            .map(|message| serde_json::from_slice(&message.payload).unwrap())
            .collect()
    }

    /// Waits until the stream holds `count` events; the test's own time limit is the only one.
    async fn await_events(&self, count: usize) -> Vec<Value> {
        loop {
            let events = self.events().await;
            if events.len() >= count {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn one(player: &str, connection: &str) -> Value {
    json!({"player_id": player, "connection_id": connection})
}

#[tokio::test]
async fn the_server_serves_the_life_cycle_and_its_events() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let connected = server.post("/presence/connect", one("alice", "c1")).await;
    assert_eq!(
        (connected.status, &connected.body["heartbeat_interval_ms"]),
        (200, &json!(15_000))
    );
    server
        .post(
            "/presence/heartbeat",
            json!({"connections": [one("alice", "c1"), one("bob", "c2")]}),
        )
        .await;
    server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "state": "IN_QUEUE"}),
        )
        .await;
    let friends = server
        .post(
            "/presence/friends",
            json!({"player_ids": ["bob", "alice", "eve"]}),
        )
        .await;
    let states: Vec<_> = friends.body["presences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|friend| &friend["state"])
        .collect();
    assert_eq!(states, ["ONLINE", "IN_QUEUE", "OFFLINE"]);
    server
        .post("/presence/disconnect", one("alice", "c1"))
        .await;
    assert_eq!(server.get("/presence/alice").await.body["state"], "OFFLINE");

    let reasons: Vec<_> = fixture
        .await_events(4)
        .await
        .iter()
        .map(|event| event["reason"].clone())
        .collect();
    assert_eq!(reasons, ["connect", "restore", "set_state", "disconnect"]);
}

#[tokio::test]
async fn checks_come_in_the_order_404_405_401_413_415_400() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_AUTH_TOKENS", "old, new")]);
    let client = reqwest::Client::new();
    let get_slug = |response: &Value| {
        response["type"]
            .as_str()
            .unwrap_or_default()
            .replace("urn:presence:", "")
    };
    let large = "x".repeat(1024 * 1024 + 1);
    for (method, path, token, content_type, body, status, expected) in [
        (
            "PUT",
            "/nothing",
            "",
            "text/plain",
            &*large,
            404,
            "not-found",
        ),
        (
            "PUT",
            "/presence/connect",
            "",
            "text/plain",
            &*large,
            405,
            "method-not-allowed",
        ),
        (
            "POST",
            "/presence/alice",
            "new",
            "text/plain",
            &*large,
            405,
            "method-not-allowed",
        ),
        (
            "POST",
            "/presence/connect",
            "",
            "text/plain",
            &*large,
            401,
            "unauthorized",
        ),
        (
            "POST",
            "/presence/connect",
            "newer",
            "text/plain",
            &*large,
            401,
            "unauthorized",
        ),
        (
            "POST",
            "/presence/connect",
            "new",
            "text/plain",
            &*large,
            413,
            "too-large",
        ),
        (
            "POST",
            "/presence/connect",
            "old",
            "text/plain",
            "{}",
            415,
            "unsupported-media-type",
        ),
        (
            "POST",
            "/presence/connect",
            "old",
            "application/json",
            "{}",
            400,
            "invalid-request",
        ),
    ] {
        let request = client
            .request(method.parse().unwrap(), server.url(path))
            .header("content-type", content_type);
        let response = send(request.bearer_auth(token).body(body.to_owned())).await;
        assert_eq!(
            (response.status, &*get_slug(&response.body)),
            (status, expected),
            "{method} {path} {token}"
        );
        assert_eq!(response.headers["content-type"], "application/problem+json");
        assert_eq!(response.body["status"], status);
        assert_eq!(response.headers.contains_key("allow"), status == 405);
    }
}

#[tokio::test]
async fn health_needs_no_token_and_everything_else_does() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_AUTH_TOKENS", "secret")]);
    assert_eq!(server.get("/health/live").await.status, 200);
    assert_eq!(server.get("/health/ready").await.status, 200);
    for path in ["/metrics", "/presence/alice", "/presence/friends"] {
        assert_eq!(server.get(path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn get_on_the_path_of_a_call_reads_the_player_of_that_name() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    server.post("/presence/connect", one("friends", "c1")).await;
    let response = server.get("/presence/friends").await;
    assert_eq!(
        (
            response.body["player_id"].as_str(),
            response.body["state"].as_str()
        ),
        (Some("friends"), Some("ONLINE"))
    );
}

#[tokio::test]
async fn an_open_server_on_every_address_refuses_to_start() {
    let fixture = Fixture::new().await;
    let output = Command::new(presence_tests::binary("presence-server"))
        .env_clear()
        .env("PRESENCE_REDIS_URL", fixture.redis.url())
        .env("PRESENCE_BIND", "0.0.0.0:0")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), error.lines().count()),
        (Some(2), 1),
        "{error}"
    );
    assert!(error.starts_with("PRESENCE_AUTH_TOKENS "), "{error}");
}

#[tokio::test]
async fn a_server_works_as_soon_as_redis_is_there() {
    let mut fixture = Fixture::new().await;
    fixture.redis.kill();
    let server = fixture.server(&[]);
    let response = server.post("/presence/connect", one("alice", "c1")).await;
    assert_eq!(
        (response.status, response.body["type"].as_str()),
        (503, Some("urn:presence:store-unavailable"))
    );
    assert!(response.headers.contains_key("retry-after"));
    let ready = server.get("/health/ready").await;
    assert_eq!(
        (ready.status, ready.body["status"].as_str()),
        (503, Some("unavailable"))
    );
    assert_eq!(server.get("/health/live").await.status, 200);
    fixture.redis.restart().await;
    assert_eq!(
        server
            .post("/presence/connect", one("alice", "c1"))
            .await
            .status,
        200
    );
    while server.get("/health/ready").await.status != 200 {} // a check is shared for a second
}

#[tokio::test]
async fn with_nats_down_the_server_is_degraded_and_ready() {
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    fixture.nats.kill();
    while server.get("/health/ready").await.body["status"] != "degraded" {} // a check is shared for a second
    assert_eq!(server.get("/health/ready").await.status, 200);
    for n in 0..20 {
        assert_eq!(
            server
                .post("/presence/connect", one(&format!("p{n}"), "c"))
                .await
                .status,
            200
        );
    }
    fixture.nats.restart().await;
    assert_eq!(fixture.await_events(20).await.len(), 20);
}

#[tokio::test]
async fn players_who_fall_silent_are_noticed_by_the_next_sweep() {
    const PLAYERS: usize = 2_000;
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_TTL", "2s"), ("PRESENCE_SWEEP_INTERVAL", "4s")]);
    let connections: Vec<_> = (0..PLAYERS).map(|n| one(&format!("p{n}"), "c")).collect();
    let response = server
        .post("/presence/connect", json!({"connections": connections}))
        .await;
    assert_eq!(response.body["accepted"], PLAYERS);

    let events = fixture.await_events(2 * PLAYERS).await;
    let mut ended = HashSet::new();
    for event in events
        .iter()
        .filter(|event| event["type"] == "PresenceOffline")
    {
        assert_eq!(event["reason"], "expired");
        let late =
            event["occurred_at"].as_u64().unwrap() - event["last_seen"].as_u64().unwrap() - 2_000;
        assert!(late <= 4_000 + 2_500, "{late} ms after its TTL"); // the machine may be busy
        assert!(
            ended.insert(event["player_id"].to_string()),
            "{event} twice"
        );
    }
    assert_eq!(ended.len(), PLAYERS);
}

/// Every call that had a response before the end of the server must be true in Redis, and its event
/// in the stream.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[]);
    let client = reqwest::Client::new();
    let url = server.url("/presence/connect");
    let count = Arc::new(AtomicUsize::new(0));
    let calls = (0..16).map(|worker| {
        let client = client.clone();
        let url = url.clone();
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let mut connected = Vec::new();
            for n in 0.. {
                let player = format!("p{worker}-{n}");
                match client.post(&url).json(&one(&player, "c")).send().await {
                    Ok(response) if response.status() == 200 => match response.bytes().await {
                        Ok(_) => {
                            connected.push(player);
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => break,
                    },
                    _ => break,
                }
            }
            connected
        })
    });
    let calls: Vec<_> = calls.collect();
    while count.load(Ordering::Relaxed) < 500 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let begin = Instant::now();
    let status = server.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10));

    let connected: Vec<String> = futures_util::stream::iter(calls)
        .then(async |call| call.await.unwrap())
        .concat()
        .await;
    let records: HashSet<_> = fixture.redis.keys().await.into_iter().collect();
    let mut events = HashMap::<String, usize>::new();
    for event in fixture.events().await {
        *events
            .entry(event["player_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    for player in &connected {
        assert!(records.contains(&format!("presence:{player}")), "{player}");
        assert_eq!(events.get(player), Some(&1), "{player}");
    }
}

#[tokio::test]
async fn a_killed_servers_events_are_published_by_another() {
    let fixture = Fixture::new().await;
    let other = fixture.server(&[("PRESENCE_SWEEP_INTERVAL", "100ms")]);
    for round in 0..5_u64 {
        let mut server = fixture.server(&[]);
        server
            .post("/presence/connect", one(&format!("p{round}"), "warm"))
            .await;
        let call = server.post("/presence/connect", one(&format!("q{round}"), "c"));
        let _ = tokio::time::timeout(Duration::from_micros(400 * round), call).await;
        server.kill();
    }
    let records = fixture.redis.keys().await;
    let players: HashSet<_> = records
        .iter()
        .filter_map(|key| key.strip_prefix("presence:").filter(|id| !id.contains('{')))
        .collect();
    let events = fixture.await_events(players.len()).await;
    let announced: Vec<_> = events
        .iter()
        .map(|event| event["player_id"].as_str().unwrap())
        .collect();
    assert_eq!(announced.len(), players.len());
    assert_eq!(announced.into_iter().collect::<HashSet<_>>(), players);
    drop(other);
}

#[tokio::test]
async fn a_container_can_ask_whether_its_server_lives() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let bind = server.url("").replace("http://", "");
    assert_eq!(health_status(&[("PRESENCE_BIND", &bind)]), Some(0));
    drop(server);
    assert_eq!(health_status(&[("PRESENCE_BIND", &bind)]), Some(1));
    assert_eq!(health_status(&[("PRESENCE_BIND", "nowhere")]), Some(2));
}

/// A container's health check has the server's environment, and no secrets.
#[tokio::test]
async fn a_containers_health_check_needs_only_the_address() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let url = server.url("");
    let (_, port) = url.rsplit_once(':').unwrap();
    let bind = format!("0.0.0.0:{port}");
    for other in [
        ("PRESENCE_SECRETS", "ssm:/presence/prod"),
        ("PRESENCE_READ_TOKENS", "read-tokens-without-others"),
        ("PRESENCE_WATCH_POLL", "refused by the server"),
    ] {
        let status = health_status(&[("PRESENCE_BIND", &bind), other]);
        assert_eq!(status, Some(0), "{}", other.0);
    }
}

/// Returns the exit status of a container's health check with these variables.
fn health_status(variables: &[(&str, &str)]) -> Option<i32> {
    let mut command = Command::new(presence_tests::binary("presence-server"));
    command
        .arg("--health")
        .env_clear()
        .envs(variables.iter().copied())
        .status()
        .unwrap()
        .code()
}

#[tokio::test]
async fn an_expirys_event_does_not_wait_for_the_next_interval() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_TTL", "500ms"), ("PRESENCE_SWEEP_INTERVAL", "5s")]);
    server.post("/presence/connect", one("alice", "c1")).await;
    fixture.await_events(2).await;
    let message = fixture.nats.messages(STREAM).await.pop().unwrap();
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(event["reason"], "expired");
    let published = message.info().unwrap().published.unix_timestamp_nanos() / 1_000_000;
    let waited = published - i128::from(event["occurred_at"].as_u64().unwrap());
    assert!(waited < 4_000, "{waited} ms");
}

#[tokio::test]
async fn an_event_that_was_dropped_does_not_reach_the_stream_later() {
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[
        ("PRESENCE_EVENTS_RETENTION", "1s"),
        ("PRESENCE_SWEEP_INTERVAL", "200ms"),
    ]);
    fixture.nats.kill();
    server.post("/presence/connect", one("stale", "c1")).await;
    let is_dropped = async || {
        let metrics = server.metrics().await;
        metrics.contains("presence_events_dropped_total 1")
    };
    while !is_dropped().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fixture.nats.restart().await;
    for n in 0.. {
        server
            .post("/presence/connect", one(&format!("fresh{n}"), "c1"))
            .await;
        let events = fixture.events().await;
        assert!(
            events.iter().all(|event| event["player_id"] != "stale"),
            "{events:?}"
        );
        if !events.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
