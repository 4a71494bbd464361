//! Event JSON as AWS documents it, one fixture per kind.

use serde_json::{Value, json};

/// What invokes a function over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// API Gateway's HTTP API, payload format 2.0.
    HttpApi,
    /// API Gateway's REST API, payload format 1.0.
    RestApi,
    /// An Application Load Balancer.
    LoadBalancer,
    /// A function URL.
    FunctionUrl,
}

/// An HTTP request, to be turned into an event.
#[derive(Debug, Clone)]
pub struct HttpEvent<'a> {
    kind: EventSource,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<String>,
}

impl EventSource {
    /// All kinds.
    pub const ALL: [Self; 4] = [
        Self::HttpApi,
        Self::RestApi,
        Self::LoadBalancer,
        Self::FunctionUrl,
    ];

    fn fixture(self) -> Value {
        let text = match self {
            Self::HttpApi => include_str!("../fixtures/http-api.json"),
            Self::RestApi => include_str!("../fixtures/rest-api.json"),
            Self::LoadBalancer => include_str!("../fixtures/load-balancer.json"),
            Self::FunctionUrl => include_str!("../fixtures/function-url.json"),
        };
        serde_json::from_str(text).expect("a fixture is JSON")
    }
}

/// A POST of a JSON body to an HTTP API.
pub fn post(path: &str, body: &Value) -> Value {
    HttpEvent::new(EventSource::HttpApi, "POST", path)
        .body(body.to_string())
        .build()
}

/// A GET from an HTTP API.
pub fn get(path: &str) -> Value {
    HttpEvent::new(EventSource::HttpApi, "GET", path).build()
}

impl<'a> HttpEvent<'a> {
    /// A request without a body.
    pub fn new(kind: EventSource, method: &'a str, path: &'a str) -> Self {
        Self {
            kind,
            method,
            path,
            query: "",
            headers: Vec::new(),
            body: None,
        }
    }

    /// With a query: `name=value`.
    #[must_use]
    pub fn query(mut self, query: &'a str) -> Self {
        self.query = query;
        self
    }

    /// With a header, in place of the fixture's one of this name.
    #[must_use]
    pub fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The event.
    pub fn build(self) -> Value {
        let mut event = self.kind.fixture();
        let query: Value = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect::<Value>();
        match self.kind {
            EventSource::HttpApi | EventSource::FunctionUrl => {
                event["rawPath"] = json!(self.path);
                event["rawQueryString"] = json!(self.query);
                event["queryStringParameters"] = query;
                event["requestContext"]["http"]["method"] = json!(self.method);
                event["requestContext"]["http"]["path"] = json!(self.path);
            }
            EventSource::RestApi | EventSource::LoadBalancer => {
                event["path"] = json!(self.path);
                event["httpMethod"] = json!(self.method);
                event["queryStringParameters"] = query;
            }
        }
        for (name, value) in self.headers {
            set_header(&mut event, self.kind, name, value);
        }
        if let Some(body) = self.body {
            event["body"] = json!(body);
        }
        event
    }
}

fn set_header(event: &mut Value, kind: EventSource, name: &str, value: &str) {
    for (member, value) in [
        ("headers", json!(value)),
        ("multiValueHeaders", json!([value])),
    ] {
        if member == "multiValueHeaders" && kind != EventSource::RestApi {
            continue;
        }
        let headers = event[member].as_object_mut().expect("headers");
        headers.retain(|header, _| !header.eq_ignore_ascii_case(name));
        headers.insert(name.to_owned(), value);
    }
}

/// The end or the beginning of a socket, as API Gateway's WebSocket API reports it.
pub fn socket(route: &str) -> Value {
    let mut event: Value = serde_json::from_str(include_str!("../fixtures/websocket.json"))
        .expect("a fixture is JSON");
    event["requestContext"]["routeKey"] = json!(route);
    event["requestContext"]["eventType"] = json!(route.trim_start_matches('$').to_uppercase());
    event
}

/// A message, as API Gateway's WebSocket API hands it over: without headers.
pub fn socket_message(route: &str, body: &str) -> Value {
    let mut event = socket(route);
    let members = event.as_object_mut().expect("an object");
    members.retain(|member, _| matches!(&**member, "requestContext" | "isBase64Encoded"));
    event["requestContext"]["eventType"] = json!("MESSAGE");
    event["requestContext"]["messageId"] = json!("ZLCGOcK6IAMCLlg=");
    event["body"] = json!(body);
    event
}
