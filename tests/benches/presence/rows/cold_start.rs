//! A function's start, from exec to its first question for work, against the least that a function could be.

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use presence_tests::{binary, command};

use super::FUNCTIONS;
use crate::report::{Bar, Report};

/// Starts of each; their median counts.
const STARTS: usize = 31;

pub(crate) fn measure(report: &mut Report) {
    let api = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = api.local_addr().expect("an address").to_string();
    let mut hello = Vec::new();
    let mut ours = FUNCTIONS.map(|name| (name, Vec::new()));
    for _ in 0..STARTS {
        // In turn, so that whatever else the machine does falls on all alike.
        hello.push(start(&mut least(&address), &api));
        for (name, starts) in &mut ours {
            starts.push(start(&mut command(name, &address, &[("PRESENCE_NATS_URL", "nats://127.0.0.1:9")]), &api));
        }
    }
    let hello = median(hello);
    let ours = ours.map(|(name, starts)| (median(starts), name));
    let (slowest, name) = ours.into_iter().max().expect("functions");
    let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let ratio = slowest.as_secs_f64() / hello.as_secs_f64();
    let figure = format!("{} {name}, the slowest", millis(slowest));
    report.add(
        "cold start, exec to first /next",
        figure,
        format!("{} hello world", millis(hello)),
        ratio,
        Bar::AtMost(1.5),
    );
}

/// A function that says hello.
fn least(address: &str) -> Command {
    let mut command = Command::new(binary("examples/hello"));
    command.env_clear().env("AWS_LAMBDA_RUNTIME_API", address);
    for (name, value) in [("FUNCTION_NAME", "hello"), ("FUNCTION_VERSION", "1"), ("FUNCTION_MEMORY_SIZE", "128")] {
        command.env(format!("AWS_LAMBDA_{name}"), value);
    }
    command
}

/// How long a function takes until it asks the Runtime API for its first event.
fn start(command: &mut Command, api: &TcpListener) -> Duration {
    let begin = Instant::now();
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a function");
    let (mut question, _) = api.accept().expect("a connection");
    let mut head = [0; 64];
    let length = question.read(&mut head).expect("a question");
    let elapsed = begin.elapsed();
    assert!(head[..length].starts_with(b"GET /2018-06-01/runtime/invocation/next"), "the first question is for work");
    let _ = (process.kill(), process.wait());
    elapsed
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
