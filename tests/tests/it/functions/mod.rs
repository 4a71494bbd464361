//! The functions' binaries on a real Redis: the events that AWS sends, and the responses.

mod activity;
mod batches;
mod bodies;
mod configuration;
mod friends;
mod life_cycle;
mod outages;
mod paths;
mod refusals;
mod traffic;

use std::collections::HashMap;

use presence_tests::{Function, RedisServer, STORE_TIMEOUT, event};
use serde_json::Value;

/// The functions that change players.
const WRITERS: [&str; 4] = ["connect", "heartbeat", "disconnect", "set-state"];

/// All functions on one Redis. Each is started when it is first called.
struct Functions {
    redis: RedisServer,
    variables: Vec<(&'static str, String)>,
    running: HashMap<&'static str, Function>,
}

/// An HTTP response.
#[derive(Debug)]
struct Response {
    status: u64,
    headers: HashMap<String, String>,
    body: Value,
}

impl Functions {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Creates functions with variables in their environment.
    async fn with(variables: &[(&'static str, &str)]) -> Self {
        Self::on(RedisServer::start().await, variables)
    }

    fn on(redis: RedisServer, variables: &[(&'static str, &str)]) -> Self {
        let url = ("PRESENCE_REDIS_URL", redis.url());
        // If a variable is given twice, the last value is used.
        let others = [&STORE_TIMEOUT]
            .into_iter()
            .chain(variables)
            .map(|(name, value)| (*name, (*value).to_owned()));
        Self {
            variables: others.chain([url]).collect(),
            redis,
            running: HashMap::new(),
        }
    }

    /// Starts a function unless it is already running.
    async fn run(&mut self, name: &'static str) {
        if !self.running.contains_key(name) {
            let variables: Vec<_> = self
                .variables
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            self.running
                .insert(name, Function::start(name, &variables).await);
        }
    }

    /// Invokes a function with the event of an HTTP request.
    async fn invoke(&mut self, name: &'static str, event: Value) -> Response {
        self.run(name).await;
        self.invoke_running(name, event).await
    }

    async fn invoke_running(&self, name: &'static str, event: Value) -> Response {
        let outcome = self.running[name].invoke(event).await;
        Response::parse(&outcome.unwrap_or_else(|error| panic!("{name} failed: {error}")))
    }

    /// Posts a body, which must be accepted with 200. Returns the response's body.
    async fn accept(&mut self, name: &'static str, body: Value) -> Value {
        self.post(name, &body).await.ok()
    }

    async fn post(&mut self, name: &'static str, body: &Value) -> Response {
        self.invoke(name, event::post("/", body)).await
    }

    async fn get(&mut self, path: &str) -> Response {
        self.invoke("get-state", event::get(path)).await
    }

    /// Sends a command directly to Redis.
    async fn redis(&self, command: &[&str]) {
        let mut raw = self.redis.connection().await;
        redis::cmd(command[0])
            .arg(&command[1..])
            .exec_async(&mut raw)
            .await
            .unwrap();
    }
}

impl Response {
    /// Parses the result of a function for API Gateway or a load balancer.
    fn parse(response: &Value) -> Self {
        let single = response["headers"].as_object().into_iter().flatten();
        let multiple = response["multiValueHeaders"]
            .as_object()
            .into_iter()
            .flatten();
        let all = single.chain(multiple.map(|(name, values)| (name, &values[0])));
        let headers = all.map(|(name, value)| {
            (
                name.to_ascii_lowercase(),
                value.as_str().unwrap().to_owned(),
            )
        });
        assert_eq!(response["isBase64Encoded"], false, "{response}");
        Self {
            status: response["statusCode"].as_u64().unwrap(),
            headers: headers.collect(),
            body: serde_json::from_str(response["body"].as_str().unwrap()).unwrap(),
        }
    }

    /// The body of a 200.
    fn ok(self) -> Value {
        assert_eq!(
            (self.status, self.header("content-type")),
            (200, Some("application/json")),
            "{self:?}"
        );
        self.body
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Checks that this is a complete and well-formed problem with this status and slug.
    #[track_caller]
    fn assert_problem(&self, status: u64, slug: &str, about: &str) {
        assert_eq!(self.status, status, "{about}: {self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{about}"
        );
        assert_eq!(self.body["type"], format!("urn:presence:{slug}"), "{about}");
        assert_eq!(self.body["status"], status, "{about}");
        for member in ["title", "detail"] {
            assert!(
                self.body[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{about}: {self:?}"
            );
        }
        let mut members = self.body.as_object().unwrap().keys();
        assert!(
            members.all(|name| ["type", "title", "status", "detail", "field"].contains(&&**name)),
            "{about}: {self:?}"
        );
    }
}
