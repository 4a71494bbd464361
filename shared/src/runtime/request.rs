//! Conversion between the events of API Gateway, load balancers and function URLs and plain HTTP.

use bytes::Bytes;
use http::{Uri, header, uri::PathAndQuery};
use lambda_http::{
    Body, Context, RequestExt as _,
    request::{LambdaRequest, RequestOrigin},
};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value, json, value::RawValue};

use super::event;
use crate::{
    http::{HandlerResult, Request, Response},
    telemetry,
};

/// The characters that are not allowed in a URI's query. `%` is not among them, so that encoded
/// parts stay as they are.
const NOT_IN_A_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// The characters that are not allowed in a URI's path. API Gateway passes some paths decoded.
const NOT_IN_A_PATH: &AsciiSet = &NOT_IN_A_QUERY.add(b'?').add(b'`');

/// Converts an event to the HTTP request that it carries.
///
/// # Errors
/// If the event is not a request of a known kind.
pub(super) fn from_event(
    event: &RawValue,
    context: &Context,
) -> Result<(Request, RequestOrigin), serde_json::Error> {
    let mut parsed = event::read(event)?;
    let origin = parsed.request_origin();
    strip_unparsable_host(&mut parsed);
    Ok((into_request(parsed.into(), context), origin))
}

/// Removes the host, which is not needed, and makes path and query valid.
///
/// `lambda_http` builds a URL from host, path and query, and panics if that is invalid: a load
/// balancer passes on the port 99999 of a caller's `Host`, for instance.
fn strip_unparsable_host(event: &mut LambdaRequest) {
    let (headers, path) = match event {
        LambdaRequest::ApiGatewayV2(event) => {
            event.request_context.domain_name = None;
            if let Some(query) = &mut event.raw_query_string {
                *query = utf8_percent_encode(query, NOT_IN_A_QUERY).to_string();
            }
            (&mut event.headers, &mut event.raw_path)
        }
        LambdaRequest::ApiGatewayV1(event) => {
            event.request_context.domain_name = None;
            (&mut event.headers, &mut event.path)
        }
        LambdaRequest::WebSocket(event) => {
            event.request_context.domain_name = None;
            (&mut event.headers, &mut event.path)
        }
        LambdaRequest::Alb(event) => (&mut event.headers, &mut event.path),
        _ => return,
    };
    headers.remove(header::HOST);
    if let Some(path) = path.as_mut().filter(|path| !path.starts_with('/')) {
        path.insert(0, '/');
    }
}

fn into_request(event: lambda_http::Request, context: &Context) -> Request {
    let path = utf8_percent_encode(event.raw_http_path(), NOT_IN_A_PATH).to_string();
    let traceparent = context
        .xray_trace_id
        .as_deref()
        .and_then(telemetry::traceparent_of_xray);
    let (mut parts, body) = event.into_parts();
    parts.uri = with_path(parts.uri, &path);
    // The caller's own trace comes first, then the one of X-Ray.
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

/// Restores the path as the caller sent it: `lambda_http` resolves dot segments, which would name
/// another player.
fn with_path(uri: Uri, path: &str) -> Uri {
    let query = uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let Ok(path_and_query) = format!("{path}{query}").parse::<PathAndQuery>() else {
        return uri;
    };
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).unwrap_or(uri)
}

/// The method and the origin of a request. `None` if the event is not a request.
pub fn http_method(event: &Value) -> Option<(&str, RequestOrigin)> {
    if let Some(method) = event.pointer("/requestContext/http/method") {
        return Some((method.as_str()?, RequestOrigin::ApiGatewayV2));
    }
    let is_load_balancer = event.pointer("/requestContext/elb").is_some();
    let origin = if is_load_balancer {
        RequestOrigin::Alb
    } else {
        RequestOrigin::ApiGatewayV1
    };
    Some((event.get("httpMethod")?.as_str()?, origin))
}

/// Converts the result of a handler to the response format of the request's origin.
pub fn lambda_response(result: HandlerResult, origin: &RequestOrigin) -> Value {
    let response = result.unwrap_or_else(Response::from);
    let to_text =
        |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let single = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(to_text(value))));
    let multiple = response
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!([to_text(value)])));
    let mut event = json!({
        "statusCode": response.status().as_u16(),
        "headers": single.collect::<Map<_, _>>(),
        "body": String::from_utf8_lossy(response.body()),
        "isBase64Encoded": false,
    });
    match origin {
        RequestOrigin::ApiGatewayV2 => event["cookies"] = json!([]),
        // A load balancer reads `headers` or `multiValueHeaders`, depending on its configuration.
        RequestOrigin::Alb => {
            event["multiValueHeaders"] = json!(multiple.collect::<Map<_, _>>());
            event["statusDescription"] = json!(response.status().to_string());
        }
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The path and the query of an event's request.
    fn target(event: &str, change: impl Fn(&mut Value)) -> String {
        let mut changed: Value = serde_json::from_str(event).unwrap();
        change(&mut changed);
        let raw = RawValue::from_string(changed.to_string()).unwrap();
        let (request, _) = from_event(&raw, &Context::default()).unwrap();
        request.uri().path_and_query().unwrap().to_string()
    }

    #[test]
    fn an_invalid_host_does_not_cause_a_panic() {
        for event in [
            include_str!("../../../tests/fixtures/http-api.json"),
            include_str!("../../../tests/fixtures/rest-api.json"),
            include_str!("../../../tests/fixtures/load-balancer.json"),
            include_str!("../../../tests/fixtures/function-url.json"),
            include_str!("../../../tests/fixtures/websocket.json"),
        ] {
            let expected = target(event, |_| {});
            for host in ["presence:99999", "[", "a b", ""] {
                let with_host = |event: &mut Value| {
                    event["headers"]["Host"] = json!(host);
                    event["requestContext"]["domainName"] = json!(host);
                };
                assert_eq!(target(event, with_host), expected, "{host}");
            }
        }
    }
}
