//! API Gateway's, the load balancer's and function URLs' requests, as plain HTTP.

use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};
use lambda_http::{Body, RequestExt as _};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    http::{Answer, Request, Response},
    trace,
};

/// What cannot stand in a URI's path. API Gateway hands some paths over decoded. `%` is not among them: what is encoded
/// already stays as it is.
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`');

pub(super) fn into_request(event: lambda_http::Request) -> Request {
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

pub(super) fn into_response(answer: Answer) -> http::Response<Body> {
    let response = answer.unwrap_or_else(Response::from);
    response.map(|body| Body::Text(String::from_utf8_lossy(&body).into_owned()))
}

/// An answer as API Gateway, load balancers and function URLs want it.
pub fn http_answer(answer: Answer) -> Value {
    let response = answer.unwrap_or_else(Response::from);
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))));
    json!({
        "statusCode": response.status().as_u16(),
        "headers": headers.collect::<serde_json::Map<_, _>>(),
        "body": String::from_utf8_lossy(response.body()),
        "isBase64Encoded": false,
    })
}
