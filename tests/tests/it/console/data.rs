//! Explanations of players, and access to them.

use std::time::Duration;

use presence::{
    model::{EventReason, Explanation, Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{
    RedisCluster, RedisServer, app, cluster_app, connection, connections, player,
};
use serde_json::json;

use super::Fixture;

#[tokio::test]
async fn the_page_needs_no_token_and_its_data_need_one() {
    let test = Fixture::new(&[("PRESENCE_AUTH_TOKENS", "secret")]).await;
    for path in ["/console", "/console/main.js", "/console/style.css"] {
        let response = test.server.get(path).await;
        assert_eq!(response.status, 200, "{path}");
        let policy = response.headers["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(
            policy.contains("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
    }
    for path in [
        "/presence",
        "/console/players/alice",
        "/console/players/no%20id",
        "/console/events",
    ] {
        assert_eq!(test.server.get(path).await.status, 401, "{path}");
        let post = test.server.post(path, "{}".into()).await;
        assert_eq!(
            (post.status, post.headers["allow"].to_str().unwrap()),
            (405, "GET,HEAD"),
            "{path}"
        );
    }
    for path in [
        "/console/nothing",
        "/console/players",
        "/presence/",
        "/console/players/alice/connections",
    ] {
        assert_eq!(test.server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(test.server.post("/console", "{}".into()).await.status, 405);
}

#[tokio::test]
async fn an_invalid_id_is_refused() {
    let test = Fixture::new(&[]).await;
    for id in ["no%20id", "%ff"] {
        let response = test.server.get(&format!("/console/players/{id}")).await;
        assert_eq!(
            (response.status, &response.body["field"]),
            (400, &"player_id".into()),
            "{id}"
        );
    }
    assert_eq!(
        test.server.get("/console/players/a%7Cb").await.body["presence"]["player_id"],
        "a|b"
    );
}

#[tokio::test]
async fn a_player_of_a_cluster_is_explained() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let connections = connections(100);
    app.presence()
        .connect_batch(connections, &TraceContext::new_root())
        .await
        .unwrap();
    let explanation = app.operator_queries().explain(&player("p7")).await.unwrap();
    assert_eq!(
        (explanation.presence.state, explanation.connections.len()),
        (State::Online, 1)
    );
}

#[tokio::test]
async fn the_explanation_has_the_activity() {
    let test = Fixture::new(&[]).await;
    test.connect("alice", "c1").await;
    let activity = json!({"details": "</script>\"\u{2028}", "custom": {"a": [[], {}]}});
    let set = json!({"player_id": "alice", "activity": activity});
    assert_eq!(test.server.post("/presence/state", set).await.status, 200);
    let explanation = test.server.get("/console/players/alice").await.body;
    assert_eq!(
        explanation["presence"]["activity"], activity,
        "{explanation}"
    );
}

#[tokio::test]
async fn a_player_is_explained_from_the_first_connection_to_the_end_of_the_history() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[("PRESENCE_OFFLINE_GRACE", "10s")]);
    let presence = app.presence();
    let explain = async || {
        app.operator_queries()
            .explain(&player("alice"))
            .await
            .unwrap()
    };
    let get_next = |explanation: &Explanation| {
        let next = explanation.next_transition.clone().unwrap();
        assert_eq!((next.state, next.version), (State::Offline, None));
        (next.at, next.reason.unwrap())
    };
    let unknown = explain().await;
    assert_eq!(
        (
            unknown.presence.state,
            unknown.last_transition,
            unknown.next_transition
        ),
        (State::Offline, None, None)
    );

    let version = presence
        .connect(&connection("alice", "phone"), &TraceContext::new_root())
        .await
        .unwrap()
        .version;
    redis.advance_clock(Duration::from_secs(5)).await;
    presence
        .connect(&connection("alice", "desktop"), &TraceContext::new_root())
        .await
        .unwrap();
    let online = explain().await;
    assert_eq!(online.presence.activity, None);
    assert_eq!(
        online
            .connections
            .iter()
            .map(|lease| &*lease.connection_id)
            .collect::<Vec<_>>(),
        ["phone", "desktop"]
    );
    assert!(
        (35_000..=40_000).contains(&online.connections[0].expires_in_ms),
        "{online:?}"
    );
    assert_eq!(
        get_next(&online),
        (online.connections[1].expires_at, EventReason::Expired)
    );
    let last = online.last_transition.unwrap();
    assert_eq!(
        (last.state, last.version, Some(last.at), last.reason),
        (State::Online, version, version, None)
    );

    for id in ["phone", "desktop"] {
        presence
            .disconnect(
                &connection("alice", id),
                Reason::Lost,
                &TraceContext::new_root(),
            )
            .await
            .unwrap();
    }
    let in_grace = explain().await;
    assert_eq!(
        (
            in_grace.presence.state,
            in_grace.connections.len(),
            in_grace.closed_connections
        ),
        (State::Online, 0, 2)
    );
    let (at, reason) = get_next(&in_grace);
    assert!(
        (1..=10_000).contains(&(at - in_grace.as_of)) && reason == EventReason::Lost,
        "{in_grace:?}"
    );

    redis.advance_clock(Duration::from_secs(11)).await;
    let expired = explain().await;
    assert_eq!(expired.presence.state, State::Offline);
    let (at, reason) = get_next(&expired);
    assert!(
        at < expired.as_of && reason == EventReason::Lost,
        "{expired:?}"
    );

    app.sweeper(Default::default()).pass().await.unwrap();
    let swept = explain().await;
    let last = swept.last_transition.unwrap();
    assert_eq!(
        (last.state, last.reason),
        (State::Offline, Some(EventReason::Lost))
    );
    assert_eq!(
        (last.version > version, last.at, swept.next_transition),
        (true, at, None)
    );
}
