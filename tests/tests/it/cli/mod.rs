//! The program `presence`: its real binary, against a real server.

mod answers;
mod contexts;
mod load;
mod refusals;
mod signed;
mod terminal;
mod tls;
mod trying;
mod watch;

use std::process::{Command, Stdio};

use presence_tests::{NatsServer, RedisServer, Server, binary, free_port};
use serde_json::{Value, json};

struct World {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
}

/// What a command said.
#[derive(Debug)]
struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

impl World {
    async fn new() -> Self {
        let (redis, nats) = (RedisServer::start().await, NatsServer::start().await);
        // No event waits for a sweep, and the server may come back on its port.
        let bind = format!("127.0.0.1:{}", free_port());
        let (redis_url, nats_url) = (redis.url(), nats.url());
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &*redis_url),
            ("PRESENCE_NATS_URL", &*nats_url),
            ("PRESENCE_SWEEP_INTERVAL", "1h"),
            ("PRESENCE_BIND", &*bind),
        ]);
        Self { redis, nats, server }
    }

    async fn connect(&self, player: &str, connection: &str) {
        let body = json!({"player_id": player, "connection_id": connection});
        assert_eq!(self.server.post("/presence/connect", body).await.status, 200);
    }

    async fn state_of(&self, player: &str) -> Value {
        self.server.get(&format!("/presence/{player}")).await.body["state"].take()
    }

    fn say(&self, arguments: &[&str]) -> Said {
        said(&mut command(&self.server.url(""), arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.say(&[arguments, &["--json"]].concat());
        assert_eq!((said.status, &*said.err, said.out.lines().count()), (Some(0), "", 1), "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }
}

/// `presence`, with nothing in its environment but the service's address.
fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("presence"));
    command.env_clear().env("PRESENCE_URL", url).args(arguments).stdin(Stdio::null());
    command
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Said { status: output.status.code(), out, err }
}
