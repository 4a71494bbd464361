//! The client's example gateway as a process, with the real service or without one.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _, future::join_all};
use presence_tests::{
    Device, Gateway, RedisServer, STORE_TIMEOUT, Server, free_port, open_files, peak_memory,
};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::{connect_async, tungstenite::Message};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Memory of a socket in a gateway that is built without optimization, in KiB.
const SOCKET_KIB: u64 = 64;

fn player(n: usize) -> String {
    format!("p{n:05}")
}

/// Opens one device per player, for the players with these numbers.
async fn open(gateway: &Gateway, players: std::ops::Range<usize>) -> Vec<Device> {
    let mut devices = Vec::with_capacity(players.len());
    for first in players.clone().step_by(100) {
        let some = (first..players.end.min(first + 100)).map(|n| gateway.url(&player(n)));
        let opened = join_all(some.map(async |url| Device::open(&url).await.unwrap())).await;
        devices.extend(opened);
    }
    devices
}

/// Checks that the gateway serves a socket: it responds to a malformed message.
async fn serves_its_sockets(gateway: &Gateway) {
    let (mut socket, _) = connect_async(gateway.url("somebody")).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    loop {
        let message = timeout(TIMEOUT, socket.next())
            .await
            .expect("a response")
            .unwrap()
            .unwrap();
        if message.is_text() {
            break;
        }
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TIMEOUT, wait).await.expect("it comes about");
}

/// The numbers of players who are not OFFLINE, and the earliest `last_seen` among them.
async fn seen(server: &Server, ids: &[String]) -> (usize, u64) {
    let mut times = Vec::new();
    for some in ids.chunks(2_000) {
        let response = server
            .post("/presence/friends", json!({"player_ids": some}))
            .await;
        let presences = response.body["presences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        times.extend(
            presences
                .iter()
                .filter_map(|presence| presence["last_seen"].as_u64()),
        );
    }
    (times.len(), times.into_iter().min().unwrap_or_default())
}

/// The times of the calls, and how even they are, are those of a simulated clock in the client's
/// own tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_of_ten_thousand_sockets_are_ten_calls_per_interval() {
    const SOCKETS: usize = 10_000;
    open_files(SOCKETS + 1_000);
    let redis = RedisServer::start().await;
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        STORE_TIMEOUT,
        ("PRESENCE_HEARTBEAT_INTERVAL", "5s"),
    ];
    let server = Server::start(&variables);
    let gateway = Gateway::start(&[
        ("GATEWAY_PRESENCE_URL", &*server.url("")),
        ("GATEWAY_HEARTBEAT_INTERVAL", "5s"),
    ]);
    let devices = open(&gateway, 0..SOCKETS).await;
    until(async || gateway.stats().await["presence"]["queue_length"] == 0).await;

    let ids: Vec<_> = (0..SOCKETS).map(player).collect();
    let begin = server
        .post("/presence/friends", json!({"player_ids": ["nobody"]}))
        .await
        .body["as_of"]
        .as_u64()
        .unwrap();
    let before = gateway.stats().await["presence"].clone();
    let count_since =
        |stats: &Value, name: &str| stats[name].as_u64().unwrap() - before[name].as_u64().unwrap();
    let mut stats = Value::Null;
    until(async || {
        stats = gateway.stats().await["presence"].clone();
        count_since(&stats, "heartbeats") >= 2 * SOCKETS as u64
    })
    .await;
    let calls = count_since(&stats, "calls");
    let heartbeats = count_since(&stats, "heartbeats");
    assert!(
        calls <= heartbeats / 1_000 + 2,
        "{calls} calls for {heartbeats} heartbeats"
    ); // of two, the end is not seen yet
    assert_eq!(
        (&stats["failures"], &stats["dropped"]),
        (&json!(0), &json!(0))
    );
    let (present, last_seen) = seen(&server, &ids).await;
    assert!(
        present == SOCKETS && last_seen >= begin,
        "{present} players, one last seen {last_seen}, before {begin}"
    );
    drop(devices);
}

#[tokio::test]
async fn a_gateway_without_a_presence_url_works_as_before() {
    let gateway = Gateway::start(&[]);
    let devices = open(&gateway, 0..50).await;
    serves_its_sockets(&gateway).await;
    devices[0].say("IN_MATCH").await;
    until(async || gateway.stats().await == json!({"sockets": 50, "presence": null})).await;
    for device in devices {
        device.quit().await;
    }
    until(async || gateway.stats().await["sockets"] == 0).await;
}

#[tokio::test]
async fn a_gateway_whose_presence_service_is_down_serves_its_sockets_in_bounded_memory() {
    const AT_A_TIME: usize = 200;
    let redis = RedisServer::start().await;
    let url = redis.url();
    let start =
        |bind: &str| Server::start(&[("PRESENCE_BIND", bind), ("PRESENCE_REDIS_URL", &url)]);
    let mut server = start(&format!("127.0.0.1:{}", free_port()));
    let gateway = Gateway::start(&[
        ("GATEWAY_PRESENCE_URL", &*server.url("")),
        ("GATEWAY_HEARTBEAT_INTERVAL", "200ms"),
    ]);
    let known = open(&gateway, 0..AT_A_TIME).await;
    until(async || gateway.stats().await["presence"]["queue_length"] == 0).await;
    let address = server.address().to_owned();
    server.kill();

    for device in known {
        device.break_off().await;
    }
    let mut peaks = Vec::new();
    for round in 1..=20 {
        let devices = open(&gateway, round * AT_A_TIME..(round + 1) * AT_A_TIME).await;
        for (device, state) in devices
            .iter()
            .zip(["IN_QUEUE", "AWAY", "IN_MATCH", "ONLINE"].iter().cycle())
        {
            device.say(state).await;
        }
        serves_its_sockets(&gateway).await;
        for device in devices {
            device.quit().await;
        }
        peaks.push(peak_memory(gateway.id()));
    }
    let grown = peaks[19] - peaks[0];
    assert!(
        grown <= AT_A_TIME as u64 * SOCKET_KIB / 1024,
        "{grown} MiB, from {peaks:?}"
    );
    let queue = gateway.stats().await["presence"]["queue_length"]
        .as_u64()
        .unwrap();
    let bound = (20 * AT_A_TIME / 2) as u64; // of 3 per socket: what failed calls may have reported
    assert!(queue < bound, "{queue} tasks wait");

    let present = open(&gateway, 0..AT_A_TIME).await;
    let server = start(&address);
    let ids: Vec<_> = (0..21 * AT_A_TIME).map(player).collect();
    let count = async |ids: &[String]| {
        let response = server
            .post("/presence/friends", json!({"player_ids": ids}))
            .await;
        let presences = response.body["presences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        presences
            .iter()
            .filter(|presence: &&Value| presence["state"] != "OFFLINE")
            .count()
    };
    until(async || count(&ids[..AT_A_TIME]).await == AT_A_TIME).await;
    until(async || count(&ids[AT_A_TIME..2_000]).await == 0).await;
    drop(present);
}
