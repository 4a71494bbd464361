//! Turns: servers that share a cluster make each pass once, and none waits for one that died.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use presence::telemetry::TraceContext;
use presence_tests::{
    NatsServer, RedisCluster, RedisServer, Server, VirtualClock, cluster_app, connection,
    partition_key, script,
};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const INTERVAL: u64 = 1_000;
const DEAD_AFTER_MS: u64 = 400;

/// Asks for a turn: the time to wait, 0 if it is granted.
async fn ask(redis: &RedisServer) -> u64 {
    let keys = ["began", "ended"];
    let mut call = redis::cmd("EVAL");
    call.arg(script("turn"))
        .arg(2)
        .arg(&keys)
        .arg(INTERVAL)
        .arg(DEAD_AFTER_MS);
    call.query_async(&mut redis.connection().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_turn_is_given_once_per_interval_and_again_after_a_pass_that_died() {
    let mut clock = VirtualClock::new();
    let redis = RedisServer::start_with_clock(&clock).await;
    let mut raw = redis.connection().await;
    assert_eq!(ask(&redis).await, 0, "nothing is known of a pass");
    assert_eq!(ask(&redis).await, DEAD_AFTER_MS, "one is under way");
    clock.advance(DEAD_AFTER_MS - 1);
    assert_eq!(ask(&redis).await, 1);
    clock.advance(1);
    assert_eq!(ask(&redis).await, 0, "it died");
    clock.advance(100);
    raw.set("ended", clock.now()).await.unwrap();
    assert_eq!(ask(&redis).await, INTERVAL - 100, "it has ended");
    clock.advance(INTERVAL - 100);
    assert_eq!(ask(&redis).await, 0);
    raw.set("began", clock.now() + 60_000).await.unwrap();
    assert_eq!(ask(&redis).await, 0, "the clock was set back");
    raw.del("began").await.unwrap();
    raw.rpush("began", "a list").await.unwrap();
    assert_eq!(ask(&redis).await, 0, "a key of another type");
    assert_eq!(ask(&redis).await, DEAD_AFTER_MS);
}

#[tokio::test]
async fn several_servers_make_one_pass_per_interval_together() {
    let cluster = RedisCluster::start().await;
    let urls = cluster.urls();
    let variables = [
        ("PRESENCE_REDIS_URL", &*urls),
        ("PRESENCE_REDIS_MODE", "cluster"),
        ("PRESENCE_SWEEP_INTERVAL", "2s"),
    ];
    let servers: Vec<_> = (0..3).map(|_| Server::start(&variables)).collect();
    for server in &servers {
        while server.get("/health/ready").await.body["checks"]["sweep"]["status"] != "ok" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    cluster.forget_commands();
    let ended = partition_key(0, "swept");
    let read_sweep_time = || {
        cluster
            .ask(cluster.master_of(&ended), &["GET", &ended])
            .parse::<u64>()
            .unwrap()
    };
    let begin = read_sweep_time();
    while read_sweep_time() < begin + 6_000 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let passes = cluster.commands()["zrange"] / 256;
    assert!(
        (5..=9).contains(&passes),
        "{passes} passes in 6 to 7 s, each second one"
    );
}

/// A server with short times.
fn server(cluster: &RedisCluster, nats: &NatsServer) -> Server {
    Server::start(&[
        ("PRESENCE_REDIS_URL", &cluster.urls()),
        ("PRESENCE_REDIS_MODE", "cluster"),
        ("PRESENCE_NATS_URL", &nats.url()),
        ("PRESENCE_TTL", "1s"),
        ("PRESENCE_SWEEP_INTERVAL", "400ms"),
    ])
}

/// Waits for an event of a player.
async fn until_published(nats: &NatsServer, player: &str, reason: &str) {
    let is_it = |message: &async_nats::Message| {
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        event["player_id"] == player && event["reason"] == reason
    };
    while !nats
        .messages("PRESENCE_EVENTS")
        .await
        .iter()
        .any(|message| is_it(message))
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another server has begun every pass, and died.
#[tokio::test]
async fn a_server_that_dies_during_its_pass_does_not_stop_the_others() {
    let cluster = RedisCluster::start().await;
    let nats = NatsServer::start().await;
    let server = server(&cluster, &nats);
    let mut raw = cluster.connection().await;
    for round in 0..3 {
        let player = format!("p{round}");
        let connect = json!({"player_id": player, "connection_id": "c"});
        assert_eq!(server.post("/presence/connect", connect).await.status, 200);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        for key in ["sweeping", "relaying"] {
            raw.set(partition_key(0, key), now).await.unwrap();
        }
        until_published(&nats, &player, "expired").await;
    }
}

/// As after the crash of a server, or of a function whose 250 ms were over.
#[tokio::test]
async fn events_that_another_process_left_are_published() {
    let cluster = RedisCluster::start().await;
    let nats = NatsServer::start().await;
    let _server = server(&cluster, &nats);
    let left = cluster_app(
        &cluster,
        &[
            ("PRESENCE_NATS_URL", "nats://127.0.0.1:9"),
            ("PRESENCE_TTL", "1h"),
        ],
    );
    left.presence()
        .connect(&connection("alice", "c"), &TraceContext::new_root())
        .await
        .unwrap();
    until_published(&nats, "alice", "connect").await;
}

/// With NATS cut off from one of them.
#[tokio::test]
async fn a_relay_that_cannot_publish_leaves_the_turn_to_others() {
    let cluster = RedisCluster::start().await;
    let nats = NatsServer::start().await;
    let urls = cluster.urls();
    let cut_off = Server::start(&[
        ("PRESENCE_REDIS_URL", &urls),
        ("PRESENCE_REDIS_MODE", "cluster"),
        ("PRESENCE_NATS_URL", "nats://127.0.0.1:9"),
        ("PRESENCE_SWEEP_INTERVAL", "400ms"),
    ]);
    let _other = server(&cluster, &nats);
    for n in 0..5 {
        let player = format!("p{n}");
        let connect = json!({"player_id": player, "connection_id": "c"});
        assert_eq!(cut_off.post("/presence/connect", connect).await.status, 200);
        until_published(&nats, &player, "connect").await;
    }
}
