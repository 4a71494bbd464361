//! The handshake of `GET /watch`.

use presence_tests::{Server, send};

use super::Fixture;

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> presence_tests::Response {
    let request = reqwest::Client::new().get(server.url(path));
    send(headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    }))
    .await
}

#[tokio::test]
async fn a_request_that_is_not_a_handshake_gets_426() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let other_version: Vec<_> = HANDSHAKE
        .iter()
        .map(|(name, value)| (*name, if *value == "13" { "8" } else { value }))
        .collect();
    for (path, headers) in [
        ("/watch", vec![]),
        ("/watch?players=alice", vec![]),
        ("/watch", vec![("accept", "text/event-stream")]),
        ("/watch", HANDSHAKE[..3].to_vec()),
        ("/watch", other_version),
    ] {
        let response = ask(&server, path, &headers).await;
        assert_eq!(
            (response.status, &response.body["type"]),
            (426, &"urn:presence:upgrade-required".into()),
            "{headers:?}"
        );
        assert_eq!(response.headers["content-type"], "application/problem+json");
        assert_eq!(response.headers["upgrade"], "websocket");
        assert_eq!(response.headers["sec-websocket-version"], "13");
    }
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let response = server.post("/watch", serde_json::json!({})).await;
    assert_eq!(
        (response.status, response.body["type"].as_str()),
        (405, Some("urn:presence:method-not-allowed"))
    );
    assert!(response.headers["allow"].to_str().unwrap().contains("GET"));
}

#[tokio::test]
async fn a_token_is_asked_for_first() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_AUTH_TOKENS", "a-token-of-some-length")]);
    for headers in [&HANDSHAKE[..], &[("accept", "text/event-stream")], &[]] {
        let response = ask(&server, "/watch?players=alice", headers).await;
        assert_eq!(
            (response.status, response.body["type"].as_str()),
            (401, Some("urn:presence:unauthorized"))
        );
    }
    let token = [
        &HANDSHAKE[..],
        &[("authorization", "Bearer a-token-of-some-length")],
    ]
    .concat();
    let response = token.iter().fold(
        reqwest::Client::new().get(server.url("/watch")),
        |request, (name, value)| request.header(*name, *value),
    );
    assert_eq!(response.send().await.unwrap().status(), 101);
}

#[tokio::test]
async fn a_read_token_may_watch_and_a_page_of_another_site_may_not() {
    let fixture = Fixture::new().await;
    let tokens = [
        ("PRESENCE_AUTH_TOKENS", "a-token-of-some-length"),
        ("PRESENCE_READ_TOKENS", "a-token-that-only-reads"),
    ];
    let server = fixture.server(&tokens);
    let own_headers = [
        &HANDSHAKE[..],
        &[("authorization", "Bearer a-token-that-only-reads")],
    ]
    .concat();
    assert_eq!(ask(&server, "/watch", &own_headers).await.status, 101);
    let headers = [&own_headers[..], &[("origin", "https://elsewhere.example")]].concat();
    let response = ask(&server, "/watch", &headers).await;
    assert_eq!(
        (response.status, response.body["type"].as_str()),
        (403, Some("urn:presence:forbidden"))
    );
}
