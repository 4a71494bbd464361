//! The program `presence`: the real binary against a real server.

mod contexts;
mod load;
mod load_removal;
mod output;
mod refusals;
mod signed;
mod terminal;
mod tls;
mod trying;
mod watch;

use std::process::{Command, Stdio};

use presence_tests::{NatsServer, RedisServer, Server, binary, free_port};
use serde_json::{Value, json};

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
}

/// The result of a command.
#[derive(Debug)]
struct Finished {
    status: Option<i32>,
    out: String,
    err: String,
}

impl Fixture {
    async fn new() -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        // The sweep does not interfere, and the server can be restarted on its port.
        let bind = format!("127.0.0.1:{}", free_port());
        let redis_url = redis.url();
        let nats_url = nats.url();
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &*redis_url),
            ("PRESENCE_NATS_URL", &*nats_url),
            ("PRESENCE_SWEEP_INTERVAL", "1h"),
            ("PRESENCE_BIND", &*bind),
        ]);
        Self {
            redis,
            nats,
            server,
        }
    }

    async fn connect(&self, player: &str, connection: &str) {
        let body = json!({"player_id": player, "connection_id": connection});
        assert_eq!(
            self.server.post("/presence/connect", body).await.status,
            200
        );
    }

    async fn state_of(&self, player: &str) -> Value {
        self.server.get(&format!("/presence/{player}")).await.body["state"].take()
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut command(&self.server.url(""), arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(
            (
                finished.status,
                &*finished.err,
                finished.out.lines().count()
            ),
            (Some(0), "", 1),
            "{finished:?}"
        );
        serde_json::from_str(&finished.out).unwrap()
    }
}

/// `presence`, with only the service's address in its environment.
fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("presence"));
    command
        .env_clear()
        .env("PRESENCE_URL", url)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn finish(command: &mut Command) -> Finished {
    let output = command.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Finished {
        status: output.status.code(),
        out,
        err,
    }
}
