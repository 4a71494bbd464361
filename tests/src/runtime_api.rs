//! A small stand-in for the Lambda Runtime API: hands events to a function's real binary and takes
//! its responses. <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use crate::{
    process::{Process, binary},
    serve,
};

/// What became of an invocation: the function's response, or the error that it reported.
pub type Outcome = Result<Value, Value>;

/// The Runtime API for one function.
#[derive(Debug)]
pub struct RuntimeApi {
    address: String,
    invocations: mpsc::Sender<Invocation>,
}

/// A function that runs.
#[derive(Debug)]
pub struct Function {
    process: Mutex<Process>,
    api: RuntimeApi,
}

#[derive(Debug)]
struct Invocation {
    event: Value,
    invocation_timeout: Duration,
    outcome: oneshot::Sender<Outcome>,
}

#[derive(Clone)]
struct Shared {
    waiting: Arc<tokio::sync::Mutex<mpsc::Receiver<Invocation>>>,
    running: Arc<Mutex<HashMap<String, oneshot::Sender<Outcome>>>>,
    count: Arc<AtomicU64>,
}

impl RuntimeApi {
    /// Serves the API on a free port.
    pub async fn start() -> Self {
        let (invocations, waiting) = mpsc::channel(1);
        let shared = Shared {
            waiting: Arc::new(tokio::sync::Mutex::new(waiting)),
            running: Arc::default(),
            count: Arc::default(),
        };
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route(
                "/2018-06-01/runtime/invocation/{id}/response",
                post(response),
            )
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(shared);
        let url = serve(routes).await;
        Self {
            address: url.trim_start_matches("http://").to_owned(),
            invocations,
        }
    }

    /// Its address, for [`command`].
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Hands an event to the function, with `invocation_timeout` until its deadline, and waits for
    /// what it makes of it.
    ///
    /// # Panics
    /// If the API has ended.
    pub async fn invoke(&self, event: Value, invocation_timeout: Duration) -> Outcome {
        let (outcome, ended) = oneshot::channel();
        self.invocations
            .send(Invocation {
                event,
                invocation_timeout,
                outcome,
            })
            .await
            .expect("the API runs");
        ended.await.expect("the API runs")
    }
}

impl Function {
    /// Starts a function's binary with `variables` in its environment.
    pub async fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let api = RuntimeApi::start().await;
        let process = Mutex::new(Process::start(&mut command(name, &api.address, variables)));
        Self { process, api }
    }

    /// Invokes the function.
    ///
    /// # Errors
    /// The error that the function reported.
    pub async fn invoke(&self, event: Value) -> Outcome {
        self.invoke_within(event, Duration::from_secs(10)).await
    }

    /// Invokes the function, with `invocation_timeout` until its deadline.
    ///
    /// # Errors
    /// The error that the function reported.
    ///
    /// # Panics
    /// If the function's process has ended or ends before it responds.
    pub async fn invoke_within(&self, event: Value, invocation_timeout: Duration) -> Outcome {
        tokio::select! {
            outcome = self.api.invoke(event, invocation_timeout) => outcome,
            () = self.ended() => panic!("the function ended without a response; PRESENCE_TEST_OUTPUT=1 shows its log"),
        }
    }

    /// Waits for the end of the function's process.
    async fn ended(&self) {
        while !self.process.lock().expect("no poison").has_ended() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The function's process id.
    pub fn id(&self) -> u32 {
        self.process.lock().expect("no poison").id()
    }

    /// Stops the function for a while, as Lambda does between invocations.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a stopped function continue.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        self.process.lock().expect("no poison").signal(name);
    }

    /// Ends the function, as kill -9 does.
    pub fn kill(&mut self) {
        self.process.get_mut().expect("no poison").kill();
    }
}

/// The command that starts a function as AWS Lambda would, with an otherwise empty environment.
pub fn command(name: &str, runtime_api: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary(name));
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", runtime_api)
        .env("AWS_LAMBDA_FUNCTION_NAME", name)
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .envs(variables.iter().copied());
    command
}

async fn next(State(shared): State<Shared>) -> Response {
    let Some(Invocation {
        event,
        invocation_timeout,
        outcome,
    }) = shared.waiting.lock().await.recv().await
    else {
        return StatusCode::GONE.into_response();
    };
    let id = format!(
        "00000000-0000-0000-0000-{:012}",
        shared.count.fetch_add(1, Ordering::Relaxed)
    );
    shared
        .running
        .lock()
        .expect("no poison")
        .insert(id.clone(), outcome);
    let deadline_at = SystemTime::now() + invocation_timeout;
    let deadline = deadline_at
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis()
        .to_string();
    let headers = [
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:123456789012:function:presence".into(),
        ),
    ];
    (headers, Json(event)).into_response()
}

async fn response(State(shared): State<Shared>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    finish(&shared, &id, Ok(json(&body)))
}

async fn error(State(shared): State<Shared>, Path(id): Path<String>, error: Bytes) -> StatusCode {
    finish(&shared, &id, Err(json(&error)))
}

/// Functions do not always say that their response is JSON.
fn json(body: &Bytes) -> Value {
    serde_json::from_slice(body).expect("a function responds with JSON")
}

fn finish(shared: &Shared, id: &str, outcome: Outcome) -> StatusCode {
    let sender = shared.running.lock().expect("no poison").remove(id);
    match sender.map(|sender| sender.send(outcome)) {
        Some(Ok(())) => StatusCode::ACCEPTED,
        _ => StatusCode::NOT_FOUND,
    }
}
