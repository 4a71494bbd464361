//! The end of the example gateway: signals drain it, whatever its clients do.

use std::time::Duration;

use presence_tests::{Device, Gateway, RedisServer, Server};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{sleep, timeout},
};

const TIMEOUT: Duration = Duration::from_secs(60);

async fn ends(gateway: &mut Gateway) {
    let wait = async {
        while !gateway.has_ended() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIMEOUT, wait).await.expect("the gateway ends");
}

#[tokio::test]
async fn both_signals_move_all_players_also_beside_clients_that_do_nothing() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_MOVE_GRACE", "1s"),
    ]);
    for signal in ["TERM", "INT"] {
        let mut gateway = Gateway::start(&[("GATEWAY_PRESENCE_URL", &*server.url(""))]);
        let device = Device::open(&gateway.url("alice")).await.unwrap();
        // A request without an end, one that is not read, and a connection without a request.
        let mut half_sent = TcpStream::connect(gateway.address()).await.unwrap();
        half_sent
            .write_all(b"GET /ws?player=bob HTTP/1.1\r\nhost: x\r\n")
            .await
            .unwrap();
        let mut not_read = TcpStream::connect(gateway.address()).await.unwrap();
        not_read
            .write_all(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let silent = TcpStream::connect(gateway.address()).await.unwrap();
        let connected = async {
            while server.get("/presence/alice").await.body["state"] != "ONLINE" {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, connected)
            .await
            .expect("alice is connected");

        gateway.signal(signal);
        timeout(TIMEOUT, device.closed())
            .await
            .expect("the socket is closed");
        ends(&mut gateway).await;
        assert_eq!(
            server.get("/presence/alice").await.body["connection_count"],
            0,
            "{signal}"
        );
        assert_eq!(
            server.get("/gateways").await.body["gateways"],
            json!([]),
            "{signal}"
        );
        let offline = async {
            while server.get("/presence/alice").await.body["state"] != "OFFLINE" {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, offline)
            .await
            .expect("alice is OFFLINE after the grace");
        drop((half_sent, not_read, silent));
    }
}

#[tokio::test]
async fn empty_variables_are_unset_ones() {
    let gateway = Gateway::start(&[("GATEWAY_PRESENCE_URL", ""), ("GATEWAY_PRESENCE_TOKEN", "")]);
    assert_eq!(
        gateway.stats().await,
        json!({"sockets": 0, "presence": null})
    );
}
