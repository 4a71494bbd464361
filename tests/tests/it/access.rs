//! Access control: tokens, pages of other sites, and host names that do not belong to this machine.

use presence_tests::{NatsServer, RedisServer, Server, Socket, send};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

const READERS: (&str, &str) = ("PRESENCE_READ_TOKENS", "reader, other-reader-01234");
const WRITERS: (&str, &str) = ("PRESENCE_AUTH_TOKENS", "writer, other-writer-01234");

/// The calls that change nothing.
const READS: [(&str, &str); 8] = [
    ("GET", "/presence/alice"),
    ("GET", "/presence/connect"),
    ("POST", "/presence/friends"),
    ("GET", "/presence"),
    ("GET", "/metrics"),
    ("GET", "/console/players/alice"),
    ("GET", "/console/events"),
    ("GET", "/presence/alice/"),
];
/// The calls that change players.
const CHANGES: [&str; 4] = ["connect", "heartbeat", "disconnect", "state"];

/// The paths that need no token.
const OPEN: [&str; 7] = [
    "/console",
    "/console/main.js",
    "/console/style.css",
    "/openapi.json",
    "/health/live",
    "/health/ready",
    "/",
];

struct Fixture {
    redis: RedisServer,
    _nats: NatsServer,
    server: Server,
}

impl Fixture {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let redis_url = redis.url();
        let nats_url = nats.url();
        let mut all = vec![
            ("PRESENCE_REDIS_URL", &*redis_url),
            ("PRESENCE_NATS_URL", &*nats_url),
        ];
        all.extend(variables);
        let server = Server::start(&all);
        Self {
            redis,
            _nats: nats,
            server,
        }
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method: Method = method.parse().unwrap();
        let request = Client::new().request(method.clone(), self.server.url(path));
        if method == Method::POST {
            request.json(&json!({"player_ids": ["alice"]}))
        } else {
            request
        }
    }

    async fn metrics(&self, token: &str) -> String {
        let request = self.request("GET", "/metrics").bearer_auth(token);
        request.send().await.unwrap().text().await.unwrap()
    }
}

/// The status of a response, and the slug of its problem. The body of a 200 is not read, as it may
/// be a stream.
async fn outcome(request: RequestBuilder) -> (u16, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        return (status, String::new());
    }
    let body: Value = response.json().await.unwrap_or_default();
    (
        status,
        body["type"]
            .as_str()
            .unwrap_or_default()
            .replace("urn:presence:", ""),
    )
}

fn forbidden() -> (u16, String) {
    (403, "forbidden".to_owned())
}

#[tokio::test]
async fn a_read_token_allows_reads_and_no_changes() {
    let test = Fixture::new(&[READERS, WRITERS]).await;
    for token in [
        "reader",
        "other-reader-01234",
        "writer",
        "other-writer-01234",
    ] {
        for (method, path) in READS {
            assert_eq!(
                outcome(test.request(method, path).bearer_auth(token))
                    .await
                    .0,
                200,
                "{token} {method} {path}"
            );
        }
    }
    for (method, path) in READS {
        for token in [
            "",
            "reade",
            "reader2",
            "reader,",
            "reader, other-reader-01234",
        ] {
            let refused = outcome(test.request(method, path).bearer_auth(token)).await;
            assert_eq!(
                refused,
                (401, "unauthorized".to_owned()),
                "{token} {method} {path}"
            );
        }
    }
    for call in CHANGES {
        for path in [format!("/presence/{call}"), format!("/presence/{call}/")] {
            let with = |token| test.request("POST", &path).bearer_auth(token);
            assert_eq!(outcome(with("reader")).await, forbidden(), "{path}");
            assert_eq!(outcome(with("wrong-token")).await.0, 401, "{path}");
            assert_eq!(
                outcome(with("writer")).await.0,
                400,
                "{path}: the body is another call's"
            );
        }
    }
    for path in OPEN {
        for token in ["", "reader", "wrong-token"] {
            assert_eq!(
                outcome(test.request("GET", path).bearer_auth(token))
                    .await
                    .0,
                200,
                "{path}"
            );
        }
    }
    assert!(
        test.redis
            .keys()
            .await
            .iter()
            .all(|key| !key.contains("alice"))
    );
}

#[tokio::test]
async fn a_read_token_is_refused_before_the_body_is_read() {
    let test = Fixture::new(&[READERS, WRITERS]).await;
    let connect = || {
        Client::new()
            .post(test.server.url("/presence/connect"))
            .bearer_auth("reader")
    };
    assert_eq!(
        outcome(connect().body("x".repeat(1024 * 1024 + 1))).await,
        forbidden()
    );
    assert_eq!(
        outcome(connect().header("content-type", "text/plain").body("{}")).await,
        forbidden()
    );
    let put = Client::new()
        .put(test.server.url("/presence/connect"))
        .bearer_auth("reader");
    assert_eq!(outcome(put).await.0, 405);
    assert_eq!(
        outcome(
            Client::new()
                .get(test.server.url("/nothing"))
                .bearer_auth("reader")
        )
        .await
        .0,
        404
    );
}

#[tokio::test]
async fn refused_callers_are_counted_and_logged_with_their_address() {
    let test = Fixture::new(&[READERS, WRITERS]).await;
    for _ in 0..20 {
        outcome(
            test.request("GET", "/presence/alice")
                .bearer_auth("wrong-token"),
        )
        .await;
        outcome(
            test.request("POST", "/presence/state")
                .bearer_auth("reader"),
        )
        .await;
    }
    let metrics = test.metrics("reader").await;
    for line in [
        r#"presence_calls_refused_total{reason="token"} 20"#,
        r#"presence_calls_refused_total{reason="read_token"} 20"#,
        r#"presence_calls_total{call="/presence/state",status="403"} 20"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    let line = test.server.await_log("call refused").await;
    assert_eq!(
        (&line["call"], &line["reason"]),
        (&json!("/presence/{player_id}"), &json!("token"))
    );
    assert!(
        line["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{line}"
    );
    let lines = test.server.logged("call refused");
    assert!(lines.len() < 40, "{} lines", lines.len());
    let log = test.server.logged("");
    assert!(
        log.iter()
            .all(|line| !line.to_string().contains("wrong-token")),
        "no token is logged"
    );
    assert!(
        lines.iter().all(|line| !line.to_string().contains("alice")),
        "no player is logged"
    );
}

#[tokio::test]
async fn short_tokens_cause_a_warning() {
    let test = Fixture::new(&[
        ("PRESENCE_AUTH_TOKENS", "0123456789abcdef"),
        ("PRESENCE_READ_TOKENS", "short"),
    ])
    .await;
    let warnings = test.server.logged("shorter than 16");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        (&warnings[0]["level"], &warnings[0]["variable"]),
        (&json!("WARN"), &json!("PRESENCE_READ_TOKENS"))
    );
}

#[tokio::test]
async fn pages_of_other_sites_cannot_make_calls() {
    let test = Fixture::new(&[]).await;
    let own = test.server.url("");
    let open_paths = READS.into_iter().chain(OPEN.map(|path| ("GET", path)));
    let paths = open_paths
        .chain(CHANGES.map(|call| ("POST", ["/presence/", call].concat().leak() as &str)));
    for (method, path) in paths {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "http://evil.example"),
            ("origin", "null"),
        ] {
            let request = test.request(method, path).header(name, value);
            assert_eq!(
                outcome(request).await,
                forbidden(),
                "{method} {path} {name}: {value}"
            );
        }
        for (name, value) in [
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
            ("origin", &*own),
        ] {
            let accepted = outcome(test.request(method, path).header(name, value)).await;
            assert!(
                matches!(accepted.0, 200 | 400),
                "{method} {path} {name}: {value}: {accepted:?}"
            );
        }
    }
    // A form, or a Blob without a type, needs no preflight.
    let blob = Client::new()
        .post(test.server.url("/presence/state"))
        .header("sec-fetch-site", "cross-site");
    assert_eq!(
        outcome(blob.body(r#"{"player_id":"alice","state":"OFFLINE"}"#)).await,
        forbidden()
    );
    assert!(
        test.redis
            .keys()
            .await
            .iter()
            .all(|key| !key.contains("alice"))
    );
}

#[tokio::test]
async fn a_link_may_lead_to_the_page_and_not_to_its_data() {
    let test = Fixture::new(&[]).await;
    let follow = |path: &str| {
        let link = test
            .request("GET", path)
            .header("sec-fetch-site", "cross-site");
        link.header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
    };
    assert_eq!(outcome(follow("/console")).await.0, 200);
    assert_eq!(outcome(follow("/")).await.0, 200);
    for path in ["/presence/alice", "/metrics", "/console/players/alice"] {
        assert_eq!(outcome(follow(path)).await, forbidden(), "{path}");
    }
}

#[tokio::test]
async fn tokens_are_checked_before_the_origin() {
    let test = Fixture::new(&[WRITERS]).await;
    let read = || {
        test.request("GET", "/presence/alice")
            .header("sec-fetch-site", "cross-site")
    };
    assert_eq!(outcome(read()).await.0, 401);
    assert_eq!(outcome(read().bearer_auth("writer")).await, forbidden());
}

#[tokio::test]
async fn host_names_that_only_resolve_to_this_machine_are_refused() {
    let open = Fixture::new(&[]).await;
    let secured = Fixture::new(&[WRITERS]).await;
    for path in [
        "/presence/alice",
        "/metrics",
        "/console",
        "/health/live",
        "/health/ready",
        "/openapi.json",
        "/",
    ] {
        for (host, is_refused) in [
            ("evil.example", true),
            ("127.0.0.1.evil.example:8080", true),
            ("192.168.1.1", true),
            ("localhost", false),
            ("LOCALHOST:1", false),
            ("127.0.0.1:8080", false),
            ("[::1]:8080", false),
        ] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer writer\r\nconnection: close\r\n\r\n"
            );
            let refused = Socket::connect(&open.server).await.ask(&request).await;
            assert_eq!(
                refused.status == 403,
                is_refused,
                "{path} {host}: {}",
                refused.head
            );
            // With tokens, the host does not matter: a page has no token.
            assert_ne!(
                Socket::connect(&secured.server)
                    .await
                    .ask(&request)
                    .await
                    .status,
                403,
                "{path} {host}"
            );
        }
    }
    let absolute = "GET http://evil.example/presence/alice HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(
        Socket::connect(&open.server)
            .await
            .ask(absolute)
            .await
            .slug(),
        "forbidden"
    );
}

#[tokio::test]
async fn a_server_on_all_addresses_accepts_every_host_name() {
    let redis = RedisServer::start().await;
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_BIND", "0.0.0.0:0"),
        ("PRESENCE_AUTH", "none"),
    ];
    let server = Server::start(&variables);
    let port = server.address().rsplit(':').next().unwrap().to_owned();
    let read = Client::new()
        .get(format!("http://127.0.0.1:{port}/presence/alice"))
        .header("host", "presence.example");
    assert_eq!(send(read).await.status, 200);
}
