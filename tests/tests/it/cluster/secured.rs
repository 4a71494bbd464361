//! TLS, a private authority, and users that may do no more than the service needs.

use std::time::Duration;

use presence_tests::{Authority, RedisCluster, STORE_TIMEOUT, SecuredNats, SecuredRedis, Server};
use serde_json::{Value, json};

/// The server's variables, with a file of authorities that it trusts.
fn start(authority: &Authority, variables: &[(&str, &str)]) -> Server {
    let certificate = authority.certificate().display().to_string();
    let variables = [&[("SSL_CERT_FILE", &*certificate)], variables].concat();
    Server::start(&variables)
}

fn connection(n: usize) -> Value {
    json!({"player_id": format!("p{n}"), "connection_id": "c"})
}

/// Makes every call that there is, and waits until a gateway that no longer renews its lease is
/// lost, and a player without heartbeats has expired.
async fn every_call_works(server: &Server) {
    let all: Vec<_> = (0..50).map(connection).collect();
    let batch = server
        .post("/presence/connect", json!({ "connections": all }))
        .await;
    assert_eq!((batch.status, &batch.body["accepted"]), (200, &json!(50)));
    assert_eq!(
        server
            .post("/presence/heartbeat", connection(1))
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .post(
                "/presence/state",
                json!({"player_id": "p1", "state": "IN_QUEUE"})
            )
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .post("/presence/disconnect", connection(2))
            .await
            .body["state"],
        "OFFLINE"
    );
    assert_eq!(
        server
            .post("/presence/heartbeat", connection(2))
            .await
            .status,
        410
    );
    assert_eq!(
        server
            .post(
                "/presence/state",
                json!({"player_id": "p3", "state": "OFFLINE"})
            )
            .await
            .status,
        200
    );
    let friends = json!({"player_ids": ["p1", "p2", "p3"], "history": true});
    assert_eq!(server.post("/presence/friends", friends).await.status, 200);
    assert_eq!(server.get("/presence/p2?history=true").await.status, 200);
    assert_eq!(server.get("/presence").await.status, 200);
    assert_eq!(server.get("/console/players/p1").await.status, 200);
    for gateway in ["g1", "g2"] {
        assert_eq!(
            server
                .post("/presence/gateway", json!({ "gateway_id": gateway }))
                .await
                .status,
            200
        );
    }
    let owned = json!({"gateway_id": "g1", "player_id": "p5", "connection_id": "c"});
    assert_eq!(server.post("/presence/heartbeat", owned).await.status, 200);
    let left = server
        .post(
            "/presence/gateway",
            json!({"gateway_id": "g1", "leaving": "moving"}),
        )
        .await;
    assert_eq!((left.status, &left.body["status"]), (200, &json!("left")));
    loop {
        let gateways = server.get("/gateways").await;
        assert_eq!(gateways.status, 200, "{}", gateways.body);
        if gateways.body["gateways"] == json!([]) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while server.get("/presence/p4?history=true").await.body["state"] != "OFFLINE" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_its_file() {
    let redis = SecuredRedis::start().await;
    let url = redis.url();
    let server = start(redis.authority(), &[("PRESENCE_REDIS_URL", &url)]);
    assert_eq!(
        server.post("/presence/connect", connection(1)).await.status,
        200
    );
    assert_eq!(redis.ask(&["EXISTS", "presence:p1"]), "1");
}

#[tokio::test]
async fn an_untrusted_redis_or_a_refused_login_is_an_unavailable_store() {
    let redis = SecuredRedis::start().await;
    let url = redis.url();
    let wrong_password = url.replace("secret", "guessed");
    let without_user = format!("rediss://localhost:{}", redis.port());
    let by_address = url.replace("localhost", "127.0.0.1");
    let plain = url.replace("rediss", "redis");
    for url in [&*wrong_password, &*without_user, &*by_address, &*plain] {
        let server = start(redis.authority(), &[("PRESENCE_REDIS_URL", url)]);
        assert_eq!(server.get("/presence/p1").await.status, 503, "{url}");
    }
    let stranger = start(&Authority::new(), &[("PRESENCE_REDIS_URL", &url)]);
    let response = stranger.get("/presence/p1").await;
    assert_eq!(response.status, 503);
    assert!(!response.body.to_string().contains("secret"));
}

#[tokio::test]
async fn redis_and_nats_let_the_service_do_what_it_needs() {
    let redis = SecuredRedis::start().await;
    let nats = SecuredNats::start(redis.authority()).await;
    let redis_url = redis.url();
    let nats_url = nats.url();
    let credentials = nats.credentials().display().to_string();
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis_url),
        ("PRESENCE_NATS_URL", &*nats_url),
        ("PRESENCE_NATS_CREDS", &*credentials),
        ("PRESENCE_TTL", "1s"),
        ("PRESENCE_GATEWAY_TTL", "1s"),
        ("PRESENCE_SWEEP_INTERVAL", "100ms"),
    ];
    let server = start(redis.authority(), &variables);
    let mut live = reqwest::get(server.url("/console/events")).await.unwrap();
    every_call_works(&server).await;
    let mut seen = String::new();
    while !seen.contains("event: presence") {
        seen.push_str(&String::from_utf8_lossy(
            &live.chunk().await.unwrap().unwrap(),
        ));
    }
    let is_expired = |event: &Value| event["player_id"] == "p4" && event["reason"] == "expired";
    loop {
        let events = nats.messages("PRESENCE_EVENTS").await;
        if events
            .iter()
            .any(|message| is_expired(&serde_json::from_slice(&message.payload).unwrap()))
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ready = server.get("/health/ready").await.body;
    assert_eq!(ready["status"], "ok", "{ready}");
    assert_eq!(
        redis.ask(&["ACL", "LOG"]),
        "",
        "the service tried something that it may not do"
    );
}

#[tokio::test]
async fn a_secured_cluster_serves_every_call_and_heals() {
    let mut cluster = RedisCluster::start_secured().await;
    let urls = cluster.urls();
    let variables = [
        ("PRESENCE_REDIS_URL", &*urls),
        ("PRESENCE_REDIS_MODE", "cluster"),
        ("PRESENCE_TTL", "3s"),
        ("PRESENCE_GATEWAY_TTL", "1s"),
        STORE_TIMEOUT,
    ];
    let server = start(cluster.authority(), &variables);
    every_call_works(&server).await;

    cluster.move_slots(0, 1, 1_000).await;
    every_call_works_again(&server).await;
    cluster.kill(2);
    // Each thread of the server has its own view of the cluster, and calls may go to any.
    let mut healed_calls = 0;
    while healed_calls < 10 {
        let batch = server
            .post("/presence/connect", json!({ "connections": newcomers() }))
            .await
            .body;
        healed_calls = if batch["failed"] == json!([]) {
            healed_calls + 1
        } else {
            0
        };
    }
    every_call_works_again(&server).await;
}

fn newcomers() -> Vec<Value> {
    (100..150).map(connection).collect()
}

/// By connections that were never closed.
async fn every_call_works_again(server: &Server) {
    for call in ["/presence/connect", "/presence/heartbeat"] {
        let batch = server
            .post(call, json!({ "connections": newcomers() }))
            .await;
        assert_eq!(
            (batch.status, &batch.body["accepted"]),
            (200, &json!(50)),
            "{call}: {}",
            batch.body
        );
    }
    let ids: Vec<_> = (100..150).map(|n| format!("p{n}")).collect();
    let friends = server
        .post("/presence/friends", json!({ "player_ids": ids }))
        .await
        .body;
    assert!(
        friends["presences"]
            .as_array()
            .unwrap()
            .iter()
            .all(|friend| friend["state"] == "ONLINE"),
        "{friends}"
    );
}
