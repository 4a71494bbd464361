//! Health judges by what the calls do: it writes.

use std::time::Duration;

use presence::operator::HealthStatus;
use presence_tests::{RedisCluster, RedisServer, Server, app, cluster_app};

/// Waits until `/health/ready` has this status; reports may be shared for a second.
async fn await_ready(server: &Server, status: u16) -> String {
    let ready = async {
        loop {
            let response = server.get("/health/ready").await;
            if response.status == status {
                return response.body["checks"]["redis"]["status"]
                    .as_str()
                    .unwrap()
                    .to_owned();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(40), ready)
        .await
        .unwrap_or_else(|_| panic!("never {status}"))
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_unavailable() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    assert_eq!(await_ready(&server, 200).await, "ok");
    for (spoil, repair) in [
        (
            ["CONFIG", "SET", "maxmemory", "1"],
            ["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            ["CONFIG", "SET", "min-replicas-to-write", "1"],
            ["CONFIG", "SET", "min-replicas-to-write", "0"],
        ),
    ] {
        let () = redis.ask(&spoil).await;
        assert_eq!(await_ready(&server, 503).await, "unavailable", "{spoil:?}");
        let () = redis.ask(&repair).await;
        assert_eq!(await_ready(&server, 200).await, "ok", "{repair:?}");
    }
    let () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(await_ready(&server, 503).await, "unavailable", "a replica");
    let () = redis.ask(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(await_ready(&server, 200).await, "ok");
}

#[tokio::test]
async fn the_key_that_the_health_check_writes_expires() {
    let redis = RedisServer::start().await;
    assert!(app(&redis, &[]).health_probe().check().await.is_available());
    assert_eq!(redis.keys().await, ["presence:{all}:probe"]);
    let ttl: i64 = redis.ask(&["PTTL", "presence:{all}:probe"]).await;
    assert!((1..=10_000).contains(&ttl), "{ttl} ms");
}

#[tokio::test]
async fn every_master_is_written_to() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    assert_eq!(
        app.health_probe().check().await.checks.redis.status,
        HealthStatus::Ok
    );
    for number in 0..3 {
        assert_eq!(
            cluster.ask(number, &["DBSIZE"]),
            "1",
            "a key on node {number}"
        );
        cluster.ask(number, &["CONFIG", "SET", "maxmemory", "1"]);
        assert_eq!(
            app.health_probe().check().await.checks.redis.status,
            HealthStatus::Degraded,
            "node {number}"
        );
        cluster.ask(number, &["CONFIG", "SET", "maxmemory", "0"]);
    }
    (0..3).for_each(|number| drop(cluster.ask(number, &["CONFIG", "SET", "maxmemory", "1"])));
    assert!(!app.health_probe().check().await.is_available());
}
