//! The commands that functions send to Redis, as `MONITOR` shows them.

use futures_util::StreamExt as _;
use presence_tests::event;
use redis::aio::Monitor;
use serde_json::{Value, json};

use super::Functions;

/// A command that Redis executed.
#[derive(Debug)]
struct Line {
    /// Whether a script sent it.
    is_from_script: bool,
    words: Vec<String>,
}

impl Line {
    /// Parses `<time> [<db> <client>] "<word>" "<word>" …`.
    fn parse(line: &str) -> Self {
        let (head, words) = line.split_once("] ").unwrap();
        Self {
            is_from_script: head.ends_with(" lua"),
            words: parse_words(words),
        }
    }

    fn name(&self) -> String {
        self.words[0].to_ascii_uppercase()
    }

    /// The keys that a script call passes.
    fn keys(&self) -> &[String] {
        let count: usize = self.words[2].parse().unwrap();
        &self.words[3..3 + count]
    }
}

/// Parses words in quotes. Redis's escapes are kept, as no key contains any.
fn parse_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.chars();
    while rest.by_ref().any(|char| char == '"') {
        let mut word = String::new();
        while let Some(char) = rest.next().filter(|char| *char != '"') {
            word.push(char);
            if char == '\\' {
                word.extend(rest.next());
            }
        }
        words.push(word);
    }
    words
}

/// The commands of one call, after its function has connected and Redis has cached the scripts.
async fn traffic(functions: &mut Functions, name: &'static str, event: Value) -> Vec<Line> {
    let client = redis::Client::open(functions.redis.url()).unwrap();
    let mut monitor: Monitor = client.get_async_monitor().await.unwrap();
    functions.invoke(name, event).await.ok();
    functions.redis(&["ECHO", "end of the call"]).await;
    let lines = monitor
        .on_message::<String>()
        .map(|line| Line::parse(&line));
    let lines = lines
        .take_while(|line| std::future::ready(line.words.last().unwrap() != "end of the call"));
    let lines: Vec<_> = lines.collect().await;
    // Commands of new connections: the one that sends the ECHO, and checks that a connection leads
    // to a primary.
    let of_connections = ["CLIENT", "HELLO", "PING", "ROLE"];
    lines
        .into_iter()
        .filter(|line| !of_connections.contains(&line.name().as_str()))
        .collect()
}

fn names(lines: &[Line]) -> Vec<String> {
    let mut names: Vec<_> = lines
        .iter()
        .filter(|line| !line.is_from_script)
        .map(Line::name)
        .collect();
    names.sort();
    names
}

fn post(body: Value) -> Value {
    event::post("/", &body)
}

fn connection(player: &str, connection: &str) -> Value {
    json!({"player_id": player, "connection_id": connection})
}

#[tokio::test]
async fn a_read_is_one_command_and_one_time() {
    let mut functions = Functions::start().await;
    for player in ["a", "b"] {
        functions.accept("connect", connection(player, "c")).await;
    }
    let ids: Vec<_> = (0..2_000).map(|n| format!("p{n}")).collect();
    for (name, event, command) in [
        (
            "friends",
            post(json!({"player_ids": ["a", "b", "nobody", "a"]})),
            "MGET",
        ),
        (
            "friends",
            post(json!({"player_ids": ["a", "b", "nobody"], "history": true})),
            "MGET",
        ),
        ("friends", post(json!({"player_ids": ids})), "MGET"),
        ("get-state", event::get("/presence/a"), "GET"),
        ("get-state", event::get("/presence/nobody"), "GET"),
    ] {
        functions.invoke(name, event.clone()).await;
        let lines = traffic(&mut functions, name, event).await;
        assert_eq!(names(&lines), [command, "TIME"], "{lines:?}");
        assert!(lines.iter().all(|line| !line.is_from_script));
    }
}

#[tokio::test]
async fn a_mutation_is_one_script_call_that_accesses_only_its_keys() {
    let mut functions = Functions::with(&[("PRESENCE_MAX_CONNECTIONS", "2")]).await;
    let post_batch = |connections: Value| post(json!({"connections": connections}));
    // Heartbeats of known leases take the fast path. Those of unknown ones take the slow path: a
    // single heartbeat by a second call.
    let calls = [
        ("connect", post(connection("a", "1"))),
        ("connect", post(connection("a", "2"))),
        ("connect", post(connection("a", "3"))), // evicts
        ("heartbeat", post(connection("a", "3"))),
        ("heartbeat", post(connection("b", "1"))), // restores
        (
            "heartbeat",
            post_batch(json!([connection("a", "3"), connection("b", "1")])),
        ),
        (
            "heartbeat",
            post_batch(json!([
                connection("a", "3"),
                connection("b", "1"),
                connection("c", "1")
            ])),
        ),
        (
            "set-state",
            post(json!({"player_id": "a", "state": "IN_MATCH"})),
        ),
        ("disconnect", post(connection("a", "3"))),
        (
            "disconnect",
            post_batch(json!([
                connection("a", "2"),
                connection("b", "1"),
                connection("b", "2")
            ])),
        ),
        (
            "set-state",
            post(json!({"player_id": "c", "state": "OFFLINE"})),
        ),
        (
            "connect",
            post_batch(json!([connection("a", "4"), connection("d", "1")])),
        ),
    ];
    // Redis has each script cached afterwards; a heartbeat of an unknown lease calls both of its
    // scripts.
    for name in super::WRITERS {
        let body = match name {
            "set-state" => json!({"player_id": "z", "state": "AWAY"}),
            "heartbeat" => connection("y", "y"),
            _ => connection("z", "z"),
        };
        functions.post(name, &body).await;
    }
    for (name, event) in calls {
        let lines = traffic(&mut functions, name, event).await;
        let calls = names(&lines);
        let is_restored = calls == ["EVALSHA", "EVALSHA"]
            && lines[0].keys() == ["presence:b", "{presence:b}:past"];
        assert!(calls == ["EVALSHA"] || is_restored, "{name}: {lines:?}");
        let passed: Vec<_> = lines
            .iter()
            .filter(|line| !line.is_from_script)
            .flat_map(Line::keys)
            .collect();
        for line in &lines[1..] {
            for key in keys_of(&functions, line).await {
                assert!(
                    passed.contains(&&key),
                    "{name}: {key} is not in {passed:?}, in {line:?}"
                );
            }
        }
        assert!(lines.len() > 2, "{name}: {lines:?}");
    }
}

/// The keys of a command, as Redis reports them.
async fn keys_of(functions: &Functions, line: &Line) -> Vec<String> {
    if line.name() == "TIME" {
        return Vec::new();
    }
    let mut raw = functions.redis.connection().await;
    redis::cmd("COMMAND")
        .arg("GETKEYS")
        .arg(&line.words)
        .query_async(&mut raw)
        .await
        .unwrap()
}
