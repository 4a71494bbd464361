//! Traces, as an OTLP receiver gets them.

use std::time::{Duration, Instant};

use presence_tests::{
    Function, NatsServer, OtlpReceiver, RedisServer, Response, Server, Span,
    event::{EventSource, HttpEvent},
    send,
};
use serde_json::{Value, json};

const STREAM: &str = "PRESENCE_EVENTS";
const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Spans are exported at once.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "10");

/// Spans are exported only if the test asks for it.
const NEVER: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "3600000");

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
    receiver: OtlpReceiver,
}

impl Fixture {
    async fn new() -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        Self {
            redis,
            nats,
            receiver: OtlpReceiver::start().await,
        }
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        let owned = self.variables();
        let variables: Vec<_> = owned
            .iter()
            .map(|(name, value)| (*name, &**value))
            .chain(more.to_vec())
            .collect();
        Server::start(&variables)
    }

    async fn function(&self, name: &str, more: &[(&str, &str)]) -> Function {
        let owned = self.variables();
        let variables: Vec<_> = owned
            .iter()
            .map(|(name, value)| (*name, &**value))
            .chain(more.to_vec())
            .collect();
        Function::start(name, &variables).await
    }

    fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("PRESENCE_REDIS_URL", self.redis.url()),
            ("PRESENCE_NATS_URL", self.nats.url()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", self.receiver.url()),
        ]
    }

    /// Waits for the stream's first `count` messages, and returns the `traceparent` of each.
    async fn traceparents(&self, count: usize) -> Vec<String> {
        loop {
            let messages = self.nats.messages(STREAM).await;
            if messages.len() >= count {
                let headers = messages
                    .iter()
                    .filter_map(|message| message.headers.as_ref()?.get("traceparent"));
                return headers.map(ToString::to_string).collect();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Checks that a publish leads back to the call of a caller, by way of a script; returns the
    /// call, script and publish.
    async fn chain(&self, call: &str, script: &str) -> [Span; 3] {
        let [publish, script, call] = [
            self.receiver.await_span("publish events.presence").await,
            self.receiver.await_span(&format!("EVALSHA {script}")).await,
            self.receiver.await_span(call).await,
        ];
        assert_eq!(
            (&publish.parent_id, &script.parent_id),
            (&script.span_id, &call.span_id)
        );
        assert!(
            [&publish, &script]
                .into_iter()
                .all(|span| span.trace_id == call.trace_id)
        );
        [call, script, publish]
    }
}

async fn connect(server: &Server, player: &str, traceparent: Option<&str>) -> Response {
    let body = json!({"player_id": player, "connection_id": "secret-connection"});
    let request = reqwest::Client::new()
        .post(server.url("/presence/connect"))
        .json(&body);
    send(traceparent.into_iter().fold(request, |request, parent| {
        request.header("traceparent", parent)
    }))
    .await
}

fn event(player: &str) -> Value {
    let body = json!({"player_id": player, "connection_id": "secret-connection"}).to_string();
    HttpEvent::new(EventSource::HttpApi, "POST", "/presence/connect")
        .header("traceparent", CALLER)
        .body(body)
        .build()
}

#[tokio::test]
async fn a_trace_reaches_from_the_http_call_to_the_nats_message() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SOON]);
    assert_eq!(connect(&server, "alice", Some(CALLER)).await.status, 200);
    let [call, script, publish] = fixture.chain("POST /presence/connect", "connect").await;
    assert_eq!(
        (&*call.trace_id, &*call.parent_id),
        (&CALLER[3..35], &CALLER[36..52])
    );
    assert_eq!(
        fixture.traceparents(1).await,
        [publish.traceparent()],
        "consumers continue from the publish"
    );

    assert_eq!(
        [&*call.kind, &*script.kind, &*publish.kind],
        ["server", "client", "producer"]
    );
    assert_eq!(call.resource["service.name"], "presence-server");
    assert_eq!(
        (
            &*call.attributes["http.route"],
            &*call.attributes["http.response.status_code"]
        ),
        ("/presence/connect", "200")
    );
    assert_eq!(script.attributes["db.stored_procedure.name"], "connect");
    assert_eq!(
        publish.attributes["messaging.destination.name"],
        "events.presence"
    );
}

#[tokio::test]
async fn a_heartbeat_has_a_span_of_its_own_although_it_may_share_its_call() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SOON]);
    connect(&server, "alice", None).await;
    let body = json!({"player_id": "alice", "connection_id": "secret-connection"});
    let request = reqwest::Client::new()
        .post(server.url("/presence/heartbeat"))
        .json(&body);
    assert_eq!(
        send(request.header("traceparent", CALLER)).await.status,
        200
    );
    let call = fixture
        .receiver
        .await_span("POST /presence/heartbeat")
        .await;
    let script = fixture.receiver.await_span("EVALSHA renew_known").await;
    assert_eq!(
        (&*call.trace_id, &*call.parent_id),
        (&CALLER[3..35], &CALLER[36..52])
    );
    assert_eq!(
        (&script.trace_id, &script.parent_id),
        (&call.trace_id, &call.span_id)
    );
}

#[tokio::test]
async fn a_functions_spans_are_sent_before_it_asks_for_the_next_event() {
    let fixture = Fixture::new().await;
    let connect = fixture.function("connect", &[NEVER]).await;
    connect.invoke(event("alice")).await.unwrap();
    connect.invoke(event("bob")).await.unwrap();
    let of_alice: Vec<_> = fixture
        .receiver
        .spans()
        .iter()
        .map(|span| span.name.clone())
        .take(3)
        .collect();
    assert_eq!(
        of_alice.len(),
        3,
        "all spans were exported, as the second event was handed out: {of_alice:?}"
    );
    let [call, _, publish] = fixture.chain("connect", "connect").await;
    assert_eq!(
        (&*call.trace_id, &*call.parent_id),
        (&CALLER[3..35], &CALLER[36..52])
    );
    assert_eq!(
        (
            &*call.resource["service.name"],
            &*call.attributes["faas.trigger"]
        ),
        ("connect", "http")
    );
    assert_eq!(fixture.traceparents(1).await[0], publish.traceparent());
}

#[tokio::test]
async fn a_server_that_ends_sends_its_last_spans() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[NEVER, ("OTEL_SERVICE_NAME", "presence-eu")]);
    connect(&server, "alice", None).await;
    assert!(fixture.receiver.spans().is_empty());
    assert_eq!(server.terminate().await.code(), Some(0));
    let [call, ..] = fixture.chain("POST /presence/connect", "connect").await;
    assert_eq!(
        (&*call.parent_id, &*call.resource["service.name"]),
        ("", "presence-eu")
    );
}

#[tokio::test]
async fn spans_contain_no_player_and_no_body() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[NEVER]);
    connect(&server, "secret-player", Some(CALLER)).await;
    server.get("/presence/secret-player?history=true").await;
    server
        .post(
            "/presence/state",
            json!({"player_id": "secret-player", "state": "AWAY"}),
        )
        .await;
    server
        .post(
            "/presence/state",
            json!({"player_id": "secret player", "state": "AWAY"}),
        )
        .await;
    server.terminate().await;
    let spans = fixture.receiver.spans();
    assert!(
        spans
            .iter()
            .any(|span| span.name == "GET /presence/{player_id}"),
        "{spans:?}"
    );
    assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
}

#[tokio::test]
async fn callers_decide_what_is_sampled_and_the_sampler_decides_for_those_who_do_not() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[NEVER, ("OTEL_TRACES_SAMPLER", "parentbased_always_off")]);
    let unsampled = CALLER.replace("-01", "-00").replace("0af7", "0bf7");
    for (player, parent) in [
        ("alice", None),
        ("bob", Some(&*unsampled)),
        ("eve", Some(CALLER)),
    ] {
        connect(&server, player, parent).await;
        fixture.traceparents(1).await;
    }
    let traceparents = fixture.traceparents(3).await;
    let flags: Vec<_> = traceparents.iter().map(|parent| &parent[53..]).collect();
    assert_eq!(flags, ["00", "00", "01"], "consumers receive the decision");
    assert_eq!(traceparents[1][3..35], unsampled[3..35]);
    server.terminate().await;
    let traces: Vec<_> = fixture
        .receiver
        .spans()
        .into_iter()
        .map(|span| span.trace_id)
        .collect();
    assert_eq!(traces, [&CALLER[3..35]; 3]);
}

#[tokio::test]
async fn a_batch_is_one_script_and_one_publish_however_many_players_it_has() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[NEVER, ("PRESENCE_SWEEP_INTERVAL", "1h")]);
    let connections: Vec<_> = (0..120)
        .map(|n| json!({"player_id": format!("p{n}"), "connection_id": "c"}))
        .collect();
    server
        .post("/presence/connect", json!({"connections": connections}))
        .await;
    let traceparents = fixture.traceparents(120).await;
    server.terminate().await;
    let [_, script, publish] = fixture.chain("POST /presence/connect", "connect").await;
    assert_eq!(script.attributes["db.operation.batch.size"], "120");
    assert_eq!(publish.attributes["messaging.batch.message_count"], "120");
    assert_eq!(traceparents, vec![publish.traceparent(); 120]);
    assert_eq!(fixture.receiver.spans().len(), 3);
}

#[tokio::test]
async fn an_expiry_is_a_trace_of_the_sweep() {
    let fixture = Fixture::new().await;
    let more = [
        SOON,
        ("PRESENCE_TTL", "200ms"),
        ("PRESENCE_SWEEP_INTERVAL", "50ms"),
    ];
    let server = fixture.server(&more);
    connect(&server, "alice", Some(&CALLER.replace("-01", "-00"))).await;
    let [sweep, ..] = fixture.chain("sweep", "expire").await;
    assert_eq!(
        (&*sweep.kind, &*sweep.attributes["presence.swept.expired"]),
        ("internal", "1")
    );
}

#[tokio::test]
async fn the_spans_of_a_failed_call_report_the_failure() {
    let mut fixture = Fixture::new().await;
    fixture.redis.kill();
    let mut server = fixture.server(&[NEVER]);
    assert_eq!(connect(&server, "alice", None).await.status, 503);
    server.terminate().await;
    for (name, kind) in [
        ("EVALSHA connect", "unreachable"),
        ("POST /presence/connect", "503"),
    ] {
        let span = fixture.receiver.await_span(name).await;
        assert_eq!(
            (span.is_error, &*span.attributes["error.type"]),
            (true, kind),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_or_hangs_delays_neither_calls_nor_the_shutdown() {
    let fixture = Fixture::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hangs = format!("http://{}", listener.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1", &hangs] {
        let mut server = fixture.server(&[SOON, ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
        for n in 0..20 {
            assert_eq!(connect(&server, &format!("p{n}"), None).await.status, 200);
        }
        let begin = Instant::now();
        assert_eq!(server.terminate().await.code(), Some(0));
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{endpoint}: {:?}",
            begin.elapsed()
        );
    }
}
