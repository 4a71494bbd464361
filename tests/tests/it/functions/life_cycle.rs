//! The life cycle of a player, with each kind of event that invokes the functions.

use presence_tests::event::{EventSource, HttpEvent};
use serde_json::{Value, json};

use super::{Functions, Response};

/// `{"player_id":"alice","connection_id":"c1"}`.
const CONNECT_IN_BASE64: &str = "eyJwbGF5ZXJfaWQiOiJhbGljZSIsImNvbm5lY3Rpb25faWQiOiJjMSJ9";

fn members(object: &Value) -> Vec<&str> {
    let mut members: Vec<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    members.sort_unstable();
    members
}

/// The state and the number of connections of a presence object.
fn presence(body: &Value) -> (&str, u64) {
    (
        body["state"].as_str().unwrap(),
        body["connection_count"].as_u64().unwrap(),
    )
}

async fn post(
    functions: &mut Functions,
    kind: EventSource,
    name: &'static str,
    body: Value,
) -> Value {
    let event = HttpEvent::new(kind, "POST", "/")
        .body(body.to_string())
        .build();
    functions.invoke(name, event).await.ok()
}

async fn get(functions: &mut Functions, kind: EventSource, query: &str) -> Value {
    let event = HttpEvent::new(kind, "GET", "/presence/alice")
        .query(query)
        .build();
    functions.invoke("get-state", event).await.ok()
}

#[tokio::test]
async fn a_player_connects_plays_and_leaves_with_each_kind_of_event() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        functions.redis(&["FLUSHALL"]).await;
        let [phone, laptop] =
            ["phone", "laptop"].map(|id| json!({"player_id": "alice", "connection_id": id}));
        let connected = post(&mut functions, kind, "connect", phone.clone()).await;
        assert_eq!(presence(&connected), ("ONLINE", 1), "{kind:?}");
        assert_eq!(
            presence(&post(&mut functions, kind, "connect", laptop.clone()).await),
            ("ONLINE", 2)
        );
        assert_eq!(
            presence(&post(&mut functions, kind, "heartbeat", phone.clone()).await),
            ("ONLINE", 2)
        );

        for state in ["IN_QUEUE", "IN_MATCH", "AWAY", "ONLINE", "IN_MATCH"] {
            let set = post(
                &mut functions,
                kind,
                "set-state",
                json!({"player_id": "alice", "state": state}),
            )
            .await;
            assert_eq!(presence(&set), (state, 2));
            assert_eq!(get(&mut functions, kind, "").await, set, "{kind:?}");
        }
        let friends = post(
            &mut functions,
            kind,
            "friends",
            json!({"player_ids": ["alice"]}),
        )
        .await;
        assert_eq!(
            friends["presences"],
            json!([get(&mut functions, kind, "").await])
        );

        assert_eq!(
            presence(&post(&mut functions, kind, "disconnect", phone).await),
            ("IN_MATCH", 1)
        );
        let left = post(&mut functions, kind, "disconnect", laptop).await;
        let offline = json!({
            "player_id": "alice", "state": "OFFLINE", "last_seen": null, "connection_count": 0, "version": null
        });
        assert_eq!(left, offline);
        assert_eq!(
            get(&mut functions, kind, "history=false").await,
            offline,
            "{kind:?}"
        );
        let history = get(&mut functions, kind, "history=true").await;
        assert!(
            history["last_seen"].as_u64() >= connected["last_seen"].as_u64(),
            "{kind:?}: {history}"
        );
        assert!(
            history["version"].as_u64() > connected["version"].as_u64(),
            "{kind:?}: {history}"
        );
    }
}

#[tokio::test]
async fn responses_have_exactly_the_members_of_the_contract() {
    let mut functions = Functions::start().await;
    let alice = json!({"player_id": "alice", "connection_id": "c1"});
    let presence = [
        "connection_count",
        "last_seen",
        "player_id",
        "state",
        "version",
    ];
    let connected = functions.accept("connect", alice.clone()).await;
    let mut with_timing = [&["heartbeat_interval_ms", "ttl_ms"][..], &presence].concat();
    with_timing.sort_unstable();
    assert_eq!(members(&connected), with_timing);
    assert_eq!(
        (&connected["heartbeat_interval_ms"], &connected["ttl_ms"]),
        (&json!(15_000), &json!(45_000))
    );
    assert_eq!(
        members(&functions.accept("heartbeat", alice.clone()).await),
        presence
    );
    assert_eq!(
        members(
            &functions
                .accept("set-state", json!({"player_id": "alice", "state": "AWAY"}))
                .await
        ),
        presence
    );
    assert_eq!(
        members(&functions.get("/presence/alice").await.ok()),
        presence
    );
    assert_eq!(
        members(&functions.accept("disconnect", alice).await),
        presence
    );
    assert_eq!(
        members(&functions.get("/presence/alice").await.ok()),
        presence
    );
}

#[tokio::test]
async fn a_body_may_be_encoded_in_base64() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        functions.redis(&["FLUSHALL"]).await;
        let mut event = HttpEvent::new(kind, "POST", "/presence/connect")
            .body(CONNECT_IN_BASE64)
            .build();
        event["isBase64Encoded"] = true.into();
        assert_eq!(
            presence(&functions.invoke("connect", event).await.ok()),
            ("ONLINE", 1),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn a_load_balancer_may_send_headers_and_query_as_lists() {
    let mut functions = Functions::start().await;
    let to_lists = |mut event: Value| {
        for (name, name_of_lists) in [
            ("headers", "multiValueHeaders"),
            ("queryStringParameters", "multiValueQueryStringParameters"),
        ] {
            let removed = event.as_object_mut().unwrap().remove(name).unwrap();
            let values = removed.as_object().unwrap().iter();
            event[name_of_lists] = values
                .map(|(name, value)| (name.clone(), json!([value])))
                .collect();
        }
        event
    };
    let connect = HttpEvent::new(EventSource::LoadBalancer, "POST", "/")
        .body(r#"{"player_id":"alice","connection_id":"c"}"#);
    functions
        .invoke("connect", to_lists(connect.clone().build()))
        .await
        .ok();
    let not_json = to_lists(connect.header("content-type", "text/plain").build());
    functions.invoke("connect", not_json).await.assert_problem(
        415,
        "unsupported-media-type",
        "text/plain",
    );
    let get =
        HttpEvent::new(EventSource::LoadBalancer, "GET", "/presence/alice").query("history=maybe");
    functions
        .invoke("get-state", to_lists(get.build()))
        .await
        .assert_problem(400, "invalid-request", "history=maybe");
}

#[tokio::test]
async fn responses_have_the_configured_lifetimes() {
    let variables = [
        ("PRESENCE_TTL", "9s"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "2500ms"),
        ("PRESENCE_OFFLINE_GRACE", ""),
    ];
    let mut functions = Functions::with(&variables).await;
    let connected = functions
        .accept(
            "connect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    assert_eq!(
        (&connected["heartbeat_interval_ms"], &connected["ttl_ms"]),
        (&json!(2_500), &json!(9_000))
    );
}

#[tokio::test]
async fn the_default_interval_is_a_third_of_the_ttl_and_at_most_15_seconds() {
    for (ttl, interval) in [
        ("300s", 15_000),
        ("30s", 10_000),
        ("20s", 6_666),
        ("600ms", 200),
    ] {
        let mut functions =
            Functions::with(&[("PRESENCE_TTL", ttl), ("PRESENCE_HEARTBEAT_INTERVAL", "")]).await;
        let connected = functions
            .accept(
                "connect",
                json!({"player_id": "alice", "connection_id": "c1"}),
            )
            .await;
        assert_eq!(connected["heartbeat_interval_ms"], interval, "{ttl}");
    }
}

#[tokio::test]
async fn a_lost_player_has_a_grace_and_one_who_quits_does_not() {
    let mut functions = Functions::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    for (reason, expected) in [
        ("lost", ("IN_MATCH", 0)),
        ("quit", ("OFFLINE", 0)),
        ("", ("OFFLINE", 0)),
    ] {
        let mut alice = json!({"player_id": "alice", "connection_id": format!("c-{reason}")});
        functions.accept("connect", alice.clone()).await;
        functions
            .accept(
                "set-state",
                json!({"player_id": "alice", "state": "IN_MATCH"}),
            )
            .await;
        if !reason.is_empty() {
            alice["reason"] = reason.into();
        }
        assert_eq!(
            presence(&functions.accept("disconnect", alice).await),
            expected,
            "{reason}"
        );
    }
}

#[tokio::test]
async fn an_unknown_connection_is_disconnected_with_200_and_stays_closed() {
    let mut functions = Functions::start().await;
    let [known, unknown] =
        ["c1", "c2"].map(|id| json!({"player_id": "alice", "connection_id": id}));
    assert_eq!(
        presence(&functions.accept("disconnect", unknown.clone()).await),
        ("OFFLINE", 0)
    );
    let connected = functions.accept("connect", known).await;
    let response = functions.accept("disconnect", unknown.clone()).await;
    assert_eq!(
        (presence(&response), &response["last_seen"]),
        (("ONLINE", 1), &connected["last_seen"])
    );
    let late: Response = functions.post("connect", &unknown).await;
    late.assert_problem(410, "connection-closed", "connect after its disconnect");
}
