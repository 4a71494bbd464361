//! Servers of NATS that are neither alive nor dead.

use std::time::Duration;

use presence_tests::{Function, MovingEndpoint, NatsServer, RedisServer, Server, app, event};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use super::{STREAM, connect, nats_check, outbox_length, players, until, until_nats_is};

fn start(redis: &RedisServer, nats_urls: &str) -> Server {
    Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_NATS_URL", nats_urls),
    ])
}

#[tokio::test]
async fn a_server_that_accepts_and_never_speaks_does_not_keep_events_from_the_other_one() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = format!("nats://{}", listener.local_addr().unwrap());
    for (n, urls) in [
        format!("{mute},{}", nats.url()),
        format!("{},{mute}", nats.url()),
    ]
    .iter()
    .enumerate()
    {
        let server = start(&redis, urls);
        connect(&server, &format!("p{n}")).await;
        until("the event is published", async || {
            nats.count(STREAM).await == n as u64 + 1
        })
        .await;
    }
}

#[tokio::test]
async fn a_connected_server_that_hangs_is_left_for_the_other_one() {
    let redis = RedisServer::start().await;
    let nats = [NatsServer::start().await, NatsServer::start().await];
    let server = start(&redis, &nats.each_ref().map(NatsServer::url).join(","));
    connect(&server, "first").await;
    until("the event is published", async || {
        outbox_length(&redis).await == 0
    })
    .await;
    let first = usize::from(nats[1].count(STREAM).await == 1);
    let other = &nats[1 - first];
    nats[first].pause();
    connect(&server, "second").await;
    until("events flow again", async || other.count(STREAM).await == 1).await;
    assert_eq!(players(other, STREAM).await, ["second"]);
    until_nats_is(&server, "ok").await;
    nats[first].resume();
}

#[tokio::test]
async fn health_says_within_five_seconds_that_the_only_server_hangs() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let server = start(&redis, &nats.url());
    connect(&server, "alice").await;
    until_nats_is(&server, "ok").await;
    nats.pause();
    let noticed = tokio::time::timeout(Duration::from_secs(5), async {
        while nats_check(&server).await != "unavailable" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(noticed.await.is_ok());
    nats.resume();
    until_nats_is(&server, "ok").await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let endpoint = MovingEndpoint::start(nats.port()).await;
    let server = start(&redis, &format!("nats://127.0.0.1:{}", endpoint.port()));
    connect(&server, "p0").await;
    until("the first event is published", async || {
        nats.count(STREAM).await == 1
    })
    .await;
    for round in 1..4 {
        endpoint.silence_open();
        connect(&server, &format!("p{round}")).await;
        until("events flow again", async || {
            nats.count(STREAM).await == round + 1
        })
        .await;
    }
    until("nothing waits", async || outbox_length(&redis).await == 0).await;
}

/// It has no JetStream that responds, as a node of a cluster that lost its peers.
#[tokio::test]
async fn a_server_that_replies_to_pings_only_is_left_for_the_other_one() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let half_dead = half_dead_server().await;
    for (n, urls) in [
        format!("{half_dead},{}", nats.url()),
        format!("{},{half_dead}", nats.url()),
    ]
    .iter()
    .enumerate()
    {
        let server = start(&redis, urls);
        connect(&server, &format!("p{n}")).await;
        until("the event is published", async || {
            nats.count(STREAM).await == n as u64 + 1
        })
        .await;
    }
}

/// AWS Lambda freezes a function between its calls; a firewall may forget its connections
/// meanwhile.
#[tokio::test]
async fn a_function_that_thaws_with_a_silent_connection_publishes_again() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let endpoint = MovingEndpoint::start(nats.port()).await;
    let nats_url = format!("nats://127.0.0.1:{}", endpoint.port());
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_NATS_URL", &*nats_url),
    ];
    let function = Function::start("connect", &variables).await;
    let mut called = 0;
    let mut call = async || {
        let body = json!({"player_id": format!("p{called}"), "connection_id": "c"});
        called += 1;
        let response = function
            .invoke(event::post("/presence/connect", &body))
            .await
            .unwrap();
        assert_eq!(response["statusCode"], 200);
    };
    call().await;
    for _ in 0..5 {
        signal(&function, "STOP");
        endpoint.silence_open();
        signal(&function, "CONT");
        let before = nats.count(STREAM).await;
        until("the function itself publishes again", async || {
            call().await;
            nats.count(STREAM).await > before
        })
        .await;
    }
    let relay = app(&redis, &[("PRESENCE_NATS_URL", &nats.url())])
        .relay()
        .unwrap();
    until("what waited is published", async || {
        relay.pass().await.unwrap();
        outbox_length(&redis).await == 0
    })
    .await;
    let mut published = players(&nats, STREAM).await;
    published.sort();
    published.dedup();
    assert_eq!(
        (published.len(), nats.count(STREAM).await),
        (called, called as u64),
        "each event once"
    );
}

fn signal(function: &Function, name: &str) {
    let status = std::process::Command::new("kill")
        .args(["-s", name, &function.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Speaks the protocol as far as clients want a sign of life.
async fn half_dead_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(reply_to_pings(socket));
        }
    });
    url
}

async fn reply_to_pings(socket: TcpStream) -> std::io::Result<()> {
    let info = json!({
        "server_id": "half-dead", "server_name": "half-dead", "version": "2.9.10", "go": "go1", "host": "127.0.0.1",
        "port": 4222, "headers": true, "max_payload": 1_048_576, "proto": 1, "client_id": 1, "jetstream": true,
    });
    let (reader, mut writer) = socket.into_split();
    writer
        .write_all(format!("INFO {info}\r\n").as_bytes())
        .await?;
    let mut lines = BufReader::new(reader).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        if line.trim_ascii() == b"PING" {
            writer.write_all(b"PONG\r\n").await?;
        }
    }
    Ok(())
}
