//! The console: its data over HTTP, and its page in a browser.

mod data;
mod events;
mod page;
mod picture;

use presence_tests::{NatsServer, RedisServer, Server};
use serde_json::{Value, json};

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
}

impl Fixture {
    async fn new(more: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let redis_url = redis.url();
        let nats_url = nats.url();
        let mut variables = vec![
            ("PRESENCE_REDIS_URL", &*redis_url),
            ("PRESENCE_NATS_URL", &*nats_url),
        ];
        variables.extend(more);
        let server = Server::start(&variables);
        Self {
            redis,
            nats,
            server,
        }
    }

    async fn connect(&self, player: &str, connection: &str) {
        let response = self
            .server
            .post("/presence/connect", one(player, connection))
            .await;
        assert_eq!(response.status, 200);
    }
}

fn one(player: &str, connection: &str) -> Value {
    json!({"player_id": player, "connection_id": connection})
}
