//! AWS Lambda runtime: events in, handlers called, responses out.

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use http::StatusCode;
use lambda_http::{
    LambdaEvent,
    lambda_runtime::{
        Runtime,
        layers::TracingLayer,
        tower::{layer::layer_fn, util::Then},
    },
    service_fn,
};
use metrics_cloudwatch_embedded::Collector;
use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};
use tracing::Instrument as _;

use super::{
    App, program,
    request::{from_event, lambda_response},
    websocket::{self, BodyMapper},
};
use crate::{
    PresenceService,
    http::{HandlerResult, Request, Response},
    telemetry::{
        self, RequestSpan,
        metrics::{CALL_DURATION, CALLS},
    },
};

/// Error of an invocation.
pub type Error = lambda_http::Error;

/// An event with its context: the request id, the deadline.
pub type Event = LambdaEvent<Value>;

/// The namespace of the metrics in CloudWatch.
const NAMESPACE: &str = "Presence";

/// Time limit of sending an invocation's spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a handler of HTTP requests as an AWS Lambda function. This is the whole of a function's
/// `main`.
pub fn run_function<H, F>(handler: H) -> ExitCode
where
    H: Fn(Arc<PresenceService>, Request) -> F,
    F: Future<Output = HandlerResult> + Send + 'static,
{
    run(async |app, metrics| {
        let presence = Arc::new(app.presence());
        serve(|event: LambdaEvent<Box<RawValue>>| {
            let function = &event.context.env_config.function_name;
            let request =
                from_event(&event.payload, &event.context).map(|(mut request, origin)| {
                    let span = RequestSpan::start_for_function(function, &mut request);
                    (request, origin, span)
                });
            // Boxed: the nested future type, down to Redis and NATS, exceeds the compiler's
            // recursion limit.
            let result = request.map(|(request, origin, span)| {
                (
                    handler(Arc::clone(&presence), request).boxed(),
                    origin,
                    span,
                )
            });
            async move {
                let (result, origin, span) = result?;
                let begin = Instant::now();
                let response = result
                    .instrument(span.log_span())
                    .await
                    .unwrap_or_else(Response::from);
                count(response.status(), begin);
                span.finish(response.status());
                flush(metrics);
                Ok(lambda_response(Ok(response), &origin))
            }
        })
        .await
    })
}

/// Runs a handler of HTTP requests and of events of API Gateway's WebSocket API as an AWS Lambda
/// function. `to_body` builds the HTTP request's body from a WebSocket event, and the response
/// repeats the `requestId` of the message.
pub fn run_socket_function<H, F>(handler: H, to_body: BodyMapper) -> ExitCode
where
    H: Fn(Arc<PresenceService>, Request) -> F,
    F: Future<Output = HandlerResult> + Send + 'static,
{
    run_function(|presence, request| {
        let id = websocket::request_id(&request);
        let result =
            websocket::into_http(request, to_body).map(|request| handler(presence, request));
        async move {
            let result = match result {
                Ok(result) => result.await,
                Err(problem) => Err(problem),
            };
            let Some(id) = id else { return result };
            Ok(websocket::with_request_id(
                result.unwrap_or_else(Response::from),
                &id,
            ))
        }
    })
}

/// Runs a handler of any event, such as a schedule's, as an AWS Lambda function. This is the whole
/// of a function's `main`.
pub fn run_event_function<H, F>(handler: H) -> ExitCode
where
    H: Fn(Arc<App>, Event) -> F,
    F: Future<Output = Result<Value, Error>> + Send + 'static,
{
    run(async |app, metrics| {
        let app = Arc::new(app);
        serve(|event| {
            let outcome = handler(Arc::clone(&app), event).boxed();
            async move {
                let outcome = outcome.await;
                flush(metrics);
                outcome
            }
        })
        .await
    })
}

/// Calls a handler for each invocation, and sends the invocation's spans after its response.
async fn serve<A, F>(handler: impl FnMut(LambdaEvent<A>) -> F) -> Result<(), Error>
where
    A: DeserializeOwned,
    F: Future<Output = Result<Value, Error>>,
{
    Runtime::new(service_fn(handler))
        .layer(TracingLayer::new())
        .layer(layer_fn(|service| Then::new(service, after_response)))
        .run()
        .await
}

fn run(start: impl AsyncFnOnce(App, &'static Collector) -> Result<(), Error>) -> ExitCode {
    let config = match program::environment().and_then(|environment| program::start(&environment)) {
        Ok(config) => config,
        Err(status) => return status,
    };
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none_or(|address| address.is_empty()) {
        return program::fail(
            &"this program is an AWS Lambda function; `make run` runs it on your machine",
        );
    }
    let run = || {
        let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
        let metrics = metrics_cloudwatch_embedded::Builder::new()
            .cloudwatch_namespace(NAMESPACE)
            .with_dimension("function", function)
            .init()?;
        telemetry::metrics::describe();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            if let Some(traces) = &config.traces {
                telemetry::traces::start(traces)?;
            }
            start(App::new(config)?, metrics).await
        })
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the function ends");
            ExitCode::FAILURE
        }
    }
}

/// Counts a call by its status, and records its duration. The function's name is a dimension of all
/// metrics.
fn count(status: StatusCode, begin: Instant) {
    metrics::counter!(CALLS, "status" => status.as_u16().to_string()).increment(1);
    metrics::histogram!(CALL_DURATION).record(begin.elapsed().as_secs_f64());
}

/// Sends the spans of an invocation. The caller has its response by now; Lambda freezes the process
/// when this returns.
async fn after_response(sent: Result<(), Error>) -> Result<(), Error> {
    telemetry::traces::flush(FLUSH_TIMEOUT).await;
    sent
}

/// Writes the metrics to standard output, from which CloudWatch reads them, before Lambda freezes
/// the process.
fn flush(metrics: &Collector) {
    if let Err(error) = metrics.flush(std::io::stdout()) {
        tracing::warn!(%error, "metrics not written");
    }
}
