//! The functions' real binaries on a real Redis: what callers send through AWS, and what they get.

mod activity;
mod answers;
mod batches;
mod bodies;
mod configuration;
mod friends;
mod life_cycle;
mod outages;
mod paths;
mod traffic;

use std::collections::HashMap;

use presence_tests::{Function, RedisServer, STORE_TIMEOUT, event};
use serde_json::Value;

/// The functions that take POSTs.
const WRITERS: [&str; 4] = ["connect", "heartbeat", "disconnect", "set-state"];

/// All functions on one Redis; each is started when it is first called.
struct Functions {
    redis: RedisServer,
    variables: Vec<(&'static str, String)>,
    running: HashMap<&'static str, Function>,
}

/// An HTTP answer.
#[derive(Debug)]
struct Answer {
    status: u64,
    headers: HashMap<String, String>,
    body: Value,
}

impl Functions {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With variables in the functions' environment.
    async fn with(variables: &[(&'static str, &str)]) -> Self {
        Self::on(RedisServer::start().await, variables)
    }

    fn on(redis: RedisServer, variables: &[(&'static str, &str)]) -> Self {
        let url = ("PRESENCE_REDIS_URL", redis.url());
        // Of variables that are named twice, the last one counts.
        let others = [&STORE_TIMEOUT].into_iter().chain(variables).map(|(name, value)| (*name, (*value).to_owned()));
        Self { variables: others.chain([url]).collect(), redis, running: HashMap::new() }
    }

    /// Starts a function unless it runs already.
    async fn run(&mut self, name: &'static str) {
        if !self.running.contains_key(name) {
            let variables: Vec<_> = self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.running.insert(name, Function::start(name, &variables).await);
        }
    }

    /// Invokes a function with the event of an HTTP request.
    async fn invoke(&mut self, name: &'static str, event: Value) -> Answer {
        self.run(name).await;
        self.invoke_running(name, event).await
    }

    async fn invoke_running(&self, name: &'static str, event: Value) -> Answer {
        let outcome = self.running[name].invoke(event).await;
        Answer::parse(&outcome.unwrap_or_else(|error| panic!("{name} failed instead of answering: {error}")))
    }

    /// Posts a body, which must be answered with 200, and returns the answer's body.
    async fn accept(&mut self, name: &'static str, body: Value) -> Value {
        self.post(name, &body).await.ok()
    }

    async fn post(&mut self, name: &'static str, body: &Value) -> Answer {
        self.invoke(name, event::post("/", body)).await
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.invoke("get-state", event::get(path)).await
    }

    /// Sends a command to Redis itself.
    async fn redis(&self, command: &[&str]) {
        let mut raw = self.redis.connection().await;
        redis::cmd(command[0]).arg(&command[1..]).exec_async(&mut raw).await.unwrap();
    }
}

impl Answer {
    /// Reads what a function hands to API Gateway or a load balancer.
    fn parse(answer: &Value) -> Self {
        let single = answer["headers"].as_object().into_iter().flatten();
        let multiple = answer["multiValueHeaders"].as_object().into_iter().flatten();
        let all = single.chain(multiple.map(|(name, values)| (name, &values[0])));
        let headers = all.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().unwrap().to_owned()));
        assert_eq!(answer["isBase64Encoded"], false, "{answer}");
        Self {
            status: answer["statusCode"].as_u64().unwrap(),
            headers: headers.collect(),
            body: serde_json::from_str(answer["body"].as_str().unwrap()).unwrap(),
        }
    }

    /// The body of a 200.
    fn ok(self) -> Value {
        assert_eq!((self.status, self.header("content-type")), (200, Some("application/json")), "{self:?}");
        self.body
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Checks that this is a problem of a kind, whole and well-formed.
    #[track_caller]
    fn assert_problem(&self, status: u64, slug: &str, about: &str) {
        assert_eq!(self.status, status, "{about}: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{about}");
        assert_eq!(self.body["type"], format!("urn:presence:{slug}"), "{about}");
        assert_eq!(self.body["status"], status, "{about}");
        for member in ["title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{about}: {self:?}");
        }
        let mut members = self.body.as_object().unwrap().keys();
        assert!(
            members.all(|name| ["type", "title", "status", "detail", "field"].contains(&&**name)),
            "{about}: {self:?}"
        );
    }
}
