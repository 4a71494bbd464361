//! `GET /watch`: snapshots, changes, faults, limits and the end of streams.

mod activity;
mod changes;
mod client;
mod client_faults;
mod cluster;
mod cost;
mod faults;
mod feeds;
mod handshake;
mod limits;
mod secured;
mod server_sent;
mod snapshots;

use std::time::Duration;

use presence_tests::{NatsServer, RedisServer, STORE_TIMEOUT, Server};
use serde_json::{Value, json};

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
}

impl Fixture {
    async fn new() -> Self {
        Self {
            redis: RedisServer::start().await,
            nats: NatsServer::start().await,
        }
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        let redis = self.redis.url();
        let nats = self.nats.url();
        let mut variables = vec![
            ("PRESENCE_REDIS_URL", &*redis),
            ("PRESENCE_NATS_URL", &*nats),
            STORE_TIMEOUT,
        ];
        variables.extend(more);
        Server::start(&variables)
    }

    /// A server without events.
    fn silent_server(&self, more: &[(&str, &str)]) -> Server {
        let redis = self.redis.url();
        let mut variables = vec![("PRESENCE_REDIS_URL", &*redis)];
        variables.extend(more);
        Server::start(&variables)
    }
}

/// Connects players, one connection each.
async fn connect(server: &Server, players: &[&str]) {
    let connections: Vec<_> = players
        .iter()
        .map(|player| json!({"player_id": player, "connection_id": format!("{player}-1")}))
        .collect();
    let response = server
        .post("/presence/connect", json!({"connections": connections}))
        .await;
    assert_eq!(response.body["accepted"], players.len(), "{response:?}");
}

async fn disconnect(server: &Server, player: &str) {
    let connection = json!({"player_id": player, "connection_id": format!("{player}-1")});
    assert_eq!(
        server.post("/presence/disconnect", connection).await.status,
        200
    );
}

async fn set_state(server: &Server, player: &str, state: &str) -> Value {
    let response = server
        .post(
            "/presence/state",
            json!({"player_id": player, "state": state}),
        )
        .await;
    assert_eq!(response.status, 200, "{response:?}");
    response.body
}

/// What a read with the history says, as far as watchers are sent it.
async fn read(server: &Server, player: &str) -> Value {
    let mut presence = server
        .get(&format!("/presence/{player}?history=true"))
        .await
        .body;
    presence
        .as_object_mut()
        .expect("a presence")
        .remove("connection_count");
    presence
}

/// Waits until a condition holds; the test's own time limit is the only one.
async fn eventually(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
