//! The end of the server, as its clients see it.

use std::time::Duration;

use futures_util::future::join_all;
use presence_tests::{RedisServer, STORE_TIMEOUT, Server, Socket};
use serde_json::json;

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
const READY: &str = "GET /health/ready HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn connect(player: usize) -> String {
    let body = json!({"player_id": format!("p{player}"), "connection_id": "c"}).to_string();
    let length = body.len();
    format!(
        "POST /presence/connect HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn start(redis: &RedisServer) -> Server {
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url()), STORE_TIMEOUT]);
    server.get("/presence/warm").await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_busy_client_is_left_without_a_response() {
    let redis = RedisServer::start().await;
    let mut server = start(&redis).await;
    let tasks = (0..60).map(|client| {
        let address = server.address().to_owned();
        tokio::spawn(async move {
            let mut socket = Socket::connect_to(&address).await;
            for n in 0.. {
                let response = socket.ask(&connect(client * 1_000_000 + n)).await; // or panics
                assert_eq!(response.status, 200);
                if response.has("connection: close") {
                    assert!(socket.is_closed().await);
                    return n;
                }
            }
            0
        })
    });
    let clients: Vec<_> = tasks.collect();
    while server.get("/presence").await.body["players"]
        .as_u64()
        .unwrap_or_default()
        < 500
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.begin_termination();
    for count in join_all(clients).await {
        assert!(count.unwrap() > 0);
    }
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn open_connections_and_new_ones_are_served_on_for_a_while() {
    let redis = RedisServer::start().await;
    let mut server = start(&redis).await;
    let mut first = Socket::connect(&server).await;
    let mut second = Socket::connect(&server).await;
    for socket in [&mut first, &mut second] {
        let response = socket.ask(LIVE).await;
        assert!(
            response.status == 200 && !response.has("connection: close"),
            "{}",
            response.head
        );
    }
    server.begin_termination();
    server.await_log("is shutting down").await;
    let response = first.ask(&connect(1)).await;
    assert!(
        response.status == 200 && response.has("connection: close"),
        "{}",
        response.head
    );
    assert!(first.is_closed().await);
    // As a load balancer sees it that has not noticed yet, or that asks.
    let mut late = Socket::connect(&server).await;
    let ready = late.ask(READY).await;
    assert_eq!(
        (ready.status, &ready.body["status"]),
        (503, &json!("unavailable"))
    );
    assert_eq!(ready.body["checks"]["redis"]["status"], "ok");
    assert_eq!(Socket::connect(&server).await.ask(LIVE).await.status, 200);
    let response = second.ask(LIVE).await;
    assert!(
        response.status == 200 && response.has("connection: close"),
        "{}",
        response.head
    );
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn calls_in_flight_get_a_response_and_idle_connections_delay_nothing() {
    let redis = RedisServer::start().await;
    let mut server = start(&redis).await;
    let silent = Socket::connect(&server).await;
    let mut idle = Socket::connect(&server).await;
    let mut half = Socket::connect(&server).await;
    idle.ask(LIVE).await;
    let request = connect(7);
    let (begin, end) = request.split_at(request.len() - 5);
    half.send(begin).await;
    server.begin_termination();
    assert!(idle.is_closed().await); // after the time in which it may be used
    half.send(end).await;
    let response = half.response().await.unwrap();
    assert!(
        response.status == 200 && response.has("connection: close"),
        "{}",
        response.head
    );
    assert_eq!(server.ended().await.code(), Some(0));
    drop(silent);
    assert!(redis.keys().await.contains(&"presence:p7".to_owned()));
}

#[tokio::test]
async fn a_half_sent_request_does_not_keep_the_server_from_ending() {
    let redis = RedisServer::start().await;
    let mut server = start(&redis).await;
    let mut head = Socket::connect(&server).await;
    head.send("POST /presence/connect HTT").await;
    let mut body = Socket::connect(&server).await;
    body.send("POST /presence/connect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{")
        .await;
    let mut unread = Socket::connect(&server).await;
    unread
        .send(&"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1_000))
        .await;
    assert_eq!(server.terminate().await.code(), Some(0));
}
