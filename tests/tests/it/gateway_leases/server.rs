//! Leases of gateways over HTTP.

use std::time::Duration;

use presence_tests::{RedisServer, Server};
use serde_json::json;

#[tokio::test]
async fn the_server_keeps_gateways_and_ends_what_a_lost_one_held() {
    let redis = RedisServer::start().await;
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_GATEWAY_TTL", "1500ms"),
    ];
    let server = Server::start(&variables);
    let call = async |body| server.post("/presence/gateway", body).await;
    let response = call(json!({"gateway_id": "g1"})).await;
    assert_eq!(response.status, 200);
    assert_eq!(
        response.body,
        json!({"gateway_id": "g1", "status": "new", "ttl_ms": 1500, "heartbeat_interval_ms": 500})
    );
    let batch =
        json!({"gateway_id": "g1", "connections": [{"player_id": "alice", "connection_id": "c1"}]});
    assert_eq!(
        server.post("/presence/connect", batch).await.body["accepted"],
        1
    );
    let list = server.get("/gateways").await.body;
    assert_eq!(
        (
            &list["gateways"][0]["gateway_id"],
            &list["gateways"][0]["connections"]
        ),
        (&json!("g1"), &json!(1))
    );
    assert!(
        list["gateways"][0]["expires_in_ms"].as_u64().unwrap() <= 1500 && list["as_of"].is_u64()
    );
    while server.get("/presence/alice").await.body["state"] != "OFFLINE" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = server.metrics().await;
    assert!(
        metrics.contains("presence_gateways_lost_total 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("presence_gateways_held 0") && metrics.contains("presence_gateways 0"),
        "{metrics}"
    );
    let left = call(json!({"gateway_id": "g1", "leaving": "moving"}))
        .await
        .body;
    assert_eq!(
        left,
        json!({"gateway_id": "g1", "status": "left", "connections": 0})
    );
    for (body, field) in [
        (json!({"gateway_id": "a b"}), "gateway_id"),
        (json!({"gateway_id": "a".repeat(65)}), "gateway_id"),
        (json!({"gateway_id": "g", "leaving": "gone"}), "leaving"),
        (json!({"gateway_id": "g", "leaving": null}), "leaving"),
        (json!({"gateway_id": "g", "x": 1}), "x"),
        (json!({}), "gateway_id"),
    ] {
        let response = call(body.clone()).await;
        assert_eq!(
            (response.status, &response.body["field"]),
            (400, &json!(field)),
            "{body}"
        );
    }
    let disconnect = json!({"gateway_id": "g", "player_id": "alice", "connection_id": "c1"});
    assert_eq!(
        server.post("/presence/disconnect", disconnect).await.body["field"],
        "gateway_id"
    );
}
