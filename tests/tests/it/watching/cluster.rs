//! Watching players in a Redis Cluster.

use presence_tests::{NatsServer, RedisCluster, STORE_TIMEOUT, Server, Watcher};
use serde_json::{Value, json};

use super::{connect, eventually, read, set_state};

const PLAYERS: usize = 60;

fn players() -> Vec<String> {
    (0..PLAYERS).map(|number| format!("p{number}")).collect()
}

fn server(cluster: &RedisCluster, nats: &NatsServer) -> Server {
    Server::start(&[
        ("PRESENCE_REDIS_URL", &cluster.urls()),
        ("PRESENCE_REDIS_MODE", "cluster"),
        STORE_TIMEOUT,
        ("PRESENCE_NATS_URL", &nats.url()),
        ("PRESENCE_TTL", "5m"),
    ])
}

async fn watched(server: &Server) -> Watcher {
    let ids = players();
    let players: Vec<_> = ids.iter().map(String::as_str).collect();
    connect(server, &players).await;
    let mut watcher = Watcher::open(server).await;
    assert_eq!(watcher.watch(&players).await.len(), PLAYERS);
    watcher
}

/// Reads messages until the caller holds what Redis holds.
async fn until_equal(server: &Server, watcher: &mut Watcher) {
    for player in players() {
        let stored = read(server, &player).await;
        while watcher.held(&player)["version"] != stored["version"] {
            watcher.next().await;
        }
        assert_eq!(watcher.held(&player)["state"], stored["state"]);
    }
}

#[tokio::test]
async fn a_flush_of_one_master_is_noticed() {
    let cluster = RedisCluster::start().await;
    let nats = NatsServer::start().await;
    let server = server(&cluster, &nats);
    let mut watcher = watched(&server).await;
    for master in 0..3 {
        assert_eq!(cluster.ask(master, &["FLUSHALL"]), "OK");
        until_equal(&server, &mut watcher).await;
    }
    assert!(
        players()
            .iter()
            .all(|player| watcher.held(player)["version"] == Value::Null)
    );
    set_state(&server, "p1", "AWAY").await;
    watcher.until("p1", "AWAY").await;
}

#[tokio::test]
async fn a_failover_is_stale_for_a_while_and_right_afterwards() {
    let mut cluster = RedisCluster::start_with_replicas().await;
    let nats = NatsServer::start().await;
    let server = server(&cluster, &nats);
    let mut watcher = watched(&server).await;
    cluster.kill(0);
    watcher.until_feed("stale").await;
    for player in players() {
        assert_eq!(
            watcher.held(&player)["state"],
            "ONLINE",
            "unknown is not OFFLINE"
        );
        let body = json!({"player_id": player, "state": "IN_MATCH"});
        eventually(async || {
            matches!(
                server.post("/presence/state", body.clone()).await.status,
                200 | 409
            )
        })
        .await;
    }
    watcher.until_feed("live").await;
    until_equal(&server, &mut watcher).await;
}
