//! Invalid bodies: 400 with the path of the invalid member, and nothing applied.

use presence_tests::event::{EventSource, HttpEvent};
use serde_json::{Value, json};

use super::{Functions, Response, WRITERS};

async fn post(functions: &mut Functions, name: &'static str, body: &str) -> Response {
    functions
        .invoke(
            name,
            HttpEvent::new(EventSource::HttpApi, "POST", "/")
                .body(body)
                .build(),
        )
        .await
}

/// Checks that each body of a table is refused for its field, and leaves nothing in Redis.
async fn refuse(table: &[(&'static str, &str, &str)]) {
    let mut functions = Functions::start().await;
    let mut misses = Vec::new();
    for (name, body, field) in table {
        let response = post(&mut functions, name, body).await;
        match response.status {
            400 => response.assert_problem(400, "invalid-request", body),
            _ => misses.push(format!(
                "{name} {body} is not refused but {}",
                response.body
            )),
        }
        if response.status == 400 && response.body["field"] != *field {
            misses.push(format!(
                "{name} {body} is refused without naming {field}: {}",
                response.body
            ));
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
    assert_eq!(functions.redis.keys().await, [""; 0], "nothing was applied");
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_refused() {
    let mut functions = Functions::start().await;
    let deep = "[".repeat(100_000);
    let bodies = [
        "",
        " ",
        "{",
        "null",
        "true",
        "1",
        "\"alice\"",
        "[]",
        "[\"alice\",\"c1\"]",
        "{}{}",
        "{'a':1}",
        &deep,
    ];
    for name in WRITERS.into_iter().chain(["friends", "gateway"]) {
        for body in bodies {
            post(&mut functions, name, body).await.assert_problem(
                400,
                "invalid-request",
                &format!("{name} {body:.20}"),
            );
        }
        let mut not_utf8 = HttpEvent::new(EventSource::RestApi, "POST", "/")
            .body("/w==")
            .build();
        not_utf8["isBase64Encoded"] = true.into();
        functions.invoke(name, not_utf8).await.assert_problem(
            400,
            "invalid-request",
            "a byte that is not UTF-8",
        );
        let mut not_base64 = HttpEvent::new(EventSource::LoadBalancer, "POST", "/")
            .body("{}")
            .build();
        not_base64["isBase64Encoded"] = true.into();
        functions.invoke(name, not_base64).await.assert_problem(
            400,
            "invalid-request",
            "invalid base64",
        );
        let no_body = HttpEvent::new(EventSource::HttpApi, "POST", "/").build();
        functions
            .invoke(name, no_body)
            .await
            .assert_problem(400, "invalid-request", "no body");
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn one_connection_has_two_ids_and_nothing_else() {
    for name in ["connect", "heartbeat", "disconnect"] {
        refuse(&[
            (name, r#"{}"#, "player_id"),
            (name, r#"{"connection_id":"c"}"#, "player_id"),
            (name, r#"{"player_id":"a"}"#, "connection_id"),
            (
                name,
                r#"{"player_id":"a","connection_id":"c","zz":1}"#,
                "zz",
            ),
            (
                name,
                r#"{"player_id":"a","connection_id":"c","Player_id":"a"}"#,
                "Player_id",
            ),
            (
                name,
                r#"{"player_id":"a","connection_id":null}"#,
                "connection_id",
            ),
            (
                name,
                r#"{"player_id":null,"connection_id":"c"}"#,
                "player_id",
            ),
            (name, r#"{"player_id":7,"connection_id":"c"}"#, "player_id"),
            (
                name,
                r#"{"player_id":["a"],"connection_id":"c"}"#,
                "player_id",
            ),
            (
                name,
                r#"{"player_id":"a","connection_id":{"id":"c"}}"#,
                "connection_id",
            ),
            (
                name,
                r#"{"player_id":"a","connection_id":true}"#,
                "connection_id",
            ),
            (
                name,
                r#"{"player_id":"a","player_id":"a","connection_id":"c"}"#,
                "player_id",
            ),
            (
                name,
                r#"{"player_id":"a","connection_id":"c","connection_id":"d"}"#,
                "connection_id",
            ),
        ])
        .await;
    }
}

#[tokio::test]
async fn a_batch_is_a_list_of_connections_and_nothing_else() {
    for name in ["connect", "heartbeat", "disconnect"] {
        refuse(&[
            (name, r#"{"connections":null}"#, "connections"),
            (name, r#"{"connections":{}}"#, "connections"),
            (name, r#"{"connections":"a"}"#, "connections"),
            (name, r#"{"connections":[]}"#, "connections"),
            (name, r#"{"connections":[null]}"#, "connections[0]"),
            (name, r#"{"connections":[["a","c"]]}"#, "connections[0]"),
            (name, r#"{"connections":["a"]}"#, "connections[0]"),
            (name, r#"{"connections":[{}]}"#, "connections[0].player_id"),
            (
                name,
                r#"{"connections":[{"player_id":"a","connection_id":"c"},{"player_id":"a"}]}"#,
                "connections[1].connection_id",
            ),
            (name, r#"{"connections":[{"player_id":"a","connection_id":"c","zz":1}]}"#, "connections[0].zz"),
            (
                name,
                r#"{"connections":[{"player_id":"a","connection_id":"c","reason":"lost"}]}"#,
                "connections[0].reason",
            ),
            (name, r#"{"connections":[{"player_id":"a","connection_id":null}]}"#, "connections[0].connection_id"),
            (
                name,
                r#"{"connections":[{"player_id":"a","connection_id":"c"},{"player_id":"a b","connection_id":"c"}]}"#,
                "connections[1].player_id",
            ),
            (
                name,
                r#"{"connections":[{"player_id":"a","player_id":"b","connection_id":"c"}]}"#,
                "connections[0].player_id",
            ),
            (name, r#"{"connections":[{"player_id":"a","connection_id":"c"}],"zz":1}"#, "zz"),
            (name, r#"{"connections":[{"player_id":"a","connection_id":"c"}],"connections":[]}"#, "connections"),
        ])
        .await;
    }
}

#[tokio::test]
async fn a_body_is_either_one_connection_or_a_batch() {
    let mut functions = Functions::start().await;
    for name in ["connect", "heartbeat", "disconnect"] {
        for member in ["player_id", "connection_id"] {
            let body =
                json!({"connections": [{"player_id": "a", "connection_id": "c"}], member: "a"});
            functions.post(name, &body).await.assert_problem(
                400,
                "invalid-request",
                &format!("{name} {body}"),
            );
        }
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn only_a_disconnect_has_a_reason_and_unknown_reasons_are_refused() {
    let build_one =
        |reason: &str| format!(r#"{{"player_id":"a","connection_id":"c","reason":{reason}}}"#);
    let build_batch = |reason: &str| {
        format!(r#"{{"connections":[{{"player_id":"a","connection_id":"c"}}],"reason":{reason}}}"#)
    };
    let mut bodies = Vec::new();
    for name in ["connect", "heartbeat"] {
        bodies.extend([
            (name, build_one("\"lost\"")),
            (name, build_batch("\"quit\"")),
        ]);
    }
    for reason in [
        "null",
        "\"timeout\"",
        "\"LOST\"",
        "\"\"",
        "1",
        "[\"lost\"]",
        "{\"lost\":null}",
        "\"lost\",\"reason\":\"lost\"",
    ] {
        bodies.extend([
            ("disconnect", build_one(reason)),
            ("disconnect", build_batch(reason)),
        ]);
    }
    let table: Vec<_> = bodies
        .iter()
        .map(|(name, body)| (*name, body.as_str(), "reason"))
        .collect();
    refuse(&table).await;
}

#[tokio::test]
async fn a_state_is_one_of_the_five_states() {
    let set = |state: &str| format!(r#"{{"player_id":"a","state":{state}}}"#);
    let states = [
        "null",
        "\"online\"",
        "\"BUSY\"",
        "\"\"",
        "\"ONLINE \"",
        "0",
        "[\"ONLINE\"]",
        "{\"ONLINE\":null}",
    ];
    let bodies = states.map(set);
    let mut table: Vec<_> = bodies
        .iter()
        .map(|body| ("set-state", body.as_str(), "state"))
        .collect();
    table.extend([
        ("set-state", r#"{"player_id":"a"}"#, "state"),
        ("set-state", r#"{"state":"ONLINE"}"#, "player_id"),
        (
            "set-state",
            r#"{"player_id":"a","state":"ONLINE","state":"ONLINE"}"#,
            "state",
        ),
        (
            "set-state",
            r#"{"player_id":null,"state":"ONLINE"}"#,
            "player_id",
        ),
        (
            "set-state",
            r#"{"player_id":"a","state":"ONLINE","reason":"x"}"#,
            "reason",
        ),
        (
            "set-state",
            r#"{"player_id":"a","state":"ONLINE","connection_id":"c"}"#,
            "connection_id",
        ),
    ]);
    refuse(&table).await;
}

#[tokio::test]
async fn friends_are_a_list_of_ids_and_an_optional_flag() {
    refuse(&[
        ("friends", r#"{}"#, "player_ids"),
        ("friends", r#"{"history":true}"#, "player_ids"),
        ("friends", r#"{"player_ids":null}"#, "player_ids"),
        ("friends", r#"{"player_ids":"a"}"#, "player_ids"),
        ("friends", r#"{"player_ids":{"a":1}}"#, "player_ids"),
        ("friends", r#"{"player_ids":[]}"#, "player_ids"),
        ("friends", r#"{"player_ids":["a",null]}"#, "player_ids[1]"),
        ("friends", r#"{"player_ids":["a","b",7]}"#, "player_ids[2]"),
        ("friends", r#"{"player_ids":["a b"]}"#, "player_ids[0]"),
        ("friends", r#"{"player_ids":["a",".."]}"#, "player_ids[1]"),
        (
            "friends",
            r#"{"player_ids":["a"],"player_ids":["a"]}"#,
            "player_ids",
        ),
        (
            "friends",
            r#"{"player_ids":["a"],"history":null}"#,
            "history",
        ),
        (
            "friends",
            r#"{"player_ids":["a"],"history":"true"}"#,
            "history",
        ),
        ("friends", r#"{"player_ids":["a"],"history":1}"#, "history"),
        (
            "friends",
            r#"{"player_ids":["a"],"history":true,"history":true}"#,
            "history",
        ),
        ("friends", r#"{"player_ids":["a"],"zz":1}"#, "zz"),
    ])
    .await;
}

#[tokio::test]
async fn a_gateway_has_an_id_and_an_optional_reason_to_leave() {
    let long = json!({"gateway_id": "a".repeat(65)}).to_string();
    refuse(&[
        ("gateway", r#"{}"#, "gateway_id"),
        ("gateway", r#"{"leaving":"quit"}"#, "gateway_id"),
        ("gateway", r#"{"gateway_id":null}"#, "gateway_id"),
        ("gateway", r#"{"gateway_id":7}"#, "gateway_id"),
        ("gateway", r#"{"gateway_id":""}"#, "gateway_id"),
        ("gateway", r#"{"gateway_id":"a b"}"#, "gateway_id"),
        ("gateway", r#"{"gateway_id":"a!b"}"#, "gateway_id"),
        ("gateway", &long, "gateway_id"),
        (
            "gateway",
            r#"{"gateway_id":"g","gateway_id":"g"}"#,
            "gateway_id",
        ),
        ("gateway", r#"{"gateway_id":"g","leaving":null}"#, "leaving"),
        (
            "gateway",
            r#"{"gateway_id":"g","leaving":"gone"}"#,
            "leaving",
        ),
        ("gateway", r#"{"gateway_id":"g","reason":"quit"}"#, "reason"),
        (
            "gateway",
            r#"{"gateway_id":"g","connections":[]}"#,
            "connections",
        ),
    ])
    .await;
}

#[tokio::test]
async fn ids_have_1_to_128_bytes_of_the_allowed_characters() {
    let mut functions = Functions::start().await;
    let longest = "a".repeat(128);
    let too_long = "a".repeat(129);
    let connect =
        |player: &str, connection: &str| json!({"player_id": player, "connection_id": connection});
    for player in [
        "", " ", "a b", "a/b", "a=b", "a+b", "a{b}", "a\"b", "a\\b", "a\nb", "a\0", "é", ".", "..",
        &too_long,
    ] {
        let response = functions.post("connect", &connect(player, "c")).await;
        response.assert_problem(400, "invalid-request", &format!("{player:?}"));
        assert_eq!(response.body["field"], "player_id", "{player:?}");
    }
    for id in [
        "", " ", "a b", "a{b}", "a\"b", "a\\b", "a\nb", "é", "a%2Bb", "a,b", &too_long,
    ] {
        let response = functions.post("connect", &connect("a", id)).await;
        response.assert_problem(400, "invalid-request", &format!("{id:?}"));
        assert_eq!(response.body["field"], "connection_id", "{id:?}");
    }
    assert_eq!(functions.redis.keys().await, [""; 0]);
    for (player, id) in [
        ("AZaz09._-:@|", "AZaz09._-:@|=+/"),
        ("...", ".."),
        (&*longest, &*longest),
        ("0", "1"),
    ] {
        assert_eq!(
            functions.accept("connect", connect(player, id)).await["player_id"],
            *player
        );
        assert_eq!(
            functions.accept("heartbeat", connect(player, id)).await["connection_count"],
            1
        );
        assert_eq!(
            functions.accept("disconnect", connect(player, id)).await["state"],
            "OFFLINE"
        );
    }
}

#[tokio::test]
async fn lists_have_at_most_the_configured_number_of_entries() {
    let build_connections = |length| json!({"connections": vec![json!({"player_id": "a", "connection_id": "c"}); length]});
    let build_players = |length| json!({"player_ids": vec!["a"; length]});
    for (variables, max) in [(&[][..], 2_000), (&[("PRESENCE_MAX_BATCH", "3")], 3)] {
        let mut functions = Functions::with(variables).await;
        for (name, body, field) in [
            (
                "connect",
                &build_connections as &dyn Fn(usize) -> Value,
                "connections",
            ),
            ("heartbeat", &build_connections, "connections"),
            ("disconnect", &build_connections, "connections"),
            ("friends", &build_players, "player_ids"),
        ] {
            let response = functions.post(name, &body(max + 1)).await;
            response.assert_problem(400, "invalid-request", name);
            assert_eq!(response.body["field"], field);
            functions.accept(name, body(max)).await;
        }
    }
}
