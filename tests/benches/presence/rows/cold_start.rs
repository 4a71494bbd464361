//! Cold start of functions, from exec to the first request for an event, compared with a minimal
//! function.

use std::{
    io::Read as _,
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use presence_tests::{binary, command};

use super::FUNCTIONS;
use crate::report::{Bar, Report};

/// Starts per function, of which the median is reported.
const STARTS: usize = 31;

pub(crate) fn measure(report: &mut Report) {
    let api = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = api.local_addr().expect("an address").to_string();
    let mut hello = Vec::new();
    let mut ours = FUNCTIONS.map(|name| (name, Vec::new()));
    for _ in 0..STARTS {
        // In turns, so that other load on the machine affects all of them alike.
        hello.push(start(&mut minimal(&address), &api));
        for (name, starts) in &mut ours {
            starts.push(start(
                &mut command(
                    name,
                    &address,
                    &[("PRESENCE_NATS_URL", "nats://127.0.0.1:9")],
                ),
                &api,
            ));
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

/// The command of the minimal function.
fn minimal(address: &str) -> Command {
    let mut command = Command::new(binary("examples/hello"));
    command.env_clear().env("AWS_LAMBDA_RUNTIME_API", address);
    for (name, value) in [
        ("FUNCTION_NAME", "hello"),
        ("FUNCTION_VERSION", "1"),
        ("FUNCTION_MEMORY_SIZE", "128"),
    ] {
        command.env(format!("AWS_LAMBDA_{name}"), value);
    }
    command
}

/// Starts a function, and returns the time until it requests its first event from the Runtime API.
fn start(command: &mut Command, api: &TcpListener) -> Duration {
    let begin = Instant::now();
    let mut process = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a function");
    let (mut request, _) = api.accept().expect("a connection");
    let mut head = [0; 64];
    let length = request.read(&mut head).expect("a request");
    let elapsed = begin.elapsed();
    assert!(
        head[..length].starts_with(b"GET /2018-06-01/runtime/invocation/next"),
        "the first request is for an event"
    );
    let _ = (process.kill(), process.wait());
    elapsed
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
