//! Limits of what clients can hold open: time, number of connections, memory.

use std::time::Duration;

use futures_util::future::join_all;
use presence_tests::{RedisServer, STORE_TIMEOUT, Server, Socket, open_files, peak_memory};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const LIVE: &str = "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn start(redis: &RedisServer) -> Server {
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url()), STORE_TIMEOUT]);
    server.get("/presence/warm").await;
    server
}

/// Sends `request` repeatedly without reading, until the server reads no more or ends the
/// connection.
async fn flood(server: &Server, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let requests = request.repeat(64 * 1024 / request.len());
    let write = async { while socket.write_all(requests.as_bytes()).await.is_ok() {} };
    // By then the buffers are full. A shorter time would only make the test less strict.
    let _ = tokio::time::timeout(Duration::from_secs(3), write).await;
    socket
}

/// The bytes of responses and requests in the buffers of a server's sockets, as the kernel counts
/// them.
fn queued(server: &Server) -> u64 {
    let port = server.address().rsplit(':').next().unwrap();
    let local = format!(":{:04X}", port.parse::<u16>().unwrap());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let queues = sockets.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_servers = fields.next()?.ends_with(&local);
        let (sent, received) = fields.nth(2)?.split_once(':')?;
        let parse_length = |queue| u64::from_str_radix(queue, 16).ok();
        is_servers.then_some(parse_length(sent)? + parse_length(received)?)
    });
    queues.sum()
}

#[tokio::test]
async fn a_client_that_does_not_read_gets_no_more_responses_and_is_disconnected() {
    const CLIENTS: usize = 50;
    let redis = RedisServer::start().await;
    let server = start(&redis).await;
    let before = peak_memory(server.id());
    let build_request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let script = build_request("/console/player.js");
    let description = build_request("/openapi.json");
    let flood =
        (0..CLIENTS).map(|n| flood(&server, if n % 2 == 0 { &script } else { &description }));
    let mut sockets = join_all(flood).await;
    let grown = peak_memory(server.id()) - before;
    assert!(grown < 32, "the process holds {grown} MiB");
    let queued = queued(&server) / 1024;
    assert!(
        queued < CLIENTS as u64 * 512,
        "the kernel holds {queued} KiB"
    );
    server
        .post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    // Each client is disconnected, whether or not it finally reads the responses.
    join_all(
        sockets
            .iter_mut()
            .map(async |socket| while socket.write_all(script.as_bytes()).await.is_ok() {}),
    )
    .await;
}

#[tokio::test]
async fn a_client_that_reads_its_responses_late_gets_all_of_them() {
    const REQUESTS: usize = 2_000;
    let redis = RedisServer::start().await;
    let server = start(&redis).await;
    let socket = TcpStream::connect(server.address()).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let request = "GET /console/player.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(REQUESTS);
    let write = tokio::spawn(async move {
        writing.write_all(request.as_bytes()).await.unwrap();
        writing
    });
    tokio::time::sleep(Duration::from_millis(500)).await; // by then the server is usually blocked
    let mut text = Vec::new();
    while String::from_utf8_lossy(&text)
        .matches("HTTP/1.1 200 OK")
        .count()
        < REQUESTS
    {
        let mut part = vec![0; 1 << 20];
        let length = reading.read(&mut part).await.unwrap();
        assert!(length > 0, "the connection ended early");
        // The bytes are kept, as a head may arrive in two parts.
        text.extend_from_slice(&part[..length]);
    }
    drop(write.await.unwrap());
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_disconnected() {
    let redis = RedisServer::start().await;
    let nats = presence_tests::NatsServer::start().await;
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_NATS_URL", &*nats.url()),
        STORE_TIMEOUT,
    ];
    let server = Server::start(&variables);
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    socket
        .write_all(b"GET /console/events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut begin = vec![0; 64];
    assert!(socket.read(&mut begin).await.unwrap() > 0);
    // Sends more events than fit into the buffers, until the server has reset the socket and a
    // write fails.
    for batch in 0.. {
        let build_name = |n: usize| format!("p{batch}-{n}-{}", "x".repeat(90));
        let connections: Vec<_> = (0..500)
            .map(|n| json!({"player_id": build_name(n), "connection_id": "c"}))
            .collect();
        server
            .post("/presence/connect", json!({"connections": connections}))
            .await;
        if socket.write_all(b"x").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_evicted_for_new_ones() {
    open_files(12_000);
    let redis = RedisServer::start().await;
    let server = start(&redis).await;
    let open = async || {
        let mut socket = Socket::connect(&server).await;
        assert_eq!(socket.ask(LIVE).await.status, 200);
        socket
    };
    let mut idle = Vec::new();
    while idle.len() < 10_100 {
        idle.extend(join_all((0..100).map(|_| open())).await);
    }
    // Each of them was served although the server holds at most 10,000. Probes and other clients
    // are served, too.
    for _ in 0..20 {
        assert_eq!(server.get("/health/ready").await.status, 200);
        let connected = server
            .post(
                "/presence/connect",
                json!({"player_id": "alice", "connection_id": "c1"}),
            )
            .await;
        assert_eq!(connected.status, 200);
    }
    // The newest connections are still open; the oldest ones were evicted.
    assert_eq!(idle.pop().unwrap().ask(LIVE).await.status, 200);
    assert!(idle.swap_remove(0).is_closed().await);
}

#[tokio::test]
async fn probes_are_served_while_all_other_connections_wait_for_their_bodies() {
    let redis = RedisServer::start().await;
    // 100 connections, three of them for probes.
    let variables = [("PRESENCE_REDIS_URL", &*redis.url())];
    let server = Server::start_with_files(200, &variables);
    // The interim response says that the server has accepted the connection and waits for the body.
    let head = "POST /presence/connect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
    let mut busy = Vec::new();
    for _ in 0..98 {
        let mut socket = Socket::connect(&server).await;
        assert_eq!(socket.ask(head).await.status, 100);
        socket.send("{").await;
        busy.push(socket);
    }
    for _ in 0..20 {
        let live = server.get("/health/live").await;
        assert_eq!(
            (live.status, &live.headers["connection"]),
            (200, &"close".parse().unwrap())
        );
        let refused = server.get("/presence/alice").await;
        assert_eq!(
            (refused.status, refused.body["type"].as_str()),
            (503, Some("urn:presence:overloaded"))
        );
    }
    // The busy connections get a response in the end, and then all clients are served.
    for socket in &mut busy {
        assert_eq!(socket.response().await.unwrap().status, 408);
    }
    drop(busy);
    while server.get("/presence/alice").await.status != 200 {}
}

#[tokio::test]
async fn connections_of_clients_do_not_use_up_the_files_that_redis_needs() {
    let mut redis = RedisServer::start().await;
    let variables = [("PRESENCE_REDIS_URL", &*redis.url()), STORE_TIMEOUT];
    let server = Server::start_with_files(256, &variables);
    assert_eq!(
        server.await_log("connections at a time").await["connections"],
        128
    );
    let connect = || {
        server.post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
    };
    assert_eq!(connect().await.status, 200);
    let mut clients = Vec::new();
    for _ in 0..300 {
        clients.push(Socket::connect(&server).await);
    }
    redis.kill();
    assert_eq!(connect().await.status, 503);
    redis.restart().await;
    assert_eq!(connect().await.status, 200);
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_as_far_as_allowed() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let [soft, hard] = [3, 4].map(|field| {
        limit
            .split_whitespace()
            .nth(field)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    });
    assert!(soft >= hard.min(14_096), "{limit}");
    assert_eq!(server.logged("connections at a time").len(), 1);
}
