//! Refusals for other reasons than the body's members: 405, 409, 410, 413, 415, and the order of
//! the checks.

use presence_tests::event::{EventSource, HttpEvent, post};
use serde_json::{Value, json};

use super::{Functions, WRITERS};

const MAX_BODY: usize = 1024 * 1024;

fn alice() -> Value {
    json!({"player_id": "alice", "connection_id": "c1"})
}

/// The body of a connect, padded to `length` bytes.
fn padded(length: usize) -> String {
    let body = alice().to_string();
    format!("{body}{}", " ".repeat(length - body.len()))
}

#[tokio::test]
async fn another_method_is_refused_and_the_allowed_ones_are_named() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        for name in WRITERS.into_iter().chain(["friends", "gateway"]) {
            for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"] {
                let event = HttpEvent::new(kind, method, "/presence/connect")
                    .body(alice().to_string())
                    .build();
                let response = functions.invoke(name, event).await;
                response.assert_problem(
                    405,
                    "method-not-allowed",
                    &format!("{method} {name} {kind:?}"),
                );
                assert_eq!(response.header("allow"), Some("POST"));
            }
        }
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let event = HttpEvent::new(kind, method, "/presence/alice")
                .body("{}")
                .build();
            let response = functions.invoke("get-state", event).await;
            response.assert_problem(
                405,
                "method-not-allowed",
                &format!("{method} get-state {kind:?}"),
            );
            assert!(
                response
                    .header("allow")
                    .unwrap()
                    .split(", ")
                    .any(|method| method == "GET")
            );
        }
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_body_has_at_most_a_mebibyte() {
    let mut functions = Functions::start().await;
    let build_event = |length| {
        HttpEvent::new(EventSource::HttpApi, "POST", "/")
            .body(padded(length))
            .build()
    };
    functions
        .invoke("connect", build_event(MAX_BODY))
        .await
        .ok();
    for name in WRITERS.into_iter().chain(["friends", "gateway"]) {
        functions
            .invoke(name, build_event(MAX_BODY + 1))
            .await
            .assert_problem(413, "too-large", name);
    }
    // Four characters of base64 are three bytes.
    let mut event = HttpEvent::new(EventSource::LoadBalancer, "POST", "/")
        .body("AAAA".repeat(MAX_BODY / 3 + 1))
        .build();
    event["isBase64Encoded"] = true.into();
    functions
        .invoke("connect", event)
        .await
        .assert_problem(413, "too-large", "base64");
}

#[tokio::test]
async fn a_body_with_another_content_type_than_json_is_refused() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml; charset=utf-8",
        ] {
            let event = HttpEvent::new(kind, "POST", "/")
                .header("content-type", content_type)
                .body(alice().to_string());
            let response = functions.invoke("connect", event.build()).await;
            response.assert_problem(415, "unsupported-media-type", content_type);
        }
    }
    for name in WRITERS.into_iter().chain(["friends", "gateway"]) {
        let event = HttpEvent::new(EventSource::HttpApi, "POST", "/")
            .header("content-type", "text/csv")
            .body("{}")
            .build();
        functions
            .invoke(name, event)
            .await
            .assert_problem(415, "unsupported-media-type", name);
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_body_with_a_content_encoding_is_refused() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        for encoding in ["gzip", "identity", "br, gzip"] {
            let event = HttpEvent::new(kind, "POST", "/")
                .header("Content-Encoding", encoding)
                .body(alice().to_string());
            let response = functions.invoke("connect", event.build()).await;
            response.assert_problem(
                415,
                "unsupported-media-type",
                &format!("{kind:?} {encoding}"),
            );
        }
    }
    for name in WRITERS.into_iter().chain(["friends", "gateway"]) {
        let event = HttpEvent::new(EventSource::HttpApi, "POST", "/")
            .header("content-encoding", "gzip")
            .body("{}")
            .build();
        functions
            .invoke(name, event)
            .await
            .assert_problem(415, "unsupported-media-type", name);
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
    let get = HttpEvent::new(EventSource::HttpApi, "GET", "/presence/alice")
        .header("content-encoding", "gzip")
        .build();
    assert_eq!(
        functions.invoke("get-state", get).await.ok()["state"],
        "OFFLINE",
        "a read has no body"
    );
}

#[tokio::test]
async fn no_response_may_be_cached() {
    let mut functions = Functions::start().await;
    let friends = json!({"player_ids": ["alice"]});
    let batch = json!({"connections": [alice()]});
    for (name, body, status) in [
        ("connect", alice(), 200),
        ("connect", batch.clone(), 200),
        ("heartbeat", alice(), 200),
        (
            "set-state",
            json!({"player_id": "alice", "state": "AWAY"}),
            200,
        ),
        ("friends", friends, 200),
        ("gateway", json!({"gateway_id": "g1"}), 200),
        ("disconnect", batch, 200),
        ("disconnect", alice(), 200),
        ("heartbeat", alice(), 410),
        (
            "set-state",
            json!({"player_id": "alice", "state": "IN_MATCH"}),
            409,
        ),
        ("connect", json!({}), 400),
    ] {
        let response = functions.post(name, &body).await;
        assert_eq!(
            (response.status, response.header("cache-control")),
            (status, Some("no-store")),
            "{name} {body}"
        );
    }
    for path in ["/presence/alice", "/presence/alice/", "/presence/a%20b"] {
        assert_eq!(
            functions.get(path).await.header("cache-control"),
            Some("no-store"),
            "{path}"
        );
    }
    let health = functions
        .invoke(
            "health",
            HttpEvent::new(EventSource::HttpApi, "GET", "/health/ready").build(),
        )
        .await;
    assert_eq!(
        (health.status, health.header("cache-control")),
        (200, Some("no-store"))
    );
}

#[tokio::test]
async fn json_is_accepted_with_any_of_its_content_types_or_without_one() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
            let event = HttpEvent::new(kind, "POST", "/")
                .header("Content-Type", content_type)
                .body(alice().to_string());
            functions.invoke("connect", event.build()).await.ok();
        }
    }
    let mut event = post("/", &alice());
    event["headers"]
        .as_object_mut()
        .unwrap()
        .remove("content-type")
        .unwrap();
    functions.invoke("connect", event).await.ok();
}

#[tokio::test]
async fn checks_are_made_in_the_order_of_the_contract() {
    let mut functions = Functions::start().await;
    let long = format!("{}x", padded(MAX_BODY));
    let broken = "{".to_owned();
    for (method, header, body, status, slug) in [
        (
            "PUT",
            ("content-type", "text/plain"),
            &long,
            405,
            "method-not-allowed",
        ),
        (
            "PUT",
            ("content-encoding", "gzip"),
            &long,
            405,
            "method-not-allowed",
        ),
        (
            "POST",
            ("content-type", "text/plain"),
            &long,
            413,
            "too-large",
        ),
        (
            "POST",
            ("content-encoding", "gzip"),
            &long,
            413,
            "too-large",
        ),
        (
            "POST",
            ("content-type", "text/plain"),
            &broken,
            415,
            "unsupported-media-type",
        ),
        (
            "POST",
            ("content-encoding", "gzip"),
            &broken,
            415,
            "unsupported-media-type",
        ),
        (
            "POST",
            ("content-type", "application/json"),
            &broken,
            400,
            "invalid-request",
        ),
    ] {
        for kind in EventSource::ALL {
            let event = HttpEvent::new(kind, method, "/")
                .header(header.0, header.1)
                .body(body.clone());
            functions
                .invoke("connect", event.build())
                .await
                .assert_problem(status, slug, slug);
        }
    }
}

#[tokio::test]
async fn an_offline_player_cannot_enter_a_queue_or_a_match() {
    let mut functions = Functions::start().await;
    for state in ["IN_QUEUE", "IN_MATCH"] {
        let response = functions
            .post("set-state", &json!({"player_id": "alice", "state": state}))
            .await;
        response.assert_problem(409, "transition-rejected", state);
    }
    assert_eq!(functions.redis.keys().await, [""; 0], "nothing was applied");
    for state in [
        "ONLINE", "IN_QUEUE", "IN_MATCH", "OFFLINE", "OFFLINE", "AWAY",
    ] {
        let response = functions
            .accept("set-state", json!({"player_id": "alice", "state": state}))
            .await;
        assert_eq!(
            (&response["state"], &response["connection_count"]),
            (&json!(state), &json!(0))
        );
    }
}

#[tokio::test]
async fn a_closed_connection_stays_closed() {
    let mut functions = Functions::start().await;
    functions.accept("connect", alice()).await;
    functions.accept("disconnect", alice()).await;
    let other = json!({"player_id": "alice", "connection_id": "c2"});
    functions.accept("connect", other.clone()).await;
    functions
        .accept(
            "set-state",
            json!({"player_id": "alice", "state": "OFFLINE"}),
        )
        .await;
    for name in ["connect", "heartbeat"] {
        functions
            .post(name, &alice())
            .await
            .assert_problem(410, "connection-closed", name);
        functions
            .post(name, &other)
            .await
            .assert_problem(410, "connection-closed", name);
    }
    assert_eq!(
        functions.get("/presence/alice").await.ok()["state"],
        "OFFLINE"
    );
    functions.accept("disconnect", alice()).await;
}
