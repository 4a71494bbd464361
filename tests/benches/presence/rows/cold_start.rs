//! Cold start of functions, from exec to the first request for an event, compared with a minimal
//! function.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use presence_tests::{binary, command};

use super::{FUNCTIONS, median};
use crate::report::{Bar, Report};

/// Starts per function, of which the median is reported.
const STARTS: usize = 31;

pub(crate) fn measure(report: &mut Report) {
    let api = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = api.local_addr().expect("an address").to_string();
    let parameter_store = serve_parameters();
    let variables = [("PRESENCE_NATS_URL", "nats://127.0.0.1:9")];
    let with_secrets = [&variables[..], &secrets(&parameter_store)].concat();
    let mut hello_starts = Vec::new();
    let mut secret_starts = Vec::new();
    let mut function_starts = FUNCTIONS.map(|name| (name, Vec::new()));
    for _ in 0..STARTS {
        // In turns, so that other load on the machine affects all of them alike.
        hello_starts.push(start(&mut minimal(&address), &api));
        for (name, starts) in &mut function_starts {
            starts.push(start(&mut command(name, &address, &variables), &api));
        }
        secret_starts.push(start(
            &mut command("connect", &address, &with_secrets),
            &api,
        ));
    }
    let hello = median(hello_starts);
    let (slowest, name) = function_starts
        .map(|(name, starts)| (median(starts), name))
        .into_iter()
        .max()
        .expect("functions");
    let format_millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let ratio = slowest.as_secs_f64() / hello.as_secs_f64();
    let figure = format!("{} {name}, the slowest", format_millis(slowest));
    report.add(
        "cold start, exec to first /next",
        figure,
        format!("{} hello world", format_millis(hello)),
        ratio,
        Bar::AtMost(1.5),
    );
    report.note(
        "the same, secrets read from Parameter Store",
        &format!("{} connect", format_millis(median(secret_starts))),
    );
}

/// The variables of a function whose secrets are in Parameter Store, at this endpoint.
fn secrets(endpoint: &str) -> [(&'static str, &str); 5] {
    [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_SSM", endpoint),
        ("PRESENCE_SECRETS", "ssm:/presence"),
    ]
}

/// Serves one parameter as Parameter Store does, but at once. Returns the endpoint.
fn serve_parameters() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for connection in listener.incoming() {
            respond(connection.expect("a connection"));
        }
    });
    endpoint
}

/// Responds to the request for parameters, which fits into a read.
fn respond(mut connection: TcpStream) {
    let body = r#"{"Parameters":[{"Name":"/presence/PRESENCE_TTL","Value":"45s"}]}"#;
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut request = [0; 8_192];
    let length = connection.read(&mut request).expect("a request");
    assert!(length > 0, "the request is for parameters");
    connection
        .write_all(response.as_bytes())
        .expect("the function reads the response");
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
