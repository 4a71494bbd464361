//! AWS Lambda: events in, handlers called, answers out.

use std::{process::ExitCode, sync::Arc};

use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};
use lambda_http::{Body, RequestExt as _, service_fn};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::program;
use crate::{
    PresenceService,
    http::{Answer, Request, Response},
    trace,
};

/// What cannot stand in a URI's path. API Gateway hands some paths over decoded. `%` is not among them: what is encoded
/// already stays as it is.
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`');

/// Runs a handler as an AWS Lambda function, for as long as AWS wants it: the whole of a function's `main`.
pub fn run_function<H, F>(handler: H) -> ExitCode
where
    H: Fn(Arc<PresenceService>, Request) -> F,
    F: Future<Output = Answer> + Send,
{
    let config = match program::start() {
        Ok(config) => config,
        Err(status) => return status,
    };
    if std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_none() {
        return program::fail(&"this program is an AWS Lambda function; `make run` runs it on your machine");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(lambda_http::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            let presence = Arc::new(PresenceService::new(&config)?);
            lambda_http::run(service_fn(|event: lambda_http::Request| {
                let answer = handler(Arc::clone(&presence), into_request(event));
                async move { Ok::<_, std::convert::Infallible>(into_response(answer.await)) }
            }))
            .await
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => program::fail(&error),
    }
}

fn into_request(event: lambda_http::Request) -> Request {
    let path = utf8_percent_encode(event.raw_http_path(), NOT_IN_A_PATH).to_string();
    let xray = event.lambda_context_ref().and_then(|context| context.xray_trace_id.as_deref());
    let traceparent = xray.and_then(trace::traceparent_of_xray);
    let (mut parts, body) = event.into_parts();
    parts.uri = with_path(parts.uri, &path);
    if let Some(traceparent) = traceparent {
        parts.headers.entry("traceparent").or_insert(traceparent);
    }
    let body = match body {
        Body::Text(text) => Bytes::from(text),
        Body::Binary(bytes) => Bytes::from(bytes),
        _ => Bytes::new(),
    };
    Request::from_parts(parts, body)
}

/// The URI with the path as the caller sent it: `lambda_http` resolves dot segments, which would name another player.
fn with_path(uri: Uri, path: &str) -> Uri {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(path_and_query) = format!("{path}{query}").parse::<PathAndQuery>() else { return uri };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).unwrap_or(uri)
}

fn into_response(answer: Answer) -> http::Response<Body> {
    let response = answer.unwrap_or_else(Response::from);
    response.map(|body| Body::Text(String::from_utf8_lossy(&body).into_owned()))
}
