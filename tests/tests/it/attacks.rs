//! Harmful clients, malicious or not: others are served, and memory is bounded.

use std::{collections::HashSet, io::ErrorKind::WouldBlock, time::Duration};

use futures_util::future::join_all;
use presence_tests::{RedisServer, Response, STORE_TIMEOUT, Server, open_files, peak_memory, send};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The server's time limit for slow clients, and an allowance for a busy machine.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10 + 8);

struct Fixture {
    redis: RedisServer,
    server: Server,
}

impl Fixture {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let url = redis.url();
        let mut all = vec![("PRESENCE_REDIS_URL", &*url), STORE_TIMEOUT];
        all.extend(variables);
        let server = Server::start(&all);
        server.get("/presence/warm").await;
        Self { redis, server }
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.server.address()).await.unwrap()
    }

    /// Opens `count` sockets, and sends `text` on each.
    async fn sockets(&self, count: usize, text: &str) -> Vec<TcpStream> {
        let open = async || {
            let mut socket = self.socket().await;
            socket.write_all(text.as_bytes()).await.unwrap();
            socket
        };
        let mut sockets = Vec::new();
        while sockets.len() < count {
            let more = (sockets.len()..count).take(200).map(|_| open());
            sockets.extend(join_all(more).await);
        }
        sockets
    }

    /// Checks that a regular client is served.
    async fn serves_others(&self) {
        let connect = self.server.post("/presence/connect", one("alice", "c1"));
        let response = timeout(CLIENT_TIMEOUT, connect).await.expect("a response");
        assert_eq!(
            (response.status, &response.body["state"]),
            (200, &json!("ONLINE"))
        );
    }

    fn peak(&self) -> u64 {
        peak_memory(self.server.id())
    }

    async fn post_raw(&self, body: String) -> Response {
        let request = reqwest::Client::new().post(self.server.url("/presence/connect"));
        send(
            request
                .header("content-type", "application/json")
                .body(body),
        )
        .await
    }
}

fn one(player: &str, connection: &str) -> Value {
    json!({"player_id": player, "connection_id": connection})
}

/// Reads everything that the server sends on a socket until it closes it.
async fn read_to_end(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends the read, too.
    let _ = timeout(CLIENT_TIMEOUT, socket.read_to_end(&mut bytes))
        .await
        .expect("the server closes the socket");
    String::from_utf8(bytes).unwrap()
}

/// The status line of the response to a request.
async fn status_of(socket: &mut TcpStream, request: &str) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = vec![0; 4096];
    let length = timeout(CLIENT_TIMEOUT, socket.read(&mut response))
        .await
        .expect("a response")
        .unwrap();
    String::from_utf8_lossy(&response[..length])
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn post(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn slow_clients_do_not_delay_others_and_are_disconnected() {
    let test = Fixture::new(&[("PRESENCE_AUTH_TOKENS", "secret")]).await;
    let authorized = post("/presence/connect", 100).replace(
        "host: localhost",
        "host: localhost\r\nauthorization: Bearer secret",
    );
    // A connection that is idle for longer than the time limit of slow clients, like those of load
    // balancers.
    let mut idle = test.sockets(1, "").await.remove(0);
    assert_eq!(
        status_of(
            &mut idle,
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        .await,
        "HTTP/1.1 200 OK"
    );
    let mut slow = test.sockets(700, &authorized).await; // more than the number of concurrent calls
    slow.extend(test.sockets(700, &post("/presence/connect", 100)).await);
    slow.extend(test.sockets(100, &post("/nowhere", 100)).await);
    slow.extend(
        test.sockets(100, "POST /presence/connect HTTP/1.1\r\nhost: ")
            .await,
    );
    slow.extend(test.sockets(100, "P").await);
    slow.extend(test.sockets(100, "").await);
    let client = reqwest::Client::new();
    let connect = client
        .post(test.server.url("/presence/connect"))
        .bearer_auth("secret")
        .json(&one("alice", "c1"));
    assert_eq!(send(connect).await.status, 200);
    let is_open = |socket: &TcpStream| {
        socket
            .try_read(&mut [0])
            .is_err_and(|error| error.kind() == WouldBlock)
    };
    assert!(
        slow[..700].iter().all(is_open),
        "the response came before a slow client was disconnected"
    );
    let responses: HashSet<_> = join_all(slow.into_iter().map(read_to_end))
        .await
        .into_iter()
        .collect();
    let statuses: HashSet<_> = responses
        .iter()
        .map(|response| response.split(' ').nth(1).unwrap_or("closed"))
        .collect();
    assert_eq!(statuses, ["408", "401", "404", "closed"].into());
    assert_eq!(
        status_of(
            &mut idle,
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
        )
        .await,
        "HTTP/1.1 200 OK"
    );
}

#[tokio::test]
async fn endless_headers_are_refused_and_use_little_memory() {
    let test = Fixture::new(&[]).await;
    let before = test.peak();
    let text = format!(
        "GET /presence/alice HTTP/1.1\r\nhost: localhost\r\nx-long: {}",
        "x".repeat(400 * 1024)
    );
    let flood = async || {
        let mut socket = test.socket().await;
        let _ = socket.write_all(text.as_bytes()).await; // the server refuses it before the end
        read_to_end(socket).await
    };
    for _ in 0..10 {
        for response in join_all((0..100).map(|_| flood())).await {
            assert!(
                response.is_empty() || response.starts_with("HTTP/1.1 431 "),
                "{response}"
            );
        }
        test.serves_others().await;
    }
    assert!(
        test.peak() - before < 32,
        "{} MiB after {before}",
        test.peak()
    );
    let many: String = (0..1_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let sockets = test
        .sockets(
            1,
            &format!("GET /presence/alice HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
        )
        .await;
    let responses = join_all(sockets.into_iter().map(read_to_end))
        .await
        .concat();
    assert!(responses.starts_with("HTTP/1.1 431 "), "{responses}");
}

#[tokio::test]
async fn bodies_that_use_too_much_memory_are_refused_and_small_ones_are_served() {
    let test = Fixture::new(&[]).await;
    let before = test.peak();
    let large = post("/presence/connect", 1024 * 1024) + &" ".repeat(1024 * 1024 - 1);
    let send = async || {
        let mut socket = test.socket().await;
        let _ = socket.write_all(large.as_bytes()).await; // it may be refused before its end
        socket
    };
    let sockets = join_all((0..1_000).map(|_| send())).await;
    test.serves_others().await;
    let grown = test.peak() - before;
    assert!(grown < 300, "{grown} MiB of the 1,000 that were sent");
    let responses = join_all(sockets.into_iter().map(read_to_end)).await;
    let has_status =
        |response: &str, status: &str| response.starts_with(&format!("HTTP/1.1 {status} "));
    let count = |status: &str| {
        responses
            .iter()
            .filter(|response| has_status(response, status))
            .count()
    };
    assert!(
        count("408") >= 32,
        "{} of them were admitted and timed out",
        count("408")
    );
    assert!(
        count("408") + count("503") > 500,
        "{} and {}",
        count("408"),
        count("503")
    );
}

#[tokio::test]
async fn endless_bodies_are_refused() {
    let test = Fixture::new(&[]).await;
    let before = test.peak();
    let flood = async || {
        let mut socket = test.socket().await;
        let head = "POST /presence/connect HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        while socket.write_all(chunk.as_bytes()).await.is_ok() {}
        read_to_end(socket).await
    };
    timeout(CLIENT_TIMEOUT, join_all((0..50).map(|_| flood())))
        .await
        .expect("the server closes all sockets");
    test.serves_others().await;
    assert!(
        test.peak() - before < 2 * 64,
        "{} MiB after {before}",
        test.peak()
    );
}

#[tokio::test]
async fn deeply_nested_and_malformed_bodies_are_refused() {
    let test = Fixture::new(&[]).await;
    let before = test.peak();
    let build_deep = |open: &str| open.repeat(1024 * 1024 / open.len());
    for body in [
        build_deep("["),
        build_deep("{\"a\":"),
        build_deep("{\"connections\":["),
        format!(
            "{{\"connections\":{}}}",
            build_deep("[").split_at(500_000).0
        ),
        format!(
            "{{\"player_id\":\"{}\",\"connection_id\":\"c\"}}",
            "a".repeat(1_000_000)
        ),
        format!(
            "{{\"player_id\":{},\"connection_id\":\"c\"}}",
            "9".repeat(1_000_000)
        ),
        format!(
            "{{\"player_id\":\"{}\",\"connection_id\":\"c\"}}",
            "\\u0061".repeat(160_000)
        ),
        format!("[{}1]", "1,".repeat(500_000)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(150_000)),
        format!("{{\"connections\":[{}{{}}]}}", "{},".repeat(300_000)),
        "\u{0}".repeat(1_000_000),
    ] {
        let response = test.post_raw(body).await;
        assert_eq!(
            (response.status, &response.body["type"]),
            (400, &json!("urn:presence:invalid-request"))
        );
        let length = response.body.to_string().len();
        assert!(length < 1_000, "a response of {length} bytes");
    }
    test.serves_others().await;
    assert!(
        test.peak() - before < 96,
        "{} MiB after {before}",
        test.peak()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_ends_with_their_time_limits() {
    open_files(11_000);
    let test = Fixture::new(&[]).await;
    let before = test.peak();
    let flood = test.sockets(10_100, "").await;
    let other = async {
        loop {
            // The first attempts wait in the kernel's queue with the surplus connections.
            let connect = test.server.post("/presence/connect", one("alice", "c1"));
            if timeout(Duration::from_secs(30), connect)
                .await
                .is_ok_and(|response| response.status == 200)
            {
                return;
            }
        }
    };
    timeout(Duration::from_secs(120), other)
        .await
        .expect("a response");
    assert!(
        test.peak() - before < 200,
        "{} MiB after {before}",
        test.peak()
    );
    drop(flood);
}

#[tokio::test]
async fn a_player_who_connects_10_000_times_has_64_leases_and_does_not_affect_others() {
    let test = Fixture::new(&[("PRESENCE_TTL", "45s")]).await;
    for batch in 0..5 {
        let connections: Vec<_> = (0..2_000)
            .map(|n| one("hydra", &format!("c{batch}-{n}")))
            .collect();
        let response = test
            .server
            .post("/presence/connect", json!({"connections": connections}))
            .await;
        assert_eq!(
            (response.status, &response.body["accepted"]),
            (200, &json!(2_000))
        );
        test.serves_others().await;
    }
    assert_eq!(
        test.server.get("/presence/hydra").await.body["connection_count"],
        64
    );
    let mut redis = test.redis.connection().await;
    assert!(redis.get("presence:hydra").await.unwrap().unwrap().len() < 64 * 32 + 256);
    assert_eq!(
        redis.zcard("{presence:hydra}:closed").await.unwrap(),
        10_000 - 64
    );
    // Tombstones of evicted connections last for two TTLs, and no longer.
    test.redis.advance_clock(Duration::from_secs(91)).await;
    assert_eq!(
        test.redis
            .keys()
            .await
            .iter()
            .filter(|key| key.ends_with(":closed"))
            .count(),
        0
    );
}

#[tokio::test]
async fn ids_that_look_like_keys_or_patterns_are_plain_ids_or_refused() {
    let test = Fixture::new(&[]).await;
    let strange = [
        "presence:alice",
        "alice:past",
        "alice:closed",
        "all",
        "all:expiry",
        "swept",
        ":",
        "::",
        "|",
        "@",
        "-",
        "-1",
        "...",
        "0",
        "00",
        "1795492717576",
        "OFFLINE",
        "ONLINE",
        "null",
        "expired",
        "a:1",
        "a",
        "alice|c1",
        "__proto__",
    ];
    test.server
        .post("/presence/connect", one("alice", "c1"))
        .await;
    for (n, player) in strange.iter().enumerate() {
        let connected = test
            .server
            .post("/presence/connect", one(player, &format!("{player}/=+")))
            .await;
        assert_eq!(
            (connected.status, &connected.body["connection_count"]),
            (200, &json!(1)),
            "{player}"
        );
        assert_eq!(connected.body["player_id"], *player);
        assert_eq!(
            test.server.get("/presence/alice").await.body["connection_count"],
            1,
            "{n}: {player}"
        );
    }
    let ids: Vec<_> = strange.iter().chain(&["nobody"]).collect();
    let friends = test
        .server
        .post("/presence/friends", json!({"player_ids": ids}))
        .await;
    let states: Vec<_> = friends.body["presences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|friend| &friend["state"])
        .collect();
    assert_eq!(
        states.iter().filter(|state| **state == "ONLINE").count(),
        strange.len()
    );
    for player in &strange {
        let offline = test
            .server
            .post("/presence/disconnect", one(player, &format!("{player}/=+")))
            .await;
        assert_eq!(
            (offline.status, &offline.body["state"]),
            (200, &json!("OFFLINE")),
            "{player}"
        );
    }
    assert_eq!(
        test.server.get("/presence/alice").await.body["state"],
        "ONLINE"
    );

    for pattern in [
        "*",
        "a*",
        "?lice",
        "[a]lice",
        "{alice}",
        "presence:{all}:expiry",
        "a b",
        "a\nb",
        "a\"b",
        "a\\b",
        "é",
        "",
    ] {
        let response = test
            .server
            .post("/presence/connect", one(pattern, "c1"))
            .await;
        assert_eq!(
            (response.status, response.body["field"].as_str()),
            (400, Some("player_id")),
            "{pattern}"
        );
        let response = test
            .server
            .post("/presence/connect", one("alice", pattern))
            .await;
        assert_eq!(
            (response.status, response.body["field"].as_str()),
            (400, Some("connection_id")),
            "{pattern}"
        );
    }
    for path in ["%2A", "a%2A", "%7Balice%7D", "%5Ba%5D", "a%00"] {
        assert_eq!(
            test.server.get(&format!("/presence/{path}")).await.status,
            400,
            "{path}"
        );
    }
}
