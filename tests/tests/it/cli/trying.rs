//! Single connections, ids from standard input, time limits, and live counts.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    time::timeout,
};

use super::{Finished, Fixture, command};

/// A time limit that is generous even for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_is_opened_renewed_and_closed_for_good() {
    let fixture = Fixture::new().await;
    let connected = fixture.json(&["connect", "alice", "c=1"]);
    assert_eq!(
        (&connected["state"], &connected["ttl_ms"]),
        (&json!("ONLINE"), &json!(45_000))
    );
    assert_eq!(
        fixture.json(&["heartbeat", "alice", "c=1"])["version"],
        connected["version"]
    );
    let second = fixture.run(&["connect", "alice", "c2"]);
    assert!(
        second.out.contains("expires in 45 s") && second.out.contains("heartbeat every 15 s"),
        "{second:?}"
    );
    assert_eq!(
        fixture.json(&["disconnect", "alice", "c=1", "--reason", "lost"])["connection_count"],
        1
    );
    assert_eq!(
        fixture.json(&["disconnect", "alice", "c2"])["state"],
        "OFFLINE"
    );
    for command in ["connect", "heartbeat"] {
        let closed = fixture.run(&[command, "alice", "c2"]);
        assert_eq!(closed.status, Some(3), "{closed:?}");
        assert!(closed.err.contains("connection-closed, 410"), "{closed:?}");
    }
    for arguments in [
        &["connect", "alice"][..],
        &["connect", "alice", "c 3"],
        &["disconnect", "a", "b", "--reason", "x"],
    ] {
        assert_eq!(fixture.run(arguments).status, Some(2), "{arguments:?}");
    }
}

/// Runs `presence` with a standard input.
fn run_with(fixture: &Fixture, arguments: &[&str], input: &str) -> Finished {
    let mut command = command(&fixture.server.url(""), arguments);
    let mut process = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Finished {
        status: output.status.code(),
        out,
        err,
    }
}

#[tokio::test]
async fn any_number_of_players_is_read_from_standard_input() {
    let fixture = Fixture::new().await;
    fixture.connect("p4999", "phone").await;
    let ids: String = (0..5_000).map(|number| format!("p{number}\n")).collect();
    let finished = run_with(&fixture, &["friends", "alice", "-", "--json"], &ids);
    assert_eq!(
        (finished.status, finished.out.lines().count()),
        (Some(0), 1),
        "{}",
        finished.err
    );
    let friends: Value = serde_json::from_str(&finished.out).unwrap();
    let presences = friends["presences"].as_array().unwrap();
    assert_eq!(
        (presences.len(), &presences[0]["player_id"]),
        (5_001, &json!("alice"))
    );
    assert_eq!(
        (&presences[5_000]["player_id"], &presences[5_000]["state"]),
        (&json!("p4999"), &json!("ONLINE"))
    );
    assert!(friends["as_of"].as_u64().unwrap() < u64::MAX);

    for (input, reason) in [("", "no player ids"), ("a/b", "a/b")] {
        for command in ["friends", "watch"] {
            let refused = run_with(&fixture, &[command, "-"], input);
            assert_eq!(refused.status, Some(2), "{refused:?}");
            assert!(refused.err.contains(reason), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_call_takes_no_longer_than_its_time_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut command =
        tokio::process::Command::from(command(&url, &["get", "alice", "--timeout", "50ms"]));
    // Three calls with the default time limit would take longer.
    let output = timeout(Duration::from_secs(15), command.kill_on_drop(true).output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("did not respond in time"), "{err}");
    for bad in ["0s", "5", "-1s"] {
        let refused = Command::new(presence_tests::binary("presence"))
            .args(["get", "a", "--timeout", bad])
            .output();
        assert_eq!(refused.unwrap().status.code(), Some(2), "{bad}");
    }
}

#[tokio::test]
async fn a_live_count_survives_an_outage_of_the_service() {
    let mut fixture = Fixture::new().await;
    let std_command = command(&fixture.server.url(""), &["online", "--live", "--json"]);
    let mut live = tokio::process::Command::from(std_command);
    let mut process = live
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut read_next = async || -> Value {
        let line = timeout(TIMEOUT, out.next_line())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(read_next().await["players"], 0);
    fixture.connect("alice", "phone").await;
    while read_next().await["players"] != 1 {}
    fixture.redis.kill();
    let line = timeout(TIMEOUT, err.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        line.starts_with("presence: ") && line.ends_with("; trying again"),
        "{line}"
    );
    fixture.redis.restart().await;
    while read_next().await["players"] != 0 {}
    drop(out);
    assert_eq!(
        timeout(TIMEOUT, process.wait())
            .await
            .unwrap()
            .unwrap()
            .code(),
        Some(0),
        "a closed pipe is not an error"
    );
}
