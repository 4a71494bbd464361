//! Paths of a GET: the player is the last segment, after any stage or base path.

use std::collections::HashMap;

use presence_tests::event::{EventSource, HttpEvent};
use serde_json::json;

use super::{Functions, Response};

async fn get(functions: &mut Functions, kind: EventSource, path: &str, query: &str) -> Response {
    functions
        .invoke(
            "get-state",
            HttpEvent::new(kind, "GET", path).query(query).build(),
        )
        .await
}

#[tokio::test]
async fn the_player_is_the_last_segment_of_the_path() {
    let mut functions = Functions::start().await;
    let longest = format!("/presence/{}", "a".repeat(128));
    for (path, player) in [
        ("/presence/alice", "alice"),
        ("/presence/alice/", "alice"),
        ("/alice", "alice"),
        ("/prod/presence/alice", "alice"),
        ("/prod/game/eu-1/presence/alice/", "alice"),
        ("/lambda-url/get-state/presence/alice", "alice"),
        ("/presence/steam%3A1%40eu%7cx", "steam:1@eu|x"),
        ("/presence/steam:1@eu|x", "steam:1@eu|x"),
        ("/presence/%61lice", "alice"),
        ("/presence/friends", "friends"),
        ("/presence/connect", "connect"),
        ("/presence/...", "..."),
        ("/presence/%2e%2e%2e", "..."),
        ("/%2e%2e/x/../presence/alice", "alice"),
        (&longest, &longest[10..]),
    ] {
        functions
            .accept(
                "connect",
                json!({"player_id": player, "connection_id": "c"}),
            )
            .await;
        for kind in EventSource::ALL {
            let presence = get(&mut functions, kind, path, "").await.ok();
            assert_eq!(
                (&presence["player_id"], &presence["state"]),
                (&json!(player), &json!("ONLINE")),
                "{kind:?} {path}"
            );
        }
        functions.redis(&["FLUSHALL"]).await;
    }
}

#[tokio::test]
async fn a_path_that_names_no_player_is_refused() {
    let mut functions = Functions::start().await;
    let too_long = format!("/presence/{}", "a".repeat(129));
    for path in [
        "/presence/.",
        "/presence/..",
        "/presence/../",
        "/presence/alice/..",
        "/presence/alice/./",
        "/presence/%2e",
        "/presence/%2E%2e",
        "/presence/.%2e/",
        "/presence/%2541",
        "/presence/%",
        "/presence/%zz",
        "/presence/%ff",
        "/presence/%00",
        "/presence/a%2Fb",
        "/presence/a%20b",
        "/presence/a b",
        "/presence/a%3Fb",
        "/presence/a\\b",
        "/presence/a^b`<>\"{}",
        "/presence/%C3%A9",
        "/presence/é",
        "/presence/a=b",
        "/presence/a+b",
        &too_long,
    ] {
        for kind in EventSource::ALL {
            let response = get(&mut functions, kind, path, "").await;
            response.assert_problem(400, "invalid-request", &format!("{kind:?} {path}"));
        }
    }
}

#[tokio::test]
async fn history_is_exactly_true_or_false() {
    let mut functions = Functions::start().await;
    functions
        .accept(
            "connect",
            json!({"player_id": "alice", "connection_id": "c"}),
        )
        .await;
    functions
        .accept(
            "disconnect",
            json!({"player_id": "alice", "connection_id": "c"}),
        )
        .await;
    for kind in EventSource::ALL {
        for (query, has_history) in [
            ("", false),
            ("history=false", false),
            ("history=true", true),
            ("a=1&history=true&b=", true),
        ] {
            let presence = get(&mut functions, kind, "/presence/alice", query)
                .await
                .ok();
            assert_eq!(
                presence["last_seen"].is_u64(),
                has_history,
                "{kind:?} {query}"
            );
            assert_eq!(
                presence["version"].is_u64(),
                has_history,
                "{kind:?} {query}"
            );
        }
        for query in [
            "history=",
            "history=TRUE",
            "history=True",
            "history=1",
            "history=yes",
            "history=null",
            "history=truefalse",
        ] {
            let response = get(&mut functions, kind, "/presence/alice", query).await;
            response.assert_problem(400, "invalid-request", &format!("{kind:?} {query}"));
            assert_eq!(response.body["field"], "history");
        }
    }
}

#[tokio::test]
async fn unknown_names_in_a_query_are_ignored() {
    let mut functions = Functions::start().await;
    for kind in EventSource::ALL {
        for query in [
            "x=1%26history%3Dmaybe",
            "x%26history=maybe",
            "%26history=maybe",
            "History=yes",
            "x=1",
            "x=%ff",
            "x=%zz&y=%",
            "x[]=é",
            "x={|^`}\\",
            "x=\"y\"",
            "x=<y>",
            "=&&=",
        ] {
            let presence = get(&mut functions, kind, "/presence/alice", query)
                .await
                .ok();
            assert_eq!(presence["state"], "OFFLINE", "{kind:?} {query}");
        }
    }
}

/// `cargo lambda watch` reads the routes of `make run` from Cargo.toml, and matches paths
/// literally.
#[test]
fn make_run_serves_every_path_with_and_without_a_slash_at_its_end() {
    let manifest = include_str!("../../../../Cargo.toml");
    let (_, router) = manifest
        .split_once("[workspace.metadata.lambda.watch.router]\n")
        .unwrap();
    let router_routes = router
        .split("\n\"")
        .map(|route| route.trim_start_matches('"').split_once("\" = ").unwrap());
    let routes: HashMap<_, _> = router_routes
        .map(|(path, functions)| (path, functions.trim()))
        .collect();
    let calls = [
        "{player_id}",
        "connect",
        "heartbeat",
        "disconnect",
        "state",
        "friends",
    ]
    .map(|call| format!("/presence/{call}"));
    for path in calls.iter().map(String::as_str).chain(["/health/ready"]) {
        assert!(routes.contains_key(path), "{path}");
        assert_eq!(routes.get(path), routes.get(&*format!("{path}/")), "{path}");
    }
}
