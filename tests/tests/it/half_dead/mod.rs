//! A Redis that is neither alive nor dead: demoted, hung, loading, full, or behind a connection
//! that swallows everything.
//!
//! The service reaches it by an endpoint whose target moves, as a DNS name's or a load balancer's
//! does.

mod functions;
mod healing;
mod health;
mod loading;
mod logs;
mod readers;
mod repetition;

use std::{fmt::Debug, time::Duration};

use presence_tests::{Function, MovingEndpoint, RedisServer, Server, event};
use serde_json::{Value, json};

/// Far longer than what the constants of the connection add up to (under 5 s): the machine may be
/// busy.
const TIMEOUT: Duration = Duration::from_secs(40);

/// A primary and its replica, and the endpoint of the primary.
struct Pair {
    old: RedisServer,
    new: RedisServer,
    endpoint: MovingEndpoint,
}

/// What happens to the primary. The replica takes its place each time, and the endpoint moves to
/// it.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// `REPLICAOF`, by hand or by an operator's tool.
    Demoted,
    /// `FAILOVER`, as planned failovers do it.
    FailedOver,
    /// The process is stopped; its kernel goes on acknowledging.
    Hung,
    /// The network between swallows everything on the connections that are open.
    Swallowed,
    /// The process is killed.
    Killed,
}

/// A player's presence service: the server, or functions that are warm.
pub(crate) enum Service {
    Server(Server),
    Functions {
        heartbeat: Function,
        get_state: Function,
    },
}

/// The status and the body of a response.
pub(crate) type Response = (u64, Value);

impl Pair {
    async fn start() -> Self {
        let old = RedisServer::start().await;
        let new = RedisServer::start().await;
        new.replicate(&old).await;
        let endpoint = MovingEndpoint::start(old.port()).await;
        Self { old, new, endpoint }
    }

    /// Makes the replica the primary, and moves the endpoint to it.
    async fn suffer(&mut self, fault: Fault) {
        self.old.await_replica().await;
        if matches!(fault, Fault::FailedOver) {
            let () = self.old.ask(&["FAILOVER"]).await;
            while !self
                .new
                .ask::<String>(&["INFO", "replication"])
                .await
                .contains("role:master")
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } else {
            let () = self.new.ask(&["REPLICAOF", "NO", "ONE"]).await;
        }
        match fault {
            Fault::FailedOver => {}
            Fault::Demoted => {
                let () = self
                    .old
                    .ask(&["REPLICAOF", "127.0.0.1", &self.new.port().to_string()])
                    .await;
            }
            Fault::Hung => self.old.pause(),
            Fault::Swallowed => self.endpoint.silence_open(),
            Fault::Killed => self.old.kill(),
        }
        self.endpoint.move_to(self.new.port());
    }

    fn variables(&self) -> [(&'static str, String); 1] {
        [("PRESENCE_REDIS_URL", self.endpoint.url())]
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A stopped process is ended all the same, once it goes on.
        let _ = std::process::Command::new("kill")
            .args(["-s", "CONT", &self.old.id().to_string()])
            .status();
    }
}

impl Service {
    pub(crate) fn server(variables: &[(&'static str, String)]) -> Self {
        Self::Server(Server::start(&borrowed(variables)))
    }

    pub(crate) async fn functions(variables: &[(&'static str, String)]) -> Self {
        let heartbeat = Function::start("heartbeat", &borrowed(variables)).await;
        let get_state = Function::start("get-state", &borrowed(variables)).await;
        Self::Functions {
            heartbeat,
            get_state,
        }
    }

    pub(crate) async fn heartbeat(&self) -> Response {
        let body = json!({"player_id": "alice", "connection_id": "c1"});
        match self {
            Self::Server(server) => of_server(server.post("/presence/heartbeat", body).await),
            Self::Functions { heartbeat, .. } => {
                invoke(heartbeat, event::post("/presence/heartbeat", &body)).await
            }
        }
    }

    pub(crate) async fn read(&self) -> Response {
        match self {
            Self::Server(server) => of_server(server.get("/presence/alice").await),
            Self::Functions { get_state, .. } => {
                invoke(get_state, event::get("/presence/alice")).await
            }
        }
    }
}

pub(crate) fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

fn of_server(response: presence_tests::Response) -> Response {
    (response.status.into(), response.body)
}

pub(crate) async fn invoke(function: &Function, event: Value) -> Response {
    let response = function.invoke(event).await.expect("a response");
    (
        response["statusCode"].as_u64().unwrap(),
        serde_json::from_str(response["body"].as_str().unwrap()).unwrap(),
    )
}

/// Sets the state of alice, who has one connection.
pub(crate) async fn play(redis: &RedisServer, state: presence::model::State) {
    let service = presence_tests::service(redis, &[]);
    let trace = presence::telemetry::TraceContext::new_root();
    service
        .connect(&presence_tests::connection("alice", "c1"), &trace)
        .await
        .unwrap();
    service
        .set_state(&presence_tests::player("alice"), state, &trace)
        .await
        .unwrap();
}

/// Sends heartbeats and reads until both work again. A read returns the state, or fails: never
/// OFFLINE.
pub(crate) async fn heal(service: &Service, fault: impl Debug) {
    let healed = async {
        let mut in_a_row = 0;
        while in_a_row < 5 {
            let (heartbeat, record) = service.heartbeat().await;
            let (read, presence) = service.read().await;
            for (status, body) in [(heartbeat, &record), (read, &presence)] {
                assert!(matches!(status, 200 | 503), "{fault:?}: {status} {body}");
                assert!(
                    status == 503 || body["state"] == "IN_MATCH",
                    "{fault:?}: {body}"
                );
            }
            in_a_row = if (heartbeat, read) == (200, 200) {
                in_a_row + 1
            } else {
                0
            };
        }
    };
    tokio::time::timeout(TIMEOUT, healed)
        .await
        .unwrap_or_else(|_| panic!("{fault:?}: not healed"));
}
