//! Setting and reading of activities.

use presence_tests::event::{EventSource, HttpEvent, post};
use serde_json::{Value, json};

use super::{Functions, Response};

/// Starts the functions, and connects alice.
async fn with_alice() -> Functions {
    let mut functions = Functions::start().await;
    functions.accept("connect", alice()).await;
    functions
}

fn alice() -> Value {
    json!({"player_id": "alice", "connection_id": "c1"})
}

async fn set(functions: &mut Functions, activity: Value) -> Response {
    functions
        .post(
            "set-state",
            &json!({"player_id": "alice", "activity": activity}),
        )
        .await
}

/// Sets an activity that is inserted into the body verbatim.
async fn set_text(functions: &mut Functions, activity: &str) -> Response {
    let body = format!(r#"{{"player_id":"alice","activity":{activity}}}"#);
    functions
        .invoke(
            "set-state",
            HttpEvent::new(EventSource::HttpApi, "POST", "/")
                .body(body)
                .build(),
        )
        .await
}

async fn read_with_history(functions: &mut Functions) -> Value {
    let event = HttpEvent::new(EventSource::HttpApi, "GET", "/presence/alice")
        .query("history=true")
        .build();
    functions.invoke("get-state", event).await.ok()
}

fn ranked() -> Value {
    json!({"details": "Ranked, 2/4", "party": {"id": "p:1", "size": 2, "max": 4}, "joinable": true})
}

#[tokio::test]
async fn a_call_sets_the_state_the_activity_or_both() {
    let mut functions = with_alice().await;
    let call = functions.accept(
        "set-state",
        json!({"player_id": "alice", "state": "IN_MATCH", "activity": ranked()}),
    );
    let both = call.await;
    assert_eq!(
        (&both["state"], &both["activity"]),
        (&json!("IN_MATCH"), &ranked())
    );
    let state = functions
        .accept("set-state", json!({"player_id": "alice", "state": "AWAY"}))
        .await;
    assert_eq!(
        (&state["state"], &state["activity"]),
        (&json!("AWAY"), &ranked()),
        "a state keeps the activity"
    );
    let activity = set(&mut functions, json!({"joinable": false})).await.ok();
    assert_eq!(
        (&activity["state"], &activity["activity"]),
        (&json!("AWAY"), &json!({"joinable": false})),
        "the activity is replaced as a whole"
    );
    let neither = functions
        .post("set-state", &json!({"player_id": "alice"}))
        .await;
    neither.assert_problem(400, "invalid-request", "neither");
    assert_eq!(neither.body["field"], "state");
    for (member, body) in [
        (
            "state",
            json!({"player_id": "alice", "state": null, "activity": ranked()}),
        ),
        (
            "state",
            json!({"player_id": "alice", "state": "BUSY", "activity": ranked()}),
        ),
        (
            "more",
            json!({"player_id": "alice", "activity": ranked(), "more": 1}),
        ),
    ] {
        let response = functions.post("set-state", &body).await;
        response.assert_problem(400, "invalid-request", member);
        assert_eq!(response.body["field"], member);
    }
    assert_eq!(
        functions.get("/presence/alice").await.ok(),
        activity,
        "nothing was applied"
    );
}

#[tokio::test]
async fn null_removes_the_activity() {
    let mut functions = with_alice().await;
    set(&mut functions, ranked()).await.ok();
    let removed = set(&mut functions, Value::Null).await.ok();
    assert_eq!(removed.get("activity"), None);
    assert_eq!(functions.get("/presence/alice").await.ok(), removed);
    assert_eq!(
        set(&mut functions, Value::Null).await.ok()["version"],
        removed["version"],
        "twice"
    );
    let state = json!({"player_id": "alice", "state": "IN_MATCH", "activity": null});
    assert_eq!(
        functions.accept("set-state", state).await["state"],
        "IN_MATCH"
    );
}

#[tokio::test]
async fn each_member_has_its_bounds() {
    let mut functions = with_alice().await;
    let build_party =
        |id: &str, size: i64, max: i64| json!({"party": {"id": id, "size": size, "max": max}});
    for activity in [
        json!({"details": "a"}),
        json!({"details": "😀".repeat(128)}),
        json!({"joinable": false}),
        json!({"custom": {}}),
        build_party(&"x".repeat(128), 1, 1),
        build_party("a.B_1-:@|", 1_000, 1_000),
    ] {
        let response = set(&mut functions, activity.clone()).await.ok();
        assert_eq!(response["activity"], activity);
    }
    let before = functions.get("/presence/alice").await.ok();
    for (activity, field) in [
        (json!({}), "activity"),
        (json!([]), "activity"),
        (json!("Ranked"), "activity"),
        (json!(true), "activity"),
        (json!({"details": ""}), "activity.details"),
        (json!({"details": "a".repeat(129)}), "activity.details"),
        (json!({"details": null}), "activity.details"),
        (json!({"details": 1}), "activity.details"),
        (json!({"joinable": "true"}), "activity.joinable"),
        (json!({"joinable": null}), "activity.joinable"),
        (json!({"party": null}), "activity.party"),
        (json!({"party": []}), "activity.party"),
        (json!({"party": {"size": 1, "max": 2}}), "activity.party.id"),
        (
            json!({"party": {"id": "p", "max": 2}}),
            "activity.party.size",
        ),
        (
            json!({"party": {"id": "p", "size": 1}}),
            "activity.party.max",
        ),
        (
            json!({"party": {"id": "p", "size": 1, "max": 2, "more": 3}}),
            "activity.party.more",
        ),
        (build_party("a b", 1, 2), "activity.party.id"),
        (build_party("", 1, 2), "activity.party.id"),
        (build_party(".", 1, 2), "activity.party.id"),
        (build_party("p", 0, 2), "activity.party.size"),
        (build_party("p", -1, 2), "activity.party.size"),
        (build_party("p", 1, 1_001), "activity.party.max"),
        (build_party("p", 3, 2), "activity.party"),
        (
            json!({"party": {"id": "p", "size": 1.5, "max": 2}}),
            "activity.party.size",
        ),
        (json!({"custom": null}), "activity.custom"),
        (json!({"custom": []}), "activity.custom"),
        (json!({"custom": "x"}), "activity.custom"),
        (json!({"details": "a", "state": "AWAY"}), "activity.state"),
    ] {
        let response = set(&mut functions, activity.clone()).await;
        response.assert_problem(400, "invalid-request", &activity.to_string());
        assert_eq!(response.body["field"], field, "{activity}: {response:?}");
    }
    assert_eq!(
        functions.get("/presence/alice").await.ok(),
        before,
        "nothing was applied"
    );
}

#[tokio::test]
async fn invalid_json_is_refused_at_every_position() {
    let mut functions = with_alice().await;
    for (activity, field) in [
        (r#"{"details":"a","details":"b"}"#, Some("activity.details")),
        (
            r#"{"party":{"id":"p","size":1,"max":2,"size":1}}"#,
            Some("activity.party.size"),
        ),
        (r#"{"custom":{"a":1,"a":1}}"#, Some("activity.custom.a")),
        (
            r#"{"custom":{"b":[{"a":1,"\u0061":2}]}}"#,
            Some("activity.custom.b[0].a"),
        ),
        (r#"{"details":"\ud800"}"#, None),
        (r#"{"custom":{"a":"\udc00\ud800"}}"#, None),
        (r#"{"custom":{"\udbff":1}}"#, None),
        (r#"{"custom":{"a":01}}"#, None),
        (r#"{"custom":{"a":NaN}}"#, None),
        (r#"{"custom":{"a":"#, None),
    ] {
        let response = set_text(&mut functions, activity).await;
        response.assert_problem(400, "invalid-request", activity);
        assert_eq!(
            response.body.get("field").and_then(Value::as_str),
            field,
            "{activity}: {response:?}"
        );
    }
    assert_eq!(
        functions.get("/presence/alice").await.ok().get("activity"),
        None
    );
}

#[tokio::test]
async fn at_most_1_kib_of_compact_json_is_kept() {
    let mut functions = with_alice().await;
    let frame = r#"{"custom":{"t":""}}"#.len();
    let longest = "x".repeat(1_024 - frame);
    let with_text = |text: &str| {
        format!(
            "{{ \"custom\" :\n{{ \"t\" : \"{text}\" }} {} }}",
            " ".repeat(2_000)
        )
    };
    set_text(&mut functions, &with_text(&longest)).await.ok();
    let response = set_text(&mut functions, &with_text(&format!("{longest}x"))).await;
    response.assert_problem(400, "invalid-request", "1025 bytes");
    assert_eq!(response.body["field"], "activity");
    // An escape counts as the character that it represents, and a character as its bytes in UTF-8.
    set_text(&mut functions, &with_text(&r"\u0041".repeat(longest.len())))
        .await
        .ok();
    set_text(&mut functions, &with_text(&";".repeat(longest.len())))
        .await
        .ok();
    set_text(&mut functions, &with_text(&"é".repeat(longest.len() / 2)))
        .await
        .ok();
    let response = set_text(
        &mut functions,
        &with_text(&"é".repeat(longest.len() / 2 + 1)),
    )
    .await;
    response.assert_problem(400, "invalid-request", "in bytes");
}

#[tokio::test]
async fn an_activity_is_returned_unchanged_in_every_response() {
    let mut functions = with_alice().await;
    for custom in [
        r#"{"a":[],"b":{},"c":[[],{},[{}]],"d":null,"e":"","f":[true,false]}"#,
        r#"{"n":[0,-1,9007199254740992,-9007199254740992,9007199254740991,1.5,-2.25e-7]}"#,
        r#"{"":"\"\\/\b\f\n\r\t\u0000\u001f\u007f","\"":"😀 \u2028\u2029","\ud83d\ude00":1}"#,
        r#"{";":"a;b; c","; ":[";"],"%d%b()":"^%s*$","\\u003b":"\\;"}"#,
        r#"{"state":"AWAY","leases":[1],"activity":true,"}]":"\"}}]"}"#,
        r#"{"deep":[[[[[[[[[[[[[[[[[[[[{"a":[{"b":{"c":[[]]}}]}]]]]]]]]]]]]]]]]]]]]}"#,
    ] {
        let activity = json!({
            "custom": serde_json::from_str::<Value>(custom).unwrap(),
            "details": "\"{}\" \\ 😀\u{2028};\u{0}",
            "joinable": true,
        });
        let set = set(&mut functions, activity.clone()).await.ok();
        assert_eq!(set["activity"], activity);
        for _ in [
            "from the record as it was set",
            "renewed by its only connection",
            "again",
        ] {
            let read = functions.get("/presence/alice").await.ok();
            assert_eq!(
                (&read["activity"], &read["version"]),
                (&activity, &set["version"])
            );
            let heartbeat = functions.accept("heartbeat", alice()).await;
            assert_eq!(
                (&heartbeat["activity"], &heartbeat["version"]),
                (&activity, &set["version"])
            );
        }
        assert_eq!(
            read_with_history(&mut functions).await["activity"],
            activity
        );
        for history in [false, true] {
            let request = json!({"player_ids": ["bob", "alice", "alice"], "history": history});
            let friends = functions.accept("friends", request).await;
            assert_eq!(friends["presences"][0].get("activity"), None);
            assert_eq!(friends["presences"][1]["activity"], activity, "{friends}");
            assert_eq!(friends["presences"][1], friends["presences"][2]);
        }
        // With a second device, heartbeats and the record have another form.
        let phone = json!({"player_id": "alice", "connection_id": "phone"});
        for (name, body) in [
            ("connect", &phone),
            ("heartbeat", &alice()),
            ("heartbeat", &phone),
            ("heartbeat", &alice()),
        ] {
            let response = functions.accept(name, body.clone()).await;
            assert_eq!(
                (&response["activity"], &response["connection_count"]),
                (&activity, &json!(2)),
                "{name}"
            );
        }
        functions.redis(&["DEL", "{presence:alice}:closed"]).await;
        assert_eq!(
            functions.accept("disconnect", phone).await["activity"],
            activity
        );
        functions.redis(&["DEL", "{presence:alice}:closed"]).await;
    }
}

#[tokio::test]
async fn an_activity_ends_when_the_player_goes_offline() {
    let mut functions = with_alice().await;
    set(&mut functions, ranked()).await.ok();
    assert_eq!(
        functions
            .accept("disconnect", alice())
            .await
            .get("activity"),
        None
    );
    assert_eq!(
        functions.get("/presence/alice").await.ok().get("activity"),
        None
    );
    assert_eq!(
        read_with_history(&mut functions).await.get("activity"),
        None
    );
    let other = json!({"player_id": "alice", "connection_id": "c2"});
    assert_eq!(
        functions.accept("connect", other).await.get("activity"),
        None,
        "and does not come back"
    );
    set(&mut functions, ranked()).await.ok();
    functions
        .accept(
            "set-state",
            json!({"player_id": "alice", "state": "OFFLINE"}),
        )
        .await;
    let online = functions
        .accept(
            "set-state",
            json!({"player_id": "alice", "state": "ONLINE"}),
        )
        .await;
    assert_eq!(online.get("activity"), None);
}

#[tokio::test]
async fn an_offline_player_cannot_have_an_activity() {
    let mut functions = Functions::start().await;
    for body in [
        json!({"player_id": "alice", "activity": ranked()}),
        json!({"player_id": "alice", "state": "ONLINE", "activity": ranked()}),
        json!({"player_id": "alice", "state": "IN_MATCH", "activity": ranked()}),
    ] {
        let response = functions.post("set-state", &body).await;
        response.assert_problem(409, "transition-rejected", &body.to_string());
    }
    let removed = functions
        .accept("set-state", json!({"player_id": "alice", "activity": null}))
        .await;
    let expected = json!({"player_id": "alice", "state": "OFFLINE", "last_seen": null, "connection_count": 0, "version": null});
    assert_eq!(removed, expected);
    assert_eq!(functions.redis.keys().await, [""; 0], "nothing was applied");

    functions.accept("connect", alice()).await;
    for activity in [ranked(), json!({"joinable": true})] {
        let body = json!({"player_id": "alice", "state": "OFFLINE", "activity": activity});
        let response = functions.post("set-state", &body).await;
        response.assert_problem(400, "invalid-request", "signed out with an activity");
        assert_eq!(response.body["field"], "activity");
    }
    assert_eq!(
        functions.get("/presence/alice").await.ok()["state"],
        "ONLINE",
        "nothing was applied"
    );
    let signed_out = json!({"player_id": "alice", "state": "OFFLINE", "activity": null});
    assert_eq!(
        functions.accept("set-state", signed_out).await["state"],
        "OFFLINE"
    );
}

#[tokio::test]
async fn an_activity_is_set_from_each_kind_of_event() {
    for kind in EventSource::ALL {
        let mut functions = with_alice().await;
        let body = json!({"player_id": "alice", "activity": ranked()}).to_string();
        let event = HttpEvent::new(kind, "POST", "/presence/state")
            .body(body)
            .build();
        assert_eq!(
            functions.invoke("set-state", event).await.ok()["activity"],
            ranked(),
            "{kind:?}"
        );
    }
    let mut functions = with_alice().await;
    let nothing = functions
        .invoke(
            "set-state",
            post("/", &json!({"player_id": "alice", "activity": {}})),
        )
        .await;
    nothing.assert_problem(400, "invalid-request", "an empty activity");
}
