//! Commands for trying things: single connections, ids from standard input, time limits, counts that go on.

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

use super::{Said, World, command};

/// Everything that is awaited here has happened by then, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_is_opened_renewed_and_closed_for_good() {
    let world = World::new().await;
    let connected = world.json(&["connect", "alice", "c=1"]);
    assert_eq!((&connected["state"], &connected["ttl_ms"]), (&json!("ONLINE"), &json!(45_000)));
    assert_eq!(world.json(&["heartbeat", "alice", "c=1"])["version"], connected["version"]);
    let second = world.say(&["connect", "alice", "c2"]);
    assert!(second.out.contains("expires in 45 s") && second.out.contains("heartbeat every 15 s"), "{second:?}");
    assert_eq!(world.json(&["disconnect", "alice", "c=1", "--reason", "lost"])["connection_count"], 1);
    assert_eq!(world.json(&["disconnect", "alice", "c2"])["state"], "OFFLINE");
    for command in ["connect", "heartbeat"] {
        let closed = world.say(&[command, "alice", "c2"]);
        assert_eq!(closed.status, Some(3), "{closed:?}");
        assert!(closed.err.contains("connection-closed, 410"), "{closed:?}");
    }
    for arguments in
        [&["connect", "alice"][..], &["connect", "alice", "c 3"], &["disconnect", "a", "b", "--reason", "x"]]
    {
        assert_eq!(world.say(arguments).status, Some(2), "{arguments:?}");
    }
}

/// Runs `presence` with a standard input.
fn say_with(world: &World, arguments: &[&str], input: &str) -> Said {
    let mut command = command(&world.server.url(""), arguments);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Said { status: output.status.code(), out, err }
}

#[tokio::test]
async fn players_are_read_from_standard_input_however_many() {
    let world = World::new().await;
    world.connect("p4999", "phone").await;
    let ids: String = (0..5_000).map(|number| format!("p{number}\n")).collect();
    let said = say_with(&world, &["friends", "alice", "-", "--json"], &ids);
    assert_eq!((said.status, said.out.lines().count()), (Some(0), 1), "{}", said.err);
    let friends: Value = serde_json::from_str(&said.out).unwrap();
    let presences = friends["presences"].as_array().unwrap();
    assert_eq!((presences.len(), &presences[0]["player_id"]), (5_001, &json!("alice")));
    assert_eq!((&presences[5_000]["player_id"], &presences[5_000]["state"]), (&json!("p4999"), &json!("ONLINE")));
    assert!(friends["as_of"].as_u64().unwrap() < u64::MAX);

    for (input, reason) in [("", "no player ids"), ("a/b", "a/b")] {
        for command in ["friends", "watch"] {
            let refused = say_with(&world, &[command, "-"], input);
            assert_eq!(refused.status, Some(2), "{refused:?}");
            assert!(refused.err.contains(reason), "{refused:?}");
        }
    }
}

#[tokio::test]
async fn a_call_takes_no_longer_than_its_time_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut command = tokio::process::Command::from(command(&url, &["get", "alice", "--timeout", "50ms"]));
    // Three calls of the default length take longer.
    let output = timeout(Duration::from_secs(15), command.kill_on_drop(true).output()).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("did not answer in time"), "{err}");
    for bad in ["0s", "5", "-1s"] {
        let refused = Command::new(presence_tests::binary("presence")).args(["get", "a", "--timeout", bad]).output();
        assert_eq!(refused.unwrap().status.code(), Some(2), "{bad}");
    }
}

#[tokio::test]
async fn a_live_count_goes_on_also_while_the_service_is_down() {
    let mut world = World::new().await;
    let live = command(&world.server.url(""), &["online", "--live", "--json"]);
    let mut live = tokio::process::Command::from(live);
    let mut process = live.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut err = BufReader::new(process.stderr.take().unwrap()).lines();
    let mut next = async || -> Value {
        let line = timeout(LIMIT, out.next_line()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    };
    assert_eq!(next().await["players"], 0);
    world.connect("alice", "phone").await;
    while next().await["players"] != 1 {}
    world.redis.kill();
    let line = timeout(LIMIT, err.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.starts_with("presence: ") && line.ends_with("; trying again"), "{line}");
    world.redis.restart().await;
    while next().await["players"] != 0 {}
    drop(out);
    assert_eq!(timeout(LIMIT, process.wait()).await.unwrap().unwrap().code(), Some(0), "its reader has enough");
}
