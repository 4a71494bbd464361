//! Number of instructions of the code that every call runs, as valgrind counts them, compared with
//! the least work on the same JSON: finding its end. Neither figure depends on the load of the
//! machine. Without optimization, as tests are built, the ratios were 2.2, 2.3 and
//! 2.7 when this was written: there is room for another compiler, and for no second pass over the
//! text.
//!
//! In the same way, the instructions that Redis takes for heartbeats of players with an activity,
//! compared with those without one.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use presence::{
    model::{ActivityChange, State, StateChange},
    telemetry::TraceContext,
};
use presence_tests::{app_with, binary, connection, free_port, player};
use serde_json::json;
use tempfile::TempDir;

/// The number of runs of a part. What comes before and after them is counted twice, and subtracted.
const TIMES: u64 = 5;

#[test]
fn reading_a_batch_takes_few_times_what_finding_its_end_does() {
    assert_at_most(2.4, "batch", "batch-syntax");
}

#[test]
fn reading_one_connection_takes_few_times_what_finding_its_end_does() {
    assert_at_most(2.5, "one", "one-syntax");
}

#[test]
fn responding_with_friends_takes_few_times_what_finding_the_end_of_the_response_does() {
    assert_at_most(2.9, "friends", "friends-syntax");
}

fn assert_at_most(most: f64, part: &str, reference: &str) {
    let ratio = instructions(part) / instructions(reference);
    assert!(
        ratio <= most,
        "{part} takes {ratio:.2} times the instructions of {reference}, not {most} at most"
    );
}

/// The instructions that a part of `tests/examples/hot.rs` takes each time.
fn instructions(part: &str) -> f64 {
    (count(part, 2 * TIMES) - count(part, TIMES)) as f64 / TIMES as f64
}

fn count(part: &str, times: u64) -> u64 {
    let output = valgrind()
        .arg(binary("examples/hot"))
        .args([part, &times.to_string()])
        .output()
        .expect("valgrind: scripts/setup valgrind");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    collected(&text)
}

fn valgrind() -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind
}

/// The instructions that valgrind's report counts.
fn collected(report: &str) -> u64 {
    let collected = report
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.trim().parse().ok())
        .expect("a count")
}

/// In Redis: each string in Lua costs instructions per byte, so the longest activity costs more
/// than the usual one of some hundred bytes.
#[tokio::test]
async fn a_heartbeat_with_an_activity_takes_few_more_instructions_than_one_without() {
    for devices in [&["phone"][..], &["phone", "console"]] {
        let without = heartbeat_instructions(devices, &ActivityChange::Keep).await;
        for length in [256, 1_024] {
            let with =
                heartbeat_instructions(devices, &ActivityChange::Set(activity(length))).await;
            let ratio = with / without;
            println!(
                "{devices:?}, {length} bytes: {ratio:.2} times the {without:.0} instructions without an activity"
            );
            assert!(
                ratio <= 1.3,
                "{devices:?}, {length} bytes: {ratio:.2} times the {without:.0} instructions without"
            );
        }
    }
}

/// An activity of this length as compact JSON.
fn activity(length: usize) -> presence::model::Activity {
    let frame =
        json!({"custom": {"map": ""}, "details": "Ranked, 2/4", "joinable": true}).to_string();
    let text = "x".repeat(length - frame.len());
    serde_json::from_str(&frame.replace(r#""map":"""#, &format!(r#""map":"{text}""#)))
        .expect("an activity")
}

/// The instructions that Redis takes for each heartbeat of a player with these devices and this
/// activity.
async fn heartbeat_instructions(devices: &[&str], activity: &ActivityChange) -> f64 {
    const HEARTBEATS: usize = 500;
    let few = redis_instructions(devices, activity, HEARTBEATS).await;
    let many = redis_instructions(devices, activity, 2 * HEARTBEATS).await;
    (many - few) as f64 / HEARTBEATS as f64
}

async fn redis_instructions(devices: &[&str], activity: &ActivityChange, heartbeats: usize) -> u64 {
    let redis = CountedRedis::start().await;
    let settings = [
        ("PRESENCE_REDIS_URL", &*redis.url),
        ("PRESENCE_STORE_TIMEOUT", "60s"),
        ("PRESENCE_TTL", "10m"),
    ];
    let app = app_with(&settings);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let connections: Vec<_> = devices
        .iter()
        .map(|device| connection("alice", device))
        .collect();
    for connection in &connections {
        presence.connect(connection, &trace).await.unwrap();
    }
    let change = StateChange {
        state: Some(State::InMatch),
        activity: activity.clone(),
    };
    presence
        .set_state(&player("alice"), change, &trace)
        .await
        .unwrap();
    for connection in connections.iter().cycle().take(heartbeats) {
        // Leases that were renewed in the same millisecond are written without their remaining time.
        tokio::time::sleep(Duration::from_millis(2)).await;
        presence.heartbeat(connection, &trace).await.unwrap();
    }
    redis.stop().await
}

/// A Redis whose instructions are counted.
struct CountedRedis {
    process: Child,
    url: String,
    directory: TempDir,
}

impl CountedRedis {
    async fn start() -> Self {
        let port = free_port();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = valgrind();
        command.arg(format!(
            "--log-file={}",
            directory.path().join("log").display()
        ));
        command.args([
            "redis-server",
            "--save",
            "",
            "--hz",
            "1",
            "--port",
            &port.to_string(),
            "--dir",
        ]);
        let process = command
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("valgrind: scripts/setup valgrind");
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self {
            process,
            url: format!("redis://127.0.0.1:{port}"),
            directory,
        }
    }

    /// Ends it, and returns the instructions that it took.
    async fn stop(mut self) -> u64 {
        let client = redis::Client::open(&*self.url).expect("a URL");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis responds");
        // Redis does not reply to this command.
        _ = redis::cmd("SHUTDOWN")
            .arg("NOSAVE")
            .exec_async(&mut connection)
            .await;
        _ = self.process.wait();
        collected(&std::fs::read_to_string(self.directory.path().join("log")).expect("a report"))
    }
}

impl Drop for CountedRedis {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
