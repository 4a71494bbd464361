//! `presence load`.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use presence_tests::{NatsServer, RedisServer, Server};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{command, finish};

/// A time limit that is generous even for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The result of a load.
pub(super) struct Load {
    pub(super) status: Option<i32>,
    pub(super) report: Value,
    err: String,
}

/// A server whose heartbeats are more frequent than leases require, so that a short load has some.
pub(super) async fn server(more: &[(&str, &str)]) -> (RedisServer, NatsServer, Server) {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let redis_url = redis.url();
    let nats_url = nats.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis_url),
        ("PRESENCE_NATS_URL", &*nats_url),
        ("PRESENCE_HEARTBEAT_INTERVAL", "1s"),
    ];
    let server = Server::start(&[&variables[..], more].concat());
    (redis, nats, server)
}

/// A load of 200 players that do everything often.
const BUSY: [&str; 17] = [
    "load",
    "--players",
    "200",
    "--gateways",
    "3",
    "--duration",
    "5s",
    "--churn",
    "100",
    "--changes",
    "1800",
    "--reads",
    "40",
    "--friends",
    "50",
    "--watch",
    "150",
];

fn spawn(server: &Server, arguments: &[&str]) -> Child {
    spawn_at(&server.url(""), arguments)
}

/// Starts the program with the service at a URL.
pub(super) fn spawn_at(url: &str, arguments: &[&str]) -> Child {
    let mut command = Command::from(command(url, arguments));
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn load(server: &Server, arguments: &[&str]) -> Load {
    await_report(spawn(server, &[arguments, &["--json"]].concat())).await
}

/// Waits for the end of a load with `--json`.
pub(super) async fn await_report(process: Child) -> Load {
    let Output {
        status,
        stdout,
        stderr,
    } = timeout(TIMEOUT, process.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(out.lines().count(), 1, "{out}{err}");
    Load {
        status: status.code(),
        report: serde_json::from_str(&out).unwrap(),
        err,
    }
}

impl Load {
    /// The figures of one kind of call, with all players connected.
    fn call(&self, name: &str) -> &Value {
        let calls = self.report["measured"]["calls"].as_array().unwrap();
        calls
            .iter()
            .find(|call| call["call"] == name)
            .unwrap_or_else(|| panic!("{name}: {}", self.report))
    }

    pub(super) fn bar(&self, name: &str) -> &Value {
        let bars = self.report["bars"].as_array().unwrap();
        bars.iter()
            .find(|bar| bar["name"] == name)
            .unwrap_or_else(|| panic!("{name}: {}", self.report))
    }

    /// The bars that are counts, which do not depend on the speed of the machine.
    fn counts(&self) -> Vec<(&str, bool)> {
        let bars = self.report["bars"].as_array().unwrap();
        let counts = bars.iter().filter(|bar| bar.get("unit").is_none());
        counts
            .map(|bar| (bar["name"].as_str().unwrap(), bar["is_met"] == true))
            .collect()
    }

    /// The states of the load's players in the service.
    pub(super) async fn states(&self, server: &Server) -> Vec<Value> {
        let prefix = self.report["prefix"].as_str().unwrap();
        let players = self.report["players"].as_u64().unwrap();
        let ids: Vec<_> = (0..players)
            .map(|number| format!("{prefix}{number}"))
            .collect();
        let mut response = server
            .post(
                "/presence/friends",
                json!({"player_ids": ids, "history": true}),
            )
            .await
            .body;
        let presences = response["presences"].as_array_mut().unwrap();
        presences
            .iter_mut()
            .map(|presence| presence["state"].take())
            .collect()
    }
}

#[tokio::test]
async fn a_load_makes_all_calls_of_gateways_and_removes_everything() {
    let (_redis, _nats, server) = server(&[]).await;
    let alice = json!({"player_id": "alice", "connection_id": "phone"});
    let before = server.post("/presence/connect", alice).await.body;
    let load = load(&server, &BUSY).await;

    for call in [
        "connect",
        "heartbeat",
        "disconnect",
        "state",
        "gateway",
        "friends",
        "watch",
    ] {
        let figures = load.call(call);
        assert_eq!(figures["failed"], 0, "{call}: {}", load.report);
        assert!(
            figures["entries"].as_u64().unwrap() > 0,
            "{call}: {}",
            load.report
        );
        let latency = &figures["latency_ms"];
        assert!(
            latency["p50"].as_f64().unwrap() <= latency["p99"].as_f64().unwrap(),
            "{latency}"
        );
    }
    // 40 reads, 100 changes of state and 3.3 leaves per second, for 5 s. A slow machine merges
    // changes that wait.
    for (call, least, most) in [
        ("friends", 190, 200),
        ("state", 1, 500),
        ("disconnect", 1, 17),
    ] {
        let entries = load.call(call)["entries"].as_u64().unwrap();
        assert!((least..=most).contains(&entries), "{call}: {entries}");
    }
    for (name, is_met) in load.counts() {
        assert!(
            is_met || name.starts_with("heartbeats missed"),
            "{name}: {}",
            load.report
        );
    }
    let is_met = load.report["is_met"] == true;
    assert_eq!(
        load.status,
        Some(if is_met { 0 } else { 5 }),
        "{}",
        load.report
    );
    assert!(
        load.err.starts_with("connecting 200 players\n")
            && load.err.contains("\nremoving 200 players\n"),
        "{}",
        load.err
    );

    assert!(
        load.states(&server)
            .await
            .iter()
            .all(|state| state == "OFFLINE")
    );
    assert_eq!(server.get("/gateways").await.body["gateways"], json!([]));
    let after = server.get("/presence/alice").await.body;
    assert_eq!(
        (&after["state"], &after["version"]),
        (&before["state"], &before["version"])
    );
}

#[tokio::test]
async fn the_crash_of_a_gateway_is_measured() {
    let (_redis, _nats, server) = server(&[
        ("PRESENCE_SWEEP_INTERVAL", "200ms"),
        ("PRESENCE_GATEWAY_TTL", "1s"),
    ])
    .await;
    let load = load(
        &server,
        &[
            "load",
            "--players",
            "30",
            "--gateways",
            "3",
            "--duration",
            "2s",
            "--crash",
        ],
    )
    .await;
    // The connections' own leases last for 45 s, so only the gateway's lease can end them within
    // the load's limit of 30 s.
    let crash = load.bar("players OFFLINE after a gateway's crash");
    assert!(crash["value"].as_f64().unwrap() < 30_000.0, "{crash}");
    assert!(
        load.err.contains("\nletting a gateway crash\n"),
        "{}",
        load.err
    );
    assert_eq!(
        load.bar("players in another state at the end")["value"],
        0.0,
        "the others are connected"
    );
    assert_eq!(load.bar("players not removed")["value"], 0.0);
}

#[tokio::test]
async fn the_text_has_tables_and_the_verdict() {
    let (_redis, _nats, server) = server(&[]).await;
    let arguments = [
        "load",
        "--players",
        "20",
        "--duration",
        "1s",
        "--churn",
        "0",
        "--changes",
        "0",
        "--watch",
        "0",
    ];
    let finished = finish(&mut command(&server.url(""), &arguments));
    assert!(matches!(finished.status, Some(0 | 5)), "{finished:?}");
    for part in [
        "20 players on 2 gateways at http://127.0.0.1:",
        "\nConnecting (",
        "\nConnected (",
        "\nfriends ",
    ] {
        assert!(finished.out.contains(part), "{part}: {finished:?}");
    }
    let verdict = if finished.status == Some(0) {
        "\nEvery bar is met.\n"
    } else {
        " not met.\n"
    };
    assert!(finished.out.contains(verdict), "{finished:?}");
    assert!(
        !finished.out.contains("\nwatch ") && !finished.out.contains("\ndisconnect "),
        "{finished:?}"
    );
}

#[tokio::test]
async fn refused_calls_fail_the_bars_and_everything_is_removed() {
    let (_redis, _nats, server) = server(&[("PRESENCE_MAX_BATCH", "60")]).await;
    let arguments = [
        "load",
        "--players",
        "100",
        "--duration",
        "2s",
        "--friends",
        "61",
        "--watch",
        "50",
    ];
    let load = load(&server, &arguments).await;
    assert_eq!(
        (load.status, &load.report["is_met"]),
        (Some(5), &json!(false)),
        "{}",
        load.report
    );
    assert_eq!(load.bar("failed calls")["is_met"], false);
    assert!(load.call("friends")["failed"].as_u64().unwrap() > 0);
    let errors = load.report["measured"]["errors"].as_array().unwrap();
    let refused = errors
        .iter()
        .find(|error| error["call"] == "friends")
        .unwrap();
    assert_eq!(refused["error"], "invalid-request (400)");
    assert_eq!(load.bar("players not removed")["value"], 0.0);
}

#[tokio::test]
async fn without_live_events_the_latency_of_watching_is_not_judged() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_WATCH_POLL", "300ms"),
    ]);
    let arguments = [
        "load",
        "--players",
        "50",
        "--duration",
        "2s",
        "--changes",
        "3600",
        "--reads",
        "0",
    ];
    let load = load(&server, &arguments).await;
    let names: Vec<_> = load.report["bars"]
        .as_array()
        .unwrap()
        .iter()
        .map(|bar| bar["name"].clone())
        .collect();
    assert!(
        !names.contains(&json!("p99 of watch"))
            && names.contains(&json!("states not shown to watchers"))
    );
    assert_eq!(load.bar("states not shown to watchers")["value"], 0.0);
    let notes = load.report["notes"].to_string();
    assert!(notes.contains("not live all the time"), "{notes}");
}

#[tokio::test]
async fn an_interrupted_load_removes_its_players() {
    let (_redis, _nats, server) = server(&[]).await;
    for (name, ramp) in [("INT", "0s"), ("TERM", "0s"), ("HUP", "1m")] {
        let arguments = [
            "load",
            "--players",
            "100",
            "--duration",
            "1h",
            "--ramp",
            ramp,
        ];
        let process = spawn(&server, &arguments);
        let least = if ramp == "0s" { 100 } else { 1 };
        until_players(&server, |players| players >= least).await;
        signal(&process, name).await;
        let Output {
            status,
            stdout,
            stderr,
        } = timeout(TIMEOUT, process.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        let err = String::from_utf8(stderr).unwrap();
        assert_eq!((status.code(), stdout.len()), (Some(130), 0), "{err}");
        assert!(
            err.ends_with("presence: interrupted; all players of the load were removed\n"),
            "{err}"
        );
        until_players(&server, |players| players == 0).await;
    }
}

/// Waits for a number of players. The server shares a count for a second.
async fn until_players(server: &Server, is_awaited: impl Fn(u64) -> bool) {
    let awaited = async {
        while !is_awaited(
            server.get("/presence").await.body["players"]
                .as_u64()
                .unwrap(),
        ) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(TIMEOUT, awaited).await.unwrap();
}

#[tokio::test]
async fn a_store_that_loses_its_data_fails_a_bar_and_everything_is_removed() {
    let (mut redis, _nats, server) = server(&[]).await;
    let arguments = [
        "load",
        "--players",
        "20",
        "--duration",
        "6s",
        "--ramp",
        "0s",
        "--json",
    ];
    let process = spawn(&server, &arguments);
    until_players(&server, |players| players == 20).await;
    redis.restart().await;
    let load = await_report(process).await;
    assert_eq!(load.status, Some(5), "{}", load.report);
    assert_eq!(
        load.bar("connections lost")["is_met"],
        false,
        "{}",
        load.report
    );
    assert_eq!(
        load.bar("players not removed")["value"],
        0.0,
        "{}",
        load.report
    );
    assert!(
        load.states(&server)
            .await
            .iter()
            .all(|state| state == "OFFLINE")
    );
}

#[tokio::test]
async fn a_server_that_dies_halfway_fails_the_bars_and_the_load_still_ends() {
    let (_redis, _nats, mut server) = server(&[]).await;
    let arguments = [
        "load",
        "--players",
        "20",
        "--duration",
        "6s",
        "--ramp",
        "0s",
        "--watch",
        "0",
        "--json",
    ];
    let process = spawn(&server, &arguments);
    until_players(&server, |players| players == 20).await;
    server.kill();
    let load = await_report(process).await;
    assert_eq!(load.status, Some(5), "{}", load.report);
    assert_eq!(load.bar("failed calls")["is_met"], false, "{}", load.report);
    assert_eq!(
        load.bar("players not removed")["value"],
        20.0,
        "unknown is not removed: {}",
        load.report
    );
    assert!(
        load.report["notes"]
            .to_string()
            .contains("20 players of the load may remain"),
        "{}",
        load.report
    );
}

#[tokio::test]
async fn a_second_signal_ends_a_removal_that_takes_long() {
    let (mut redis, _nats, server) = server(&[]).await;
    let mut process = spawn(
        &server,
        &[
            "load",
            "--players",
            "20",
            "--duration",
            "1h",
            "--ramp",
            "0s",
        ],
    );
    let mut err = BufReader::new(process.stderr.take().unwrap()).lines();
    until_players(&server, |players| players == 20).await;
    redis.kill();
    for awaited in ["removing 20 players", "Players of the load may remain"] {
        signal(&process, "INT").await;
        let line = async { while !err.next_line().await.unwrap().unwrap().starts_with(awaited) {} };
        timeout(TIMEOUT, line).await.unwrap();
    }
    assert_eq!(
        timeout(TIMEOUT, process.wait())
            .await
            .unwrap()
            .unwrap()
            .code(),
        Some(130)
    );
}

async fn signal(process: &Child, name: &str) {
    let id = process.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await
            .unwrap()
            .success()
    );
}

#[test]
fn a_load_on_another_machine_needs_confirmation() {
    let refused = finish(&mut command("http://presence.invalid", &["load"]));
    assert_eq!(
        (refused.status, &*refused.out),
        (Some(2), ""),
        "{refused:?}"
    );
    assert!(
        refused.err.contains("is not on this machine") && refused.err.contains("--yes"),
        "{refused:?}"
    );
    let unknown = finish(&mut command("http://presence.invalid", &["load", "--yes"]));
    assert_eq!(unknown.status, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("cannot be reached"), "{unknown:?}");
}

#[tokio::test]
async fn a_load_without_a_token_that_may_write_is_refused_before_it_begins() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let tokens = [
        ("PRESENCE_AUTH_TOKENS", "writer"),
        ("PRESENCE_READ_TOKENS", "reader"),
    ];
    let server = Server::start(&[&[("PRESENCE_REDIS_URL", &*url)], &tokens[..]].concat());
    for token in ["", "reader"] {
        let refused = finish(command(&server.url(""), &["load"]).env("PRESENCE_TOKEN", token));
        assert_eq!(
            (refused.status, &*refused.out),
            (Some(3), ""),
            "{refused:?}"
        );
        assert!(!refused.err.contains("connecting"), "{refused:?}");
    }
}
