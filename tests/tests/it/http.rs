//! HTTP as the server speaks it: what it refuses before any handler, and what all responses have in
//! common.

use presence_tests::{RedisServer, Server, Socket, send};
use serde_json::json;

async fn start(variables: &[(&str, &str)]) -> (RedisServer, Server) {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let mut all = vec![("PRESENCE_REDIS_URL", &*url)];
    all.extend(variables);
    let server = Server::start(&all);
    (redis, server)
}

#[tokio::test]
async fn responses_to_requests_that_cannot_be_read_are_problems() {
    let (_redis, server) = start(&[]).await;
    let long = "x".repeat(20 * 1024);
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (request, status, slug) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "invalid-request"),
        (
            "GET /health/live HTTP/9.9\r\nhost: localhost\r\n\r\n".to_owned(),
            400,
            "invalid-request",
        ),
        (
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\nno colon\r\n\r\n".to_owned(),
            400,
            "invalid-request",
        ),
        (
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: \0\r\n\r\n".to_owned(),
            400,
            "invalid-request",
        ),
        (
            "POST /presence/state HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n"
                .to_owned(),
            400,
            "invalid-request",
        ),
        (
            "POST /presence/state HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\n"
                .to_owned(),
            400,
            "invalid-request",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            400,
            "invalid-request",
        ),
        (
            format!("GET /presence/{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            431,
            "headers-too-large",
        ),
        (
            format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n"),
            431,
            "headers-too-large",
        ),
        (
            format!("GET /health/live HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            431,
            "headers-too-large",
        ),
    ] {
        let mut socket = Socket::connect(&server).await;
        let refused = socket.ask(&request).await;
        let request = &request[..request.len().min(60)];
        assert_eq!(
            (refused.status, refused.slug()),
            (status, slug),
            "{request}"
        );
        assert!(
            refused.has("content-type: application/problem+json"),
            "{request}: {}",
            refused.head
        );
        assert_eq!(refused.body["status"], status, "{request}");
        assert!(socket.is_closed().await, "{request}");
    }
}

#[tokio::test]
async fn requests_before_one_that_cannot_be_read_get_a_response() {
    let (_redis, server) = start(&[]).await;
    let mut socket = Socket::connect(&server).await;
    let live = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.send(&format!("{live}{live}nonsense\r\n\r\n")).await;
    for status in [200, 200, 400] {
        let response = socket.response().await.unwrap();
        assert_eq!(response.status, status);
        assert!(
            response.body["status"] == "ok" || response.slug() == "invalid-request",
            "{:?}",
            response.body
        );
    }
    assert!(socket.is_closed().await);
}

#[tokio::test]
async fn half_a_head_is_a_408_and_silence_is_a_closed_socket() {
    let (_redis, server) = start(&[]).await;
    let mut silent = Socket::connect(&server).await;
    for begin in ["GET /health/live HTTP/1.1\r\nhost: lo", "P"] {
        let mut socket = Socket::connect(&server).await;
        let refused = socket.ask(begin).await;
        assert_eq!((refused.status, refused.slug()), (408, "timed-out"));
        assert!(socket.is_closed().await);
    }
    assert!(silent.is_closed().await);
}

#[tokio::test]
async fn the_second_head_of_a_connection_has_the_same_time_limit() {
    let (_redis, server) = start(&[]).await;
    let mut socket = Socket::connect(&server).await;
    assert_eq!(
        socket
            .ask("GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .status,
        200
    );
    assert_eq!(socket.ask("GET /health/live HT").await.status, 408);
}

#[tokio::test]
async fn a_request_has_one_host_on_every_route() {
    let (_redis, server) = start(&[]).await;
    for path in [
        "/presence/alice",
        "/presence",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/console",
        "/openapi.json",
        "/",
    ] {
        for hosts in ["", "host: localhost\r\nhost: localhost\r\n"] {
            for version in ["1.0", "1.1"] {
                let mut socket = Socket::connect(&server).await;
                let refused = socket
                    .ask(&format!("GET {path} HTTP/{version}\r\n{hosts}\r\n"))
                    .await;
                assert_eq!(
                    (refused.status, refused.slug()),
                    (400, "invalid-request"),
                    "{path} {hosts} {version}"
                );
            }
        }
    }
    for target in [
        "http://localhost/health/live",
        "http://127.0.0.1:1/health/live",
    ] {
        let mut socket = Socket::connect(&server).await;
        let response = socket
            .ask(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await;
        assert_eq!(response.status, 200, "{target}");
    }
}

#[tokio::test]
async fn bodies_come_in_no_encoding() {
    let (_redis, server) = start(&[]).await;
    let body = json!({"player_id": "alice", "connection_id": "c1"}).to_string();
    for (name, value, status, slug) in [
        ("content-encoding", "gzip", 415, "unsupported-media-type"),
        (
            "content-encoding",
            "identity",
            415,
            "unsupported-media-type",
        ),
        ("transfer-encoding", "gzip, chunked", 400, "invalid-request"),
        (
            "transfer-encoding",
            "identity, chunked",
            400,
            "invalid-request",
        ),
    ] {
        let length = if name == "transfer-encoding" {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        let sent = if length.is_empty() { &chunked } else { &body };
        let mut socket = Socket::connect(&server).await;
        let head = format!(
            "POST /presence/connect HTTP/1.1\r\nhost: localhost\r\n{name}: {value}\r\n{length}\r\n"
        );
        let refused = socket.ask(&format!("{head}{sent}")).await;
        assert_eq!(
            (refused.status, refused.slug()),
            (status, slug),
            "{name}: {value}"
        );
    }
    assert_eq!(server.get("/presence/alice").await.body["state"], "OFFLINE");
}

#[tokio::test]
async fn a_slash_at_the_end_changes_nothing() {
    let (_redis, server) = start(&[]).await;
    let connected = server
        .post(
            "/presence/connect/",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    assert_eq!(
        (connected.status, &connected.body["state"]),
        (200, &json!("ONLINE"))
    );
    server
        .post(
            "/presence/heartbeat/",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    server
        .post(
            "/presence/state/",
            json!({"player_id": "alice", "state": "IN_QUEUE"}),
        )
        .await;
    let friends = server
        .post("/presence/friends/", json!({"player_ids": ["alice"]}))
        .await;
    assert_eq!(friends.body["presences"][0]["state"], "IN_QUEUE");
    for path in ["/presence/alice/", "/presence/alice/?history=true"] {
        assert_eq!(server.get(path).await.body["state"], "IN_QUEUE", "{path}");
    }
    assert_eq!(
        server.get("/presence/connect/").await.body["player_id"],
        "connect"
    );
    assert_eq!(
        server.get("/console/players/alice/").await.body["presence"]["state"],
        "IN_QUEUE"
    );
    for path in [
        "/health/live/",
        "/health/ready/",
        "/metrics/",
        "/openapi.json/",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let put = send(reqwest::Client::new().put(server.url("/presence/connect/"))).await;
    assert_eq!(
        (put.status, put.headers["allow"].to_str().unwrap()),
        (405, "GET,HEAD,POST")
    );
    server
        .post(
            "/presence/disconnect/",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    assert_eq!(server.get("/presence/alice").await.body["state"], "OFFLINE");
}

#[tokio::test]
async fn responses_about_players_and_health_are_not_cached() {
    let (mut redis, server) = start(&[]).await;
    let build_body = || json!({"player_id": "alice", "connection_id": "c1"});
    for call in ["connect", "heartbeat", "disconnect", "connect"] {
        let response = server
            .post(&format!("/presence/{call}"), build_body())
            .await;
        assert_eq!(
            response.headers["cache-control"], "no-store",
            "{call}: {}",
            response.status
        ); // 410 in the end
    }
    let paths = [
        "/presence/alice",
        "/presence",
        "/console/players/alice",
        "/health/live",
        "/health/ready",
        "/nothing",
    ];
    for path in paths {
        assert_eq!(
            server.get(path).await.headers["cache-control"],
            "no-store",
            "{path}"
        );
    }
    redis.kill();
    for path in paths {
        assert_eq!(
            server.get(path).await.headers["cache-control"],
            "no-store",
            "{path}"
        );
    }
}
