//! The states of a gateway's players survive what the service loses.

use std::time::Duration;

use futures_util::future::join_all;
use presence_tests::{Device, Gateway, RedisServer, Server, free_port};
use redis::AsyncCommands as _;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const TIMEOUT: Duration = Duration::from_secs(60);

const STATES: [&str; 4] = ["IN_MATCH", "IN_QUEUE", "AWAY", "ONLINE"];

fn player(n: usize) -> String {
    format!("p{n}")
}

/// The state of each player: every fifth never set one.
fn state(n: usize) -> Option<&'static str> {
    (!n.is_multiple_of(5)).then(|| STATES[n % 4])
}

async fn states(server: &Server, players: usize) -> Vec<Value> {
    let ids: Vec<_> = (0..players).map(player).collect();
    let mut response = server
        .post("/presence/friends", json!({"player_ids": ids}))
        .await;
    let presences = response.body["presences"]
        .as_array_mut()
        .map(std::mem::take)
        .unwrap_or_default();
    presences
        .into_iter()
        .map(|mut presence| presence["state"].take())
        .collect()
}

async fn until_all_are_as_set(server: &Server, players: usize) {
    let expected: Vec<_> = (0..players)
        .map(|n| json!(state(n).unwrap_or("ONLINE")))
        .collect();
    let wait = async {
        while states(server, players).await != expected {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(TIMEOUT, wait).await.is_err() {
        assert_eq!(states(server, players).await, expected);
    }
}

async fn open(gateway: &Gateway, players: usize) -> Vec<Device> {
    let urls = (0..players).map(|n| gateway.url(&player(n)));
    let devices = join_all(urls.map(async |url| Device::open(&url).await.unwrap())).await;
    for (n, device) in devices.iter().enumerate() {
        if let Some(state) = state(n) {
            device.say(state).await;
        }
    }
    devices
}

#[tokio::test]
async fn everybody_is_back_with_their_states_after_redis_was_flushed() {
    const PLAYERS: usize = 200;
    let redis = RedisServer::start().await;
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_HEARTBEAT_INTERVAL", "500ms"),
    ]);
    let gateway = Gateway::start(&[
        ("GATEWAY_PRESENCE_URL", &*server.url("")),
        ("GATEWAY_HEARTBEAT_INTERVAL", "500ms"),
    ]);
    let devices = open(&gateway, PLAYERS).await;
    until_all_are_as_set(&server, PLAYERS).await;
    for _ in 0..2 {
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut redis.connection().await)
            .await
            .unwrap();
        until_all_are_as_set(&server, PLAYERS).await;
    }
    drop(devices);
}

#[tokio::test]
async fn everybody_is_back_with_their_states_after_an_outage_longer_than_the_ttl() {
    const PLAYERS: usize = 50;
    let redis = RedisServer::start().await;
    let bind = format!("127.0.0.1:{}", free_port());
    let url = redis.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*url),
        ("PRESENCE_BIND", &*bind),
        ("PRESENCE_TTL", "2s"),
        ("PRESENCE_HEARTBEAT_INTERVAL", "500ms"),
    ];
    let mut server = Server::start(&variables);
    let gateway = Gateway::start(&[
        ("GATEWAY_PRESENCE_URL", &*server.url("")),
        ("GATEWAY_HEARTBEAT_INTERVAL", "500ms"),
    ]);
    let devices = open(&gateway, PLAYERS).await;
    until_all_are_as_set(&server, PLAYERS).await;
    server.kill();
    let mut connection = redis.connection().await;
    let expired = async {
        for n in 0..PLAYERS {
            while connection
                .exists::<_, bool>(format!("presence:{}", player(n)))
                .await
                .unwrap()
            {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    timeout(TIMEOUT, expired).await.expect("the records expire");
    let server = Server::start(&variables);
    until_all_are_as_set(&server, PLAYERS).await;
    drop(devices);
}
