//! Parsing of AWS Lambda events into requests.

use data_encoding::BASE64;
use lambda_http::request::LambdaRequest;
use serde_json::{Map, Value, json, value::RawValue};

/// Parses an event of API Gateway, a load balancer or a function URL.
///
/// # Errors
/// If the event is not a request of a known kind.
pub(super) fn read(event: &RawValue) -> Result<LambdaRequest, serde_json::Error> {
    // AWS's own events parse at once; those of emulators may have to be completed first.
    let mut request = serde_json::from_str(event.get()).or_else(|error| {
        let completed = serde_json::from_str(event.get()).ok().and_then(complete);
        completed
            .and_then(|event| serde_json::from_value(event).ok())
            .ok_or(error)
    })?;
    drop_undecodable_body(&mut request);
    Ok(request)
}

/// Adds members that AWS always sends and emulators omit or send as null. Only members that this
/// service ignores are added.
fn complete(mut event: Value) -> Option<Value> {
    let members = event.as_object_mut()?;
    members.retain(|_, value| !value.is_null());
    let method = members.get("httpMethod").cloned();
    let context = members.get_mut("requestContext")?.as_object_mut()?;
    context.retain(|_, value| !value.is_null());
    if context.contains_key("connectionId") {
        complete_socket(context);
    } else if let Some(method) = method.filter(|_| !context.contains_key("elb")) {
        context.entry("httpMethod").or_insert(method);
    }
    Some(event)
}

fn complete_socket(context: &mut Map<String, Value>) {
    for time in ["connectedAt", "requestTimeEpoch"] {
        context.entry(time).or_insert(json!(0));
    }
    let code = context.get("disconnectStatusCode").and_then(Value::as_str);
    if let Some(code) = code.and_then(|code| code.parse::<i64>().ok()) {
        context.insert("disconnectStatusCode".to_owned(), json!(code));
    }
}

/// Removes a body that is marked as base64 but is not: `lambda_http` would panic. Without a body
/// the call is refused as not JSON.
fn drop_undecodable_body(request: &mut LambdaRequest) {
    let (is_base64, body) = match request {
        LambdaRequest::ApiGatewayV1(event) => (event.is_base64_encoded, &mut event.body),
        LambdaRequest::ApiGatewayV2(event) => (event.is_base64_encoded, &mut event.body),
        LambdaRequest::Alb(event) => (event.is_base64_encoded, &mut event.body),
        LambdaRequest::WebSocket(event) => (event.is_base64_encoded, &mut event.body),
        _ => return,
    };
    body.take_if(|body| is_base64 && BASE64.decode(body.as_bytes()).is_err());
}

#[cfg(test)]
mod tests {
    use lambda_http::request::RequestOrigin;

    use super::*;

    fn read_value(event: &Value) -> Result<LambdaRequest, serde_json::Error> {
        read(&RawValue::from_string(event.to_string()).unwrap())
    }

    #[test]
    fn what_emulators_leave_out_is_completed() {
        let rest = json!({"httpMethod": "POST", "path": "/", "requestContext": {}, "body": "{}"});
        assert!(matches!(
            read_value(&rest).unwrap().request_origin(),
            RequestOrigin::ApiGatewayV1
        ));
        let balancer = json!({
            "httpMethod": "GET", "path": "/", "queryStringParameters": null, "multiValueHeaders": null,
            "requestContext": {"elb": {"targetGroupArn": "arn"}}
        });
        assert!(matches!(
            read_value(&balancer).unwrap().request_origin(),
            RequestOrigin::Alb
        ));
        let socket = json!({"requestContext": {
            "routeKey": "$disconnect", "connectionId": "c", "disconnectStatusCode": "1000",
            "authorizer": {"principalId": "alice"}
        }});
        let LambdaRequest::WebSocket(socket) = read_value(&socket).unwrap() else {
            panic!("a socket's event")
        };
        assert_eq!(socket.request_context.disconnect_status_code, Some(1000));
        assert_eq!(
            socket.request_context.authorizer.fields["principalId"],
            "alice"
        );
    }

    #[test]
    fn what_is_not_a_request_stays_an_error() {
        for event in [
            json!(null),
            json!([]),
            json!({}),
            json!({"requestContext": {}}),
            json!({"source": "aws.events"}),
        ] {
            assert!(read_value(&event).is_err(), "{event}");
        }
    }

    #[test]
    fn a_body_that_is_not_base64_is_removed() {
        let build_event = |body: &str| json!({"httpMethod": "POST", "requestContext": {}, "body": body, "isBase64Encoded": true});
        for body in ["***", "e30", "e3=0", "é"] {
            let LambdaRequest::ApiGatewayV1(request) = read_value(&build_event(body)).unwrap()
            else {
                panic!("a REST event")
            };
            assert_eq!(request.body, None, "{body}");
        }
        let LambdaRequest::ApiGatewayV1(request) = read_value(&build_event("e30=")).unwrap() else {
            panic!("a REST event")
        };
        assert_eq!(request.body.as_deref(), Some("e30="));
    }
}
