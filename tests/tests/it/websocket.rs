//! API Gateway's WebSocket API as the gateway.

use presence_tests::{Function, RedisServer, event, leases};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const CONNECTION: &str = "ZLCFxcK6IAMCLlg=";

struct Fixture {
    redis: RedisServer,
}

impl Fixture {
    async fn new() -> Self {
        Self {
            redis: RedisServer::start().await,
        }
    }

    /// Invokes a function, and returns the status and the body of its response.
    async fn invoke(&self, name: &str, event: Value) -> (u64, Value) {
        let url = self.redis.url();
        let variables = [
            ("PRESENCE_REDIS_URL", &*url),
            ("PRESENCE_OFFLINE_GRACE", "20s"),
        ];
        let response = Function::start(name, &variables)
            .await
            .invoke(event)
            .await
            .unwrap();
        let body = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
        (response["statusCode"].as_u64().unwrap(), body)
    }

    async fn record(&self, player: &str) -> Option<Value> {
        let record = self
            .redis
            .connection()
            .await
            .get(format!("presence:{player}"))
            .await
            .unwrap();
        record.map(|json| serde_json::from_str(&json).unwrap())
    }
}

#[tokio::test]
async fn a_socket_lives_from_connect_to_disconnect() {
    let fixture = Fixture::new().await;
    let (status, body) = fixture.invoke("connect", event::socket("$connect")).await;
    assert_eq!(
        (status, &body["player_id"], &body["state"]),
        (200, &json!("alice"), &json!("ONLINE"))
    );
    let past: Option<String> = fixture
        .redis
        .connection()
        .await
        .get("{presence:alice}:past")
        .await
        .unwrap();
    assert_eq!(
        leases(&past.unwrap(), 45_000),
        [(CONNECTION.to_owned(), 45_000)]
    );
    assert!(
        fixture.record("mallory").await.is_none(),
        "the query is ignored"
    );

    let heartbeat = event::socket_message(
        "heartbeat",
        r#"{"action":"heartbeat","player_id":"mallory","connection_id":"x"}"#,
    );
    assert_eq!(
        fixture.invoke("heartbeat", heartbeat).await.1["connection_count"],
        1
    );
    let set = event::socket_message(
        "setState",
        r#"{"action":"setState","state":"IN_QUEUE","player_id":"mallory"}"#,
    );
    assert_eq!(
        fixture.invoke("set-state", set).await.1["state"],
        "IN_QUEUE"
    );
    let ask = event::socket_message(
        "friends",
        r#"{"action":"friends","player_ids":["alice","bob"]}"#,
    );
    let (status, body) = fixture.invoke("friends", ask).await;
    assert_eq!(
        (status, &body["presences"][0]["state"]),
        (200, &json!("IN_QUEUE"))
    );

    let mut end = event::socket("$disconnect");
    end["requestContext"]["disconnectStatusCode"] = json!(1001);
    assert_eq!(
        fixture.invoke("disconnect", end).await,
        (
            200,
            json!({
                "player_id": "alice", "state": "OFFLINE", "last_seen": null, "connection_count": 0, "version": null
            })
        )
    );
    assert!(fixture.record("alice").await.is_none());
    assert!(fixture.record("mallory").await.is_none());
}

#[tokio::test]
async fn the_close_code_decides_quit_or_lost() {
    for (code, state) in [
        (json!(1000), "OFFLINE"),
        (json!(1001), "OFFLINE"),
        (json!(1005), "ONLINE"),
        (json!(1006), "ONLINE"),
        (json!(4000), "ONLINE"),
        (Value::Null, "ONLINE"),
    ] {
        let fixture = Fixture::new().await;
        fixture.invoke("connect", event::socket("$connect")).await;
        let mut end = event::socket("$disconnect");
        end["requestContext"]["disconnectStatusCode"] = code.clone();
        assert_eq!(
            fixture.invoke("disconnect", end).await.1["state"],
            state,
            "{code}: in the grace or not"
        );
    }
}

#[tokio::test]
async fn without_an_authorizer_every_call_is_refused() {
    let fixture = Fixture::new().await;
    for authorizer in [
        Value::Null,
        json!({}),
        json!({"principalId": null}),
        json!({"principalId": ""}),
    ] {
        let mut connect = event::socket("$connect");
        connect["requestContext"]["authorizer"] = authorizer;
        let (status, body) = fixture.invoke("connect", connect).await;
        assert_eq!(
            (status, &body["type"]),
            (401, &json!("urn:presence:unauthorized"))
        );
    }
    // 401 comes before all that is wrong with the message.
    for function in ["connect", "heartbeat", "disconnect", "set-state", "friends"] {
        let mut message = event::socket_message("route", "{");
        message["requestContext"]["authorizer"] = Value::Null;
        assert_eq!(fixture.invoke(function, message).await.0, 401, "{function}");
    }
    assert_eq!(fixture.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_message_that_says_nothing_useful_is_an_invalid_request() {
    let fixture = Fixture::new().await;
    for (function, message, field) in [
        ("set-state", "{}", json!("state")),
        ("set-state", r#"{"state":"BUSY"}"#, json!("state")),
        ("set-state", r#"{"state":null}"#, json!("state")),
        ("friends", r#"{"player_ids":[]}"#, json!("player_ids")),
        ("friends", "not json", Value::Null),
        (
            "friends",
            r#"{"player_ids":["bob"],"history":null}"#,
            json!("history"),
        ),
        ("set-state", r#"["AWAY"]"#, Value::Null),
        (
            "set-state",
            r#"{"activity":{"details":""}}"#,
            json!("activity.details"),
        ),
        (
            "set-state",
            r#"{"activity":{"custom":{"a":1,"a":1}}}"#,
            json!("activity.custom.a"),
        ),
        (
            "set-state",
            r#"{"activity":{"party":{"id":"p","size":1,"max":2,"more":1}}}"#,
            json!("activity.party.more"),
        ),
        (
            "set-state",
            r#"{"state":"OFFLINE","activity":{"joinable":true}}"#,
            json!("activity"),
        ),
        (
            "set-state",
            r#"{"state":"AWAY","state":"AWAY"}"#,
            json!("state"),
        ),
        (
            "set-state",
            r#"{"action":"a","state":"AWAY","action":"b"}"#,
            json!("action"),
        ),
        (
            "friends",
            r#"{"player_ids":["bob"],"player_ids":["bob"]}"#,
            json!("player_ids"),
        ),
    ] {
        let (status, body) = fixture
            .invoke(function, event::socket_message("route", message))
            .await;
        assert_eq!(
            (status, &body["field"]),
            (400, &field),
            "{function} {message}"
        );
    }
}

#[tokio::test]
async fn a_message_sets_the_activity_as_it_stands_in_it() {
    let fixture = Fixture::new().await;
    fixture.invoke("connect", event::socket("$connect")).await;
    let activity =
        r#"{"details":"\u2028;\ud83d\ude00","custom":{"n":9007199254740992,"b":1.5,"a":[[],{}]}}"#;
    let message =
        format!(r#"{{"action":"setState","player_id":"mallory","more":1,"activity":{activity}}}"#);
    let (status, body) = fixture
        .invoke("set-state", event::socket_message("setState", &message))
        .await;
    let expected: Value = serde_json::from_str(activity).unwrap();
    assert_eq!(
        (status, &body["player_id"], &body["activity"]),
        (200, &json!("alice"), &expected)
    );
    let ask = event::socket_message("friends", r#"{"player_ids":["alice"]}"#);
    assert_eq!(
        fixture.invoke("friends", ask).await.1["presences"][0]["activity"],
        expected
    );
    let heartbeat = event::socket_message("heartbeat", "{}");
    assert_eq!(
        fixture.invoke("heartbeat", heartbeat).await.1["activity"],
        expected
    );
    let remove = event::socket_message("setState", r#"{"activity":null,"state":"IN_MATCH"}"#);
    let (status, body) = fixture.invoke("set-state", remove).await;
    assert_eq!(
        (status, &body["state"], body.get("activity")),
        (200, &json!("IN_MATCH"), None)
    );
}

#[tokio::test]
async fn connections_come_from_the_event_whatever_the_message_is() {
    let fixture = Fixture::new().await;
    for message in [
        "",
        "not json",
        "{",
        r#"{"player_id":"mallory","player_id":"eve","connection_id":null}"#,
    ] {
        for function in ["connect", "heartbeat"] {
            let (status, body) = fixture
                .invoke(function, event::socket_message("route", message))
                .await;
            assert_eq!(
                (status, &body["player_id"]),
                (200, &json!("alice")),
                "{function} {message}"
            );
        }
    }
    let (status, body) = fixture
        .invoke("disconnect", event::socket_message("bye", "not json"))
        .await;
    assert_eq!(
        (status, &body["state"]),
        (200, &json!("OFFLINE")),
        "a message that says goodbye is a quit"
    );
}

#[tokio::test]
async fn a_response_repeats_the_request_id_of_its_message() {
    let fixture = Fixture::new().await;
    fixture.invoke("connect", event::socket("$connect")).await;
    let longest = "x".repeat(254);
    for id in [
        json!(7),
        json!("a\"b"),
        json!({"n": [1, null]}),
        json!(null),
        json!(longest),
    ] {
        let invoke = async |function: &str, mut message: Value| {
            message["requestId"] = id.clone();
            let (status, body) = fixture
                .invoke(
                    function,
                    event::socket_message("route", &message.to_string()),
                )
                .await;
            assert_eq!(
                body.get("requestId"),
                (!id.is_null()).then_some(&id),
                "{function}: {body}"
            );
            (status, body)
        };
        assert_eq!(invoke("heartbeat", json!({})).await.1["player_id"], "alice");
        assert_eq!(
            invoke("set-state", json!({"state": "AWAY"})).await.1["state"],
            "AWAY"
        );
        assert_eq!(
            invoke("friends", json!({"player_ids": ["alice"]})).await.1["presences"][0]["state"],
            "AWAY"
        );
        let (status, problem) = invoke("set-state", json!({"state": "BUSY"})).await;
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!("state")),
            "a problem has it, too"
        );
    }
}

/// API Gateway sends no message of more than 128 KB.
#[tokio::test]
async fn a_response_about_as_many_friends_as_the_docs_say_fits_into_a_message() {
    let page = include_str!("../../../docs/aws.md");
    let fixture = Fixture::new().await;
    for (count, length_of_id, documented) in [
        (1_100, 10, "1,100 friends with ids of 10 characters"),
        (900, 36, "900 with UUIDs"),
    ] {
        assert!(page.contains(documented), "{documented}");
        let ids: Vec<_> = (0..count)
            .map(|number| format!("{number:0length_of_id$}"))
            .collect();
        let connections: Vec<_> = ids
            .iter()
            .map(|id| json!({"player_id": id, "connection_id": id}))
            .collect();
        let connect = event::post("/presence/connect", &json!({"connections": connections}));
        assert_eq!(fixture.invoke("connect", connect).await.0, 200);
        let message = json!({"player_ids": ids, "requestId": 7}).to_string();
        let (status, body) = fixture
            .invoke("friends", event::socket_message("friends", &message))
            .await;
        assert_eq!(
            (status, body["presences"].as_array().unwrap().len()),
            (200, count)
        );
        // All are ONLINE; the longest state is longer.
        let bytes = body.to_string().len() + count * ("IN_QUEUE".len() - "ONLINE".len());
        assert!(
            (120 * 1_024..=128 * 1_024).contains(&bytes),
            "{documented}: {bytes} bytes"
        );
    }
}

#[tokio::test]
async fn a_request_id_that_cannot_be_repeated_is_ignored() {
    let fixture = Fixture::new().await;
    fixture.invoke("connect", event::socket("$connect")).await;
    for message in [
        r#"{"requestId":1,"requestId":2}"#.to_owned(),
        format!(r#"{{"requestId":"{}"}}"#, "x".repeat(255)),
        r#"[{"requestId":1}]"#.to_owned(),
        r#"{"requestId":1"#.to_owned(),
    ] {
        let (status, body) = fixture
            .invoke("heartbeat", event::socket_message("heartbeat", &message))
            .await;
        assert_eq!((status, body.get("requestId")), (200, None), "{message}");
    }
    let by_http = event::post(
        "/presence/state",
        &json!({"player_id": "alice", "state": "AWAY", "requestId": 1}),
    );
    assert_eq!(
        fixture.invoke("set-state", by_http).await.0,
        400,
        "over HTTP it is an unknown member"
    );
}

#[tokio::test]
async fn the_headers_of_the_handshake_say_nothing_about_a_body() {
    let fixture = Fixture::new().await;
    let mut connect = event::socket("$connect");
    for (name, value) in [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")] {
        connect["headers"][name] = json!(value);
        connect["multiValueHeaders"][name] = json!([value]);
    }
    assert_eq!(fixture.invoke("connect", connect).await.0, 200);
}

#[tokio::test]
async fn a_closed_connection_cannot_send_heartbeats() {
    let fixture = Fixture::new().await;
    fixture
        .invoke("disconnect", event::socket("$disconnect"))
        .await;
    let (status, body) = fixture
        .invoke("heartbeat", event::socket_message("heartbeat", "{}"))
        .await;
    assert_eq!(
        (status, &body["type"]),
        (410, &json!("urn:presence:connection-closed"))
    );
}
