//! AWS Lambda: events in, handlers called, answers out.

use std::{process::ExitCode, sync::Arc, time::Instant};

use futures_util::FutureExt as _;
use lambda_http::{LambdaEvent, lambda_runtime, service_fn};
use metrics_cloudwatch_embedded::Collector;
use serde_json::{Value, value::RawValue};

use super::{
    App, program,
    request::{from_event, http_answer},
    websocket::{self, ToBody},
};
use crate::{
    PresenceService,
    http::{Answer, Request},
    telemetry::{
        self,
        metrics::{CALL_DURATION, CALLS},
    },
};

/// Why an invocation failed.
pub type Error = lambda_http::Error;

/// An event with its context: the request id, the deadline.
pub type Event = LambdaEvent<Value>;

/// The namespace of the metrics in CloudWatch.
const NAMESPACE: &str = "Presence";

/// Runs a handler of HTTP requests as an AWS Lambda function: the whole of a function's `main`.
pub fn run_function<H, F>(handler: H) -> ExitCode
where
    H: Fn(Arc<PresenceService>, Request) -> F,
    F: Future<Output = Answer> + Send + 'static,
{
    run(async |app, metrics| {
        let presence = Arc::new(app.presence());
        lambda_runtime::run(service_fn(|event: LambdaEvent<Box<RawValue>>| {
            let request = from_event(&event.payload, &event.context);
            // Boxed: what the compiler has to know of the whole, down to Redis and NATS, goes deeper than its limit.
            let answer = request.map(|(request, origin)| (handler(Arc::clone(&presence), request).boxed(), origin));
            async move {
                let (answer, origin) = answer?;
                let begin = Instant::now();
                let answer = http_answer(answer.await, &origin);
                count(&answer, begin);
                flush(metrics);
                Ok::<_, Error>(answer)
            }
        }))
        .await
    })
}

/// The same for a handler that takes events of API Gateway's WebSocket API as well: `to_body` makes the HTTP request's
/// body of them.
pub fn run_socket_function<H, F>(handler: H, to_body: ToBody) -> ExitCode
where
    H: Fn(Arc<PresenceService>, Request) -> F,
    F: Future<Output = Answer> + Send + 'static,
{
    run_function(|presence, request| {
        let request = websocket::into_http(request, to_body).map(|request| handler(presence, request));
        async move { request?.await }
    })
}

/// Runs a handler of any event, such as a schedule's, as an AWS Lambda function: the whole of a function's `main`.
pub fn run_event_function<H, F>(handler: H) -> ExitCode
where
    H: Fn(Arc<App>, Event) -> F,
    F: Future<Output = Result<Value, Error>> + Send + 'static,
{
    run(async |app, metrics| {
        let app = Arc::new(app);
        lambda_runtime::run(service_fn(|event| {
            let outcome = handler(Arc::clone(&app), event).boxed();
            async move {
                let outcome = outcome.await;
                flush(metrics);
                outcome
            }
        }))
        .await
    })
}

fn run(serve: impl AsyncFnOnce(App, &'static Collector) -> Result<(), Error>) -> ExitCode {
    let config = match program::start() {
        Ok((_, config)) => config,
        Err(status) => return status,
    };
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return program::fail(&"this program is an AWS Lambda function; `make run` runs it on your machine");
    }
    let serve = || {
        let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
        let metrics = metrics_cloudwatch_embedded::Builder::new()
            .cloudwatch_namespace(NAMESPACE)
            .with_dimension("function", function)
            .init()?;
        telemetry::metrics::describe();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { serve(App::new(config)?, metrics).await })
    };
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the function ends");
            ExitCode::FAILURE
        }
    }
}

/// Counts a call by its status, and takes its time. Which function it was is a dimension of all metrics.
fn count(answer: &Value, begin: Instant) {
    let status = answer["statusCode"].to_string();
    metrics::counter!(CALLS, "status" => status).increment(1);
    metrics::histogram!(CALL_DURATION).record(begin.elapsed().as_secs_f64());
}

/// Writes the metrics where CloudWatch finds them, before Lambda freezes the process.
fn flush(metrics: &Collector) {
    if let Err(error) = metrics.flush(std::io::stdout()) {
        tracing::warn!(%error, "metrics not written");
    }
}
