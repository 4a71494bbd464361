//! Clients that mean harm, or do harm without meaning it: others are served, and memory is bounded.

use std::{collections::HashSet, io::ErrorKind::WouldBlock, time::Duration};

use futures_util::future::join_all;
use presence_tests::{Answer, RedisServer, STORE_TIMEOUT, Server, answer, open_files, peak_memory};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// After this time the server gives up whoever is slow; and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10 + 8);

struct World {
    redis: RedisServer,
    server: Server,
}

impl World {
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

    /// So many sockets, each of which has sent `text`.
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

    /// Somebody who means well is served.
    async fn serves_others(&self) {
        let connect = self.server.post("/presence/connect", one("alice", "c1"));
        let answer = timeout(PATIENCE, connect).await.expect("an answer");
        assert_eq!((answer.status, &answer.body["state"]), (200, &json!("ONLINE")));
    }

    fn peak(&self) -> u64 {
        peak_memory(self.server.id())
    }

    async fn post_raw(&self, body: String) -> Answer {
        let request = reqwest::Client::new().post(self.server.url("/presence/connect"));
        answer(request.header("content-type", "application/json").body(body)).await
    }
}

fn one(player: &str, connection: &str) -> Value {
    json!({"player_id": player, "connection_id": connection})
}

/// What the server says on a socket until it closes it.
async fn last_words(mut socket: TcpStream) -> String {
    let mut words = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut words)).await.expect("the server closes the socket"); // or resets it
    String::from_utf8(words).unwrap()
}

/// The first line of the server's answer to a request.
async fn status_of(socket: &mut TcpStream, request: &str) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = timeout(PATIENCE, socket.read(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8_lossy(&answer[..length]).lines().next().unwrap_or_default().to_owned()
}

fn post(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn clients_who_take_their_time_hold_nobody_up_and_are_given_up() {
    let world = World::new(&[("PRESENCE_AUTH_TOKENS", "secret")]).await;
    let authorized =
        post("/presence/connect", 100).replace("host: localhost", "host: localhost\r\nauthorization: Bearer secret");
    // One that comes back after longer than the slow ones are waited for, as load balancers' sockets do.
    let mut idle = world.sockets(1, "").await.remove(0);
    assert_eq!(status_of(&mut idle, "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await, "HTTP/1.1 200 OK");
    let mut slow = world.sockets(700, &authorized).await; // more than there are calls at a time
    slow.extend(world.sockets(700, &post("/presence/connect", 100)).await);
    slow.extend(world.sockets(100, &post("/nowhere", 100)).await);
    slow.extend(world.sockets(100, "POST /presence/connect HTTP/1.1\r\nhost: ").await);
    slow.extend(world.sockets(100, "P").await);
    slow.extend(world.sockets(100, "").await);
    let client = reqwest::Client::new();
    let connect = client.post(world.server.url("/presence/connect")).bearer_auth("secret").json(&one("alice", "c1"));
    assert_eq!(answer(connect).await.status, 200);
    let is_waited_for = |socket: &TcpStream| socket.try_read(&mut [0]).is_err_and(|error| error.kind() == WouldBlock);
    assert!(slow[..700].iter().all(is_waited_for), "the answer came before a slow client was given up");
    let words: HashSet<_> = join_all(slow.into_iter().map(last_words)).await.into_iter().collect();
    let statuses: HashSet<_> = words.iter().map(|words| words.split(' ').nth(1).unwrap_or("closed")).collect();
    assert_eq!(statuses, ["408", "401", "404", "closed"].into());
    assert_eq!(status_of(&mut idle, "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn headers_without_an_end_are_refused_and_take_up_little_memory() {
    let world = World::new(&[]).await;
    let before = world.peak();
    let text = format!("GET /presence/alice HTTP/1.1\r\nhost: localhost\r\nx-long: {}", "x".repeat(400 * 1024));
    let flood = async || {
        let mut socket = world.socket().await;
        let _ = socket.write_all(text.as_bytes()).await; // the server has seen enough before the end
        last_words(socket).await
    };
    for _ in 0..10 {
        for words in join_all((0..100).map(|_| flood())).await {
            assert!(words.is_empty() || words.starts_with("HTTP/1.1 431 "), "{words}");
        }
        world.serves_others().await;
    }
    assert!(world.peak() - before < 32, "{} MiB after {before}", world.peak());
    let many: String = (0..1_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let sockets = world.sockets(1, &format!("GET /presence/alice HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")).await;
    let words = join_all(sockets.into_iter().map(last_words)).await.concat();
    assert!(words.starts_with("HTTP/1.1 431 "), "{words}");
}

#[tokio::test]
async fn bodies_that_take_up_too_much_memory_are_refused_and_small_ones_are_served() {
    let world = World::new(&[]).await;
    let before = world.peak();
    let large = post("/presence/connect", 1024 * 1024) + &" ".repeat(1024 * 1024 - 1);
    let send = async || {
        let mut socket = world.socket().await;
        let _ = socket.write_all(large.as_bytes()).await; // it may be refused before its end
        socket
    };
    let sockets = join_all((0..1_000).map(|_| send())).await;
    world.serves_others().await;
    let grown = world.peak() - before;
    assert!(grown < 300, "{grown} MiB of the 1,000 that were sent");
    let words = join_all(sockets.into_iter().map(last_words)).await;
    let count = |status: &str| words.iter().filter(|words| words.starts_with(&format!("HTTP/1.1 {status} "))).count();
    assert!(count("408") >= 32, "{} of them had room, and never came to an end", count("408"));
    assert!(count("408") + count("503") > 500, "{} and {}", count("408"), count("503"));
}

#[tokio::test]
async fn bodies_without_an_end_are_refused() {
    let world = World::new(&[]).await;
    let before = world.peak();
    let flood = async || {
        let mut socket = world.socket().await;
        let head = "POST /presence/connect HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        while socket.write_all(chunk.as_bytes()).await.is_ok() {}
        last_words(socket).await
    };
    timeout(PATIENCE, join_all((0..50).map(|_| flood()))).await.expect("the server closes all sockets");
    world.serves_others().await;
    assert!(world.peak() - before < 2 * 64, "{} MiB after {before}", world.peak());
}

#[tokio::test]
async fn bodies_that_are_deep_or_strange_are_refused() {
    let world = World::new(&[]).await;
    let before = world.peak();
    let deep = |open: &str| open.repeat(1024 * 1024 / open.len());
    for body in [
        deep("["),
        deep("{\"a\":"),
        deep("{\"connections\":["),
        format!("{{\"connections\":{}}}", deep("[").split_at(500_000).0),
        format!("{{\"player_id\":\"{}\",\"connection_id\":\"c\"}}", "a".repeat(1_000_000)),
        format!("{{\"player_id\":{},\"connection_id\":\"c\"}}", "9".repeat(1_000_000)),
        format!("{{\"player_id\":\"{}\",\"connection_id\":\"c\"}}", "\\u0061".repeat(160_000)),
        format!("[{}1]", "1,".repeat(500_000)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(150_000)),
        format!("{{\"connections\":[{}{{}}]}}", "{},".repeat(300_000)),
        "\u{0}".repeat(1_000_000),
    ] {
        let answer = world.post_raw(body).await;
        assert_eq!((answer.status, &answer.body["type"]), (400, &json!("urn:presence:invalid-request")));
        let length = answer.body.to_string().len();
        assert!(length < 1_000, "an answer of {length} bytes");
    }
    world.serves_others().await;
    assert!(world.peak() - before < 96, "{} MiB after {before}", world.peak());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_connections_is_over_when_the_server_has_waited_long_enough() {
    open_files(11_000);
    let world = World::new(&[]).await;
    let before = world.peak();
    let flood = world.sockets(10_100, "").await;
    let other = async {
        loop {
            // The first attempts wait in the queue with those that were too many.
            let connect = world.server.post("/presence/connect", one("alice", "c1"));
            if timeout(Duration::from_secs(30), connect).await.is_ok_and(|answer| answer.status == 200) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(120), other).await.expect("an answer");
    assert!(world.peak() - before < 200, "{} MiB after {before}", world.peak());
    drop(flood);
}

#[tokio::test]
async fn a_player_who_connects_10_000_times_has_64_leases_and_costs_the_others_nothing() {
    let world = World::new(&[("PRESENCE_TTL", "45s")]).await;
    for batch in 0..5 {
        let connections: Vec<_> = (0..2_000).map(|n| one("hydra", &format!("c{batch}-{n}"))).collect();
        let answer = world.server.post("/presence/connect", json!({"connections": connections})).await;
        assert_eq!((answer.status, &answer.body["accepted"]), (200, &json!(2_000)));
        world.serves_others().await;
    }
    assert_eq!(world.server.get("/presence/hydra").await.body["connection_count"], 64);
    let mut redis = world.redis.connection().await;
    assert!(redis.get("presence:hydra").await.unwrap().unwrap().len() < 64 * 32 + 256);
    assert_eq!(redis.zcard("{presence:hydra}:closed").await.unwrap(), 10_000 - 64);
    // What was evicted is remembered for two TTLs, and no longer.
    world.redis.pass(Duration::from_secs(91)).await;
    assert_eq!(world.redis.keys().await.iter().filter(|key| key.ends_with(":closed")).count(), 0);
}

#[tokio::test]
async fn ids_that_look_like_keys_or_patterns_are_ids_or_refused() {
    let world = World::new(&[]).await;
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
    world.server.post("/presence/connect", one("alice", "c1")).await;
    for (n, player) in strange.iter().enumerate() {
        let connected = world.server.post("/presence/connect", one(player, &format!("{player}/=+"))).await;
        assert_eq!((connected.status, &connected.body["connection_count"]), (200, &json!(1)), "{player}");
        assert_eq!(connected.body["player_id"], *player);
        assert_eq!(world.server.get("/presence/alice").await.body["connection_count"], 1, "{n}: {player}");
    }
    let asked: Vec<_> = strange.iter().chain(&["nobody"]).collect();
    let friends = world.server.post("/presence/friends", json!({"player_ids": asked})).await;
    let there: Vec<_> = friends.body["presences"].as_array().unwrap().iter().map(|friend| &friend["state"]).collect();
    assert_eq!(there.iter().filter(|state| **state == "ONLINE").count(), strange.len());
    for player in &strange {
        let gone = world.server.post("/presence/disconnect", one(player, &format!("{player}/=+"))).await;
        assert_eq!((gone.status, &gone.body["state"]), (200, &json!("OFFLINE")), "{player}");
    }
    assert_eq!(world.server.get("/presence/alice").await.body["state"], "ONLINE");

    for pattern in
        ["*", "a*", "?lice", "[a]lice", "{alice}", "presence:{all}:expiry", "a b", "a\nb", "a\"b", "a\\b", "é", ""]
    {
        let answer = world.server.post("/presence/connect", one(pattern, "c1")).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some("player_id")), "{pattern}");
        let answer = world.server.post("/presence/connect", one("alice", pattern)).await;
        assert_eq!((answer.status, answer.body["field"].as_str()), (400, Some("connection_id")), "{pattern}");
    }
    for path in ["%2A", "a%2A", "%7Balice%7D", "%5Ba%5D", "a%00"] {
        assert_eq!(world.server.get(&format!("/presence/{path}")).await.status, 400, "{path}");
    }
}
