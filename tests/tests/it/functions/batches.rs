//! Batches: every distinct entry has one result, and every valid entry takes effect.

use serde_json::{Value, json};

use super::Functions;

/// Entries from names of the form `player/connection`.
fn entries<const N: usize>(names: [&str; N]) -> Value {
    names
        .iter()
        .map(|name| name.split_once('/').unwrap())
        .map(entry)
        .collect()
}

fn entry((player, connection): (&str, &str)) -> Value {
    json!({"player_id": player, "connection_id": connection})
}

/// The response to a connect or heartbeat batch without failures, with the default timing.
fn response<const R: usize, const C: usize>(
    accepted: usize,
    restored: [&str; R],
    closed: [&str; C],
) -> Value {
    with_timing(accepted, entries(restored), entries(closed))
}

fn with_timing(accepted: usize, restored: Value, closed: Value) -> Value {
    json!({
        "accepted": accepted, "restored": restored, "closed": closed, "failed": [],
        "heartbeat_interval_ms": 15_000, "ttl_ms": 45_000
    })
}

/// The response to a disconnect batch without failures. Its `closed` is always empty, and it has no
/// timing.
fn disconnected(accepted: usize) -> Value {
    json!({"accepted": accepted, "restored": [], "closed": [], "failed": []})
}

async fn send<const N: usize>(
    functions: &mut Functions,
    name: &'static str,
    names: [&str; N],
) -> Value {
    functions
        .accept(name, json!({"connections": entries(names)}))
        .await
}

async fn count(functions: &mut Functions, player: &str) -> Value {
    functions.get(&format!("/presence/{player}")).await.ok()["connection_count"].take()
}

#[tokio::test]
async fn a_connect_batch_reports_accepted_and_closed_connections() {
    let mut functions = Functions::start().await;
    send(&mut functions, "disconnect", ["bob/b1", "carol/c1"]).await;
    let connected = send(
        &mut functions,
        "connect",
        ["alice/a1", "bob/b1", "alice/a2", "carol/c1", "bob/b2"],
    )
    .await;
    assert_eq!(connected, response(3, [], ["bob/b1", "carol/c1"]));
    assert_eq!(
        send(&mut functions, "connect", ["alice/a1", "alice/a2"]).await,
        response(2, [], [])
    );
    assert_eq!(count(&mut functions, "alice").await, 2);
    assert_eq!(count(&mut functions, "bob").await, 1);
    assert_eq!(count(&mut functions, "carol").await, 0);
}

#[tokio::test]
async fn a_heartbeat_batch_reports_restored_connections() {
    let mut functions = Functions::start().await;
    send(
        &mut functions,
        "connect",
        ["alice/a1", "bob/b1", "carol/c1"],
    )
    .await;
    send(&mut functions, "disconnect", ["carol/c1"]).await;
    functions.redis(&["DEL", "presence:bob"]).await;
    let heartbeats = ["alice/a1", "alice/a2", "bob/b1", "carol/c1", "carol/c2"];
    assert_eq!(
        send(&mut functions, "heartbeat", heartbeats).await,
        response(4, ["alice/a2", "bob/b1", "carol/c2"], ["carol/c1"])
    );
    assert_eq!(
        send(&mut functions, "heartbeat", heartbeats).await,
        response(4, [], ["carol/c1"])
    );
    assert_eq!(count(&mut functions, "alice").await, 2);
}

#[tokio::test]
async fn a_disconnect_batch_accepts_everything() {
    let mut functions = Functions::start().await;
    send(
        &mut functions,
        "connect",
        ["alice/a1", "alice/a2", "bob/b1"],
    )
    .await;
    let closed = ["alice/a1", "bob/b1", "nobody/n1"];
    assert_eq!(
        send(&mut functions, "disconnect", closed).await,
        disconnected(3)
    );
    assert_eq!(
        send(&mut functions, "disconnect", closed).await,
        disconnected(3)
    );
    assert_eq!(count(&mut functions, "alice").await, 1);
    assert_eq!(
        functions.get("/presence/bob").await.ok()["state"],
        "OFFLINE"
    );
    assert_eq!(
        send(&mut functions, "connect", ["nobody/n1"]).await,
        response(0, [], ["nobody/n1"])
    );
}

#[tokio::test]
async fn an_entry_that_is_named_twice_has_one_result() {
    let mut functions = Functions::start().await;
    let twice = [
        "alice/a1", "bob/b1", "alice/a1", "alice/b1", "bob/b1", "alice/a1",
    ];
    assert_eq!(
        send(&mut functions, "connect", twice).await,
        response(3, [], [])
    );
    functions.redis(&["FLUSHALL"]).await;
    assert_eq!(
        send(&mut functions, "heartbeat", twice).await,
        response(3, ["alice/a1", "bob/b1", "alice/b1"], [])
    );
    assert_eq!(
        send(&mut functions, "disconnect", twice).await,
        disconnected(3)
    );
    assert_eq!(
        send(&mut functions, "heartbeat", twice).await,
        response(0, [], ["alice/a1", "bob/b1", "alice/b1"])
    );
}

#[tokio::test]
async fn the_reason_of_a_batch_applies_to_all_its_entries() {
    let mut functions = Functions::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    for (reason, state) in [("lost", "ONLINE"), ("quit", "OFFLINE")] {
        let connections = json!([entry(("alice", reason)), entry(("bob", reason))]);
        functions
            .accept("connect", json!({"connections": connections}))
            .await;
        functions
            .accept(
                "disconnect",
                json!({"connections": connections, "reason": reason}),
            )
            .await;
        for player in ["alice", "bob"] {
            let presence = functions.get(&format!("/presence/{player}")).await.ok();
            assert_eq!(
                (&presence["state"], &presence["connection_count"]),
                (&json!(state), &json!(0))
            );
        }
    }
}

#[tokio::test]
async fn one_invalid_entry_refuses_the_whole_batch() {
    let mut functions = Functions::start().await;
    for bad in [json!({"player_id": "b"}), json!(null), entry(("b c", "b1"))] {
        for name in ["connect", "heartbeat", "disconnect"] {
            let body = json!({"connections": [entry(("alice", "a1")), bad]});
            functions
                .post(name, &body)
                .await
                .assert_problem(400, "invalid-request", name);
        }
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_batch_of_the_maximum_length_counts_every_entry() {
    let mut functions = Functions::start().await;
    let connections: Vec<_> = (0..2_000)
        .map(|n| entry((&format!("p{}", n / 2), &format!("c{n}"))))
        .collect();
    let body = json!({"connections": connections});
    let all = json!(connections);
    let connected = functions.accept("connect", body.clone()).await;
    assert_eq!(connected, with_timing(2_000, json!([]), json!([])));
    let renewed = functions.accept("heartbeat", body.clone()).await;
    assert_eq!(renewed, with_timing(2_000, json!([]), json!([])));
    assert_eq!(count(&mut functions, "p999").await, 2);
    functions.redis(&["FLUSHALL"]).await;
    let restored = functions.accept("heartbeat", body.clone()).await;
    assert_eq!(restored, with_timing(2_000, all.clone(), json!([])));
    assert_eq!(
        functions.accept("disconnect", body.clone()).await,
        disconnected(2_000)
    );
    let late = functions.accept("connect", body).await;
    assert_eq!(late, with_timing(0, json!([]), all));
}

#[tokio::test]
async fn the_batch_response_has_the_configured_timing() {
    let mut functions = Functions::with(&[
        ("PRESENCE_TTL", "9s"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "2500ms"),
    ])
    .await;
    for name in ["connect", "heartbeat"] {
        let response = send(&mut functions, name, ["alice/a1"]).await;
        assert_eq!(
            (&response["heartbeat_interval_ms"], &response["ttl_ms"]),
            (&json!(2_500), &json!(9_000)),
            "{name}"
        );
    }
    assert_eq!(
        send(&mut functions, "disconnect", ["alice/a1"]).await,
        disconnected(1)
    );
}
