//! The removal at the end of `presence load`, if some of its calls fail.

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{Method, StatusCode, Uri},
};
use presence_tests::{Server, serve};
use serde_json::{Value, json};

use super::load::{await_report, server, spawn_at};

/// The players that the removal reads with its first call.
const BATCH: usize = 1_000;

/// Forwards calls to a server. Returns the URL. Reads that name the load's first player fail, and
/// gateways end without ending their connections, so that the removal has players to sign out.
async fn faulty_proxy(server: &Server) -> String {
    let router = Router::new()
        .fallback(forward)
        .with_state(server.url("").trim_end_matches('/').to_owned());
    serve(router).await
}

async fn forward(
    State(server): State<String>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], Bytes) {
    let json_type = [("content-type", "application/json")];
    let call: Value = serde_json::from_slice(&body).unwrap_or_default();
    let first = call["player_ids"][0].as_str().unwrap_or_default();
    if first.ends_with("-0") {
        return (StatusCode::SERVICE_UNAVAILABLE, json_type, Bytes::new());
    }
    if call.get("leaving").is_some() {
        let left = json!({"gateway_id": call["gateway_id"], "status": "left", "connections": 0});
        return (StatusCode::OK, json_type, left.to_string().into());
    }
    if uri.path() == "/presence/disconnect" {
        let entries = call["connections"].as_array().map_or(0, Vec::len);
        let accepted = json!({"accepted": entries, "restored": [], "closed": [], "failed": []});
        return (StatusCode::OK, json_type, accepted.to_string().into());
    }
    let response = reqwest::Client::new()
        .request(method, format!("{server}{uri}"))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    let status = response.status();
    (status, json_type, response.bytes().await.unwrap())
}

#[tokio::test]
async fn players_that_cannot_be_read_are_counted_and_the_others_are_removed() {
    // Nothing but the removal ends a connection.
    let long = [("PRESENCE_TTL", "1h"), ("PRESENCE_GATEWAY_TTL", "1h")];
    let (_redis, _nats, server) = server(&long).await;
    let url = faulty_proxy(&server).await;
    let line = "load --players 1500 --duration 1s --churn 0 --changes 0 --reads 0 --watch 0";
    let arguments: Vec<_> = line.split(' ').chain(["--json"]).collect();
    let load = await_report(spawn_at(&url, &arguments)).await;

    assert_eq!(load.status, Some(5), "{}", load.report);
    let bar = load.bar("players not removed");
    assert_eq!(bar["value"], BATCH as f64, "{}", load.report);
    let notes = load.report["notes"].to_string();
    assert!(
        notes.contains("1,000 players of the load may remain: ")
            && notes.contains("`presence probe`"),
        "{notes}"
    );
    let states = load.states(&server).await;
    assert_eq!(states.len(), 1_500);
    for (number, state) in states.iter().enumerate() {
        let expected = if number < BATCH { "ONLINE" } else { "OFFLINE" };
        assert_eq!(state, expected, "player {number}");
    }
}
