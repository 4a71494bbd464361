//! Events on a real NATS: no transition loses its event, and no event is in the stream twice.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, message::Message, stream};
use presence::{
    model::{Reason, State},
    runtime::App,
    telemetry::TraceContext,
};
use presence_tests::{Function, NatsServer, RedisServer, app, connection, event};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const STREAM: &str = "PRESENCE_EVENTS";

fn body(message: &Message) -> Value {
    serde_json::from_slice(&message.payload).unwrap()
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message
        .headers
        .as_ref()?
        .get(name)
        .map(|value| value.as_str())
}

/// The type and reason of each event, in the stream's order.
fn kinds(messages: &[Message]) -> Vec<(String, String)> {
    let get_text = |event: &Value, member: &str| event[member].as_str().unwrap().to_owned();
    messages
        .iter()
        .map(body)
        .map(|event| (get_text(&event, "type"), get_text(&event, "reason")))
        .collect()
}

async fn servers() -> (RedisServer, NatsServer, App) {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let app = app(&redis, &[("PRESENCE_NATS_URL", &nats.url())]);
    (redis, nats, app)
}

async fn outbox_length(redis: &RedisServer) -> usize {
    redis
        .connection()
        .await
        .xlen("presence:{all}:outbox")
        .await
        .unwrap()
}

#[tokio::test]
async fn every_transition_is_an_event_with_all_its_headers() {
    let (redis, nats, app) = servers().await;
    let presence = app.presence();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("traceparent", parent.parse().unwrap());
    headers.insert("tracestate", "vendor=1".parse().unwrap());
    let trace = TraceContext::from_headers(&headers);
    let alice = connection("alice", "c1");

    let online = presence.connect(&alice, &trace).await.unwrap();
    presence.heartbeat(&alice, &trace).await.unwrap();
    presence
        .connect(&connection("alice", "c2"), &trace)
        .await
        .unwrap();
    presence
        .set_state(&alice.player_id, State::InMatch, &trace)
        .await
        .unwrap();
    presence
        .set_state(&alice.player_id, State::InMatch, &trace)
        .await
        .unwrap();
    presence
        .disconnect(&alice, Reason::Quit, &trace)
        .await
        .unwrap();
    presence
        .disconnect(&connection("alice", "c2"), Reason::Lost, &trace)
        .await
        .unwrap();
    presence
        .set_state(&alice.player_id, State::Away, &trace)
        .await
        .unwrap();
    presence
        .set_state(&alice.player_id, State::Offline, &trace)
        .await
        .unwrap();
    presence
        .heartbeat(&connection("alice", "c3"), &trace)
        .await
        .unwrap();

    let messages = nats.messages(STREAM).await;
    let expected = [
        ("PresenceOnline", "connect"),
        ("PresenceStateChanged", "set_state"),
        ("PresenceOffline", "lost"),
        ("PresenceOnline", "set_state"),
        ("PresenceOffline", "signed_out"),
        ("PresenceOnline", "restore"),
    ];
    assert_eq!(
        kinds(&messages),
        expected.map(|(kind, reason)| (kind.to_owned(), reason.to_owned()))
    );
    assert_eq!(
        outbox_length(&redis).await,
        0,
        "acknowledged events are removed from the outbox"
    );

    let versions: Vec<_> = messages
        .iter()
        .map(|message| body(message)["version"].as_u64().unwrap())
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    for message in &messages {
        let event = body(message);
        let id = format!("alice:{}", event["version"]);
        assert_eq!(event["id"], id);
        assert_eq!(header(message, "Nats-Msg-Id"), Some(&*id));
        assert_eq!(header(message, "traceparent"), Some(parent));
        assert_eq!(header(message, "tracestate"), Some("vendor=1"));
        assert_eq!(header(message, "ce-specversion"), Some("1.0"));
        assert_eq!(header(message, "ce-id"), Some(&*id));
        assert_eq!(header(message, "ce-type"), event["type"].as_str());
        assert!(header(message, "ce-source").is_some());
        assert!(header(message, "ce-time").unwrap().ends_with('Z'));
    }
    let first = body(&messages[0]);
    assert_eq!(first["version"].as_u64(), online.version);
    assert_eq!(first["last_seen"].as_u64(), online.last_seen);
    assert_eq!(first["occurred_at"].as_u64(), online.last_seen);
    assert_eq!(
        (
            &first["previous_state"],
            &first["state"],
            &first["connection_count"]
        ),
        (&json!("OFFLINE"), &json!("ONLINE"), &json!(1))
    );
    assert_eq!(body(&messages[1])["connection_count"], 2);
    assert_eq!(body(&messages[2])["connection_count"], 0);
}

#[tokio::test]
async fn a_missing_stream_is_created_with_the_retention() {
    let (_redis, nats, app) = servers().await;
    app.presence()
        .connect(&connection("alice", "c1"), &TraceContext::new_root())
        .await
        .unwrap();
    let jetstream = jetstream::new(nats.client().await);
    let config = jetstream
        .get_stream(STREAM)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(config.subjects, ["events.presence"]);
    assert_eq!(config.storage, stream::StorageType::File);
    assert_eq!(
        (config.max_age, config.duplicate_window),
        (Duration::from_mins(15), Duration::from_mins(15))
    );
}

#[tokio::test]
async fn an_existing_stream_is_not_changed() {
    let (_redis, nats, app) = servers().await;
    let jetstream = jetstream::new(nats.client().await);
    let existing = stream::Config {
        name: STREAM.into(),
        subjects: vec!["events.>".into()],
        storage: stream::StorageType::Memory,
        max_age: Duration::from_hours(1),
        ..stream::Config::default()
    };
    let before = jetstream
        .create_stream(existing)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    app.presence()
        .connect(&connection("alice", "c1"), &TraceContext::new_root())
        .await
        .unwrap();
    let after = jetstream
        .get_stream(STREAM)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    assert_eq!(before, after);
    assert_eq!(nats.messages(STREAM).await.len(), 1);
}

#[tokio::test]
async fn without_nats_there_is_no_outbox() {
    let redis = RedisServer::start().await;
    let presence = app(&redis, &[]).presence();
    let trace = TraceContext::new_root();
    presence
        .connect(&connection("alice", "c1"), &trace)
        .await
        .unwrap();
    presence
        .disconnect(&connection("alice", "c1"), Reason::Quit, &trace)
        .await
        .unwrap();
    assert!(redis.keys().await.iter().all(|key| !key.contains("outbox")));
}

#[tokio::test]
async fn while_nats_is_down_calls_succeed_and_events_wait() {
    let (redis, mut nats, app) = servers().await;
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence
        .connect(&connection("first", "c"), &trace)
        .await
        .unwrap();
    nats.kill();

    let mut times = Vec::new();
    for n in 0..50 {
        let start = Instant::now();
        presence
            .connect(&connection(&format!("p{n}"), "c"), &trace)
            .await
            .unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    // A call that waits for NATS takes the publish timeout of 250 ms. Other delays come from a busy
    // machine.
    assert!(
        times[25] < Duration::from_millis(250),
        "most calls do not wait for NATS: {times:?}"
    );
    assert!(
        times[49] < Duration::from_secs(2),
        "no call waits for the timeout of the NATS client: {times:?}"
    );
    assert_eq!(outbox_length(&redis).await, 50);

    nats.restart().await;
    let relay = app.relay().unwrap();
    while outbox_length(&redis).await > 0 {
        relay.pass().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let messages = nats.messages(STREAM).await;
    assert_eq!(messages.len(), 51);
    let players: Vec<_> = messages[1..]
        .iter()
        .map(|message| body(message)["player_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        players,
        (0..50).map(|n| format!("p{n}")).collect::<Vec<_>>(),
        "oldest first"
    );
}

#[tokio::test]
async fn an_event_keeps_its_trace_through_the_relay() {
    let (redis, mut nats, app) = servers().await;
    nats.kill();
    let trace = TraceContext::new_root();
    app.presence()
        .connect(&connection("alice", "c1"), &trace)
        .await
        .unwrap();
    nats.restart().await;
    let relay = app.relay().unwrap();
    while outbox_length(&redis).await > 0 {
        relay.pass().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        header(&nats.messages(STREAM).await[0], "traceparent"),
        Some(trace.traceparent())
    );
}

#[tokio::test]
async fn an_event_that_is_published_twice_is_in_the_stream_once() {
    let (redis, nats, app) = servers().await;
    let trace = TraceContext::new_root();
    app.presence()
        .connect(&connection("alice", "c1"), &trace)
        .await
        .unwrap();
    let message = nats.messages(STREAM).await.remove(0);
    // The outbox after a crash between the ack and the removal.
    let fields = [
        ("event", &*message.payload),
        ("traceparent", trace.traceparent().as_bytes()),
    ];
    redis
        .connection()
        .await
        .xadd("presence:{all}:outbox", "*", &fields)
        .await
        .unwrap();
    assert_eq!(app.relay().unwrap().pass().await.unwrap().published, 1);
    assert_eq!(nats.messages(STREAM).await.len(), 1);
    assert_eq!(outbox_length(&redis).await, 0);
}

#[tokio::test]
async fn events_older_than_the_retention_are_dropped_and_counted() {
    let (redis, mut nats, app) = servers().await;
    nats.kill();
    let mut raw = redis.connection().await;
    let now: (u64, u64) = redis::cmd("TIME").query_async(&mut raw).await.unwrap();
    for age in [16 * 60, 14 * 60] {
        let id = format!("{}-0", (now.0 - age) * 1_000);
        let event = r#"{"id":"alice:1","type":"PresenceOnline","occurred_at":1}"#;
        raw.xadd("presence:{all}:outbox", id, &[("event", event)])
            .await
            .unwrap();
    }
    assert_eq!(app.relay().unwrap().pass().await.unwrap().dropped, 1);
    assert_eq!(outbox_length(&redis).await, 1);
}

/// Kills a function at different moments around its script and its publish. After a relay's pass,
/// each transition in Redis must be in the stream exactly once.
#[tokio::test]
async fn a_killed_function_loses_no_event() {
    let (redis, nats, app) = servers().await;
    let pairs = [
        ("PRESENCE_REDIS_URL", redis.url()),
        ("PRESENCE_NATS_URL", nats.url()),
    ];
    let variables: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    for round in 0..24_u64 {
        let mut function = Function::start("connect", &variables).await;
        let connect = |n: &str| {
            event::post(
                "/presence/connect",
                &json!({"player_id": format!("p{round}-{n}"), "connection_id": "c"}),
            )
        };
        function.invoke(connect("warm")).await.unwrap();
        let delay = Duration::from_micros(150 * round);
        let _ = tokio::time::timeout(delay, function.invoke(connect("killed"))).await;
        function.kill();
    }
    app.relay().unwrap().pass().await.unwrap();

    let mut count = HashMap::<String, usize>::new();
    for message in nats.messages(STREAM).await {
        *count
            .entry(body(&message)["player_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    let records = redis
        .keys()
        .await
        .into_iter()
        .filter_map(|key| Some(key.strip_prefix("presence:p")?.to_owned()));
    let players: Vec<_> = records.map(|player| format!("p{player}")).collect();
    assert!((24..=48).contains(&players.len()));
    for player in &players {
        assert_eq!(count.remove(player), Some(1), "{player}");
    }
    assert_eq!(count, HashMap::new(), "no event without its transition");
}

/// AWS Lambda freezes a function between its calls. Its sockets may be dead when it thaws.
#[tokio::test]
async fn a_function_that_thaws_with_dead_sockets_serves_and_loses_no_event() {
    let (redis, mut nats, app) = servers().await;
    let redis_url = redis.url();
    let nats_url = nats.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis_url),
        ("PRESENCE_NATS_URL", &*nats_url),
    ];
    let function = Function::start("connect", &variables).await;
    let signal = |name: &str| {
        let kill = std::process::Command::new("kill")
            .args([name, &function.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    };
    for round in 0..20 {
        let connect = json!({"player_id": format!("p{round:02}"), "connection_id": "c"});
        let response = function
            .invoke(event::post("/presence/connect", &connect))
            .await
            .unwrap();
        assert_eq!(
            response["statusCode"], 200,
            "the first call after a thaw succeeds"
        );
        signal("-STOP");
        let mut raw = redis.connection().await;
        redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query_async::<()>(&mut raw)
            .await
            .unwrap();
        nats.restart().await;
        signal("-CONT");
    }
    let relay = app.relay().unwrap();
    while outbox_length(&redis).await > 0 {
        relay.pass().await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut players: Vec<_> = nats
        .messages(STREAM)
        .await
        .iter()
        .map(|message| body(message)["player_id"].clone())
        .collect();
    players.sort_by_key(Value::to_string);
    assert_eq!(
        players,
        (0..20)
            .map(|round| format!("p{round:02}"))
            .collect::<Vec<_>>(),
        "each once"
    );
}

#[tokio::test]
async fn credentials_for_nats_come_from_a_file_or_from_the_variable_itself() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start_guarded().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), nats.credentials()).unwrap();
    let redis_url = redis.url();
    let nats_url = nats.url();
    for (player, credentials) in [
        ("a", file.path().to_str().unwrap()),
        ("b", nats.credentials()),
        ("c", ""),
    ] {
        let variables = [
            ("PRESENCE_REDIS_URL", &*redis_url),
            ("PRESENCE_NATS_URL", &*nats_url),
            ("PRESENCE_NATS_CREDS", credentials),
        ];
        let connect = json!({"player_id": player, "connection_id": "c"});
        let function = Function::start("connect", &variables).await;
        let response = function
            .invoke(event::post("/presence/connect", &connect))
            .await
            .unwrap();
        assert_eq!(response["statusCode"], 200);
    }
    let players: Vec<_> = nats
        .messages(STREAM)
        .await
        .iter()
        .map(|message| body(message)["player_id"].clone())
        .collect();
    assert_eq!(players, ["a", "b"]);
    assert_eq!(
        outbox_length(&redis).await,
        1,
        "without credentials the event waits"
    );
}
