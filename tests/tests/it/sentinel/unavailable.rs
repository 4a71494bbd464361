//! Sentinels that are down, hang, or were never there.

use std::time::Duration;

use presence_tests::{RedisSentinels, RedisServer, SentinelReply, SentinelStub, Server};
use serde_json::json;

use super::Fixture;
use crate::half_dead::{Service, borrowed};

/// The variables of a service that asks stand-ins for Sentinels.
pub(super) fn variables(sentinels: &[&SentinelStub]) -> Vec<(&'static str, String)> {
    let urls: Vec<_> = sentinels.iter().map(|sentinel| sentinel.url()).collect();
    vec![
        ("PRESENCE_REDIS_MODE", "sentinel".to_owned()),
        ("PRESENCE_REDIS_URL", urls.join(",")),
    ]
}

pub(super) fn names(redis: &RedisServer) -> SentinelReply {
    SentinelReply::Primary("127.0.0.1".to_owned(), redis.port())
}

#[tokio::test]
async fn one_sentinel_that_is_down_and_one_that_hangs_do_not_matter() {
    let mut fixture = Fixture::start().await;
    fixture.redis.kill_sentinel(0);
    fixture.redis.pause_sentinel(1);
    let variables = fixture.redis.variables();
    for service in [
        Service::server(&variables),
        Service::functions(&variables).await,
    ] {
        crate::half_dead::heal(&service, "the start").await;
    }
    fixture.heal("a Sentinel that hangs").await;
}

#[tokio::test]
async fn a_failover_is_followed_without_one_of_the_sentinels() {
    let mut fixture = Fixture::start().await;
    fixture.redis.pause_sentinel(0);
    fixture.redis.kill(0);
    fixture
        .heal_at_new_primary("kill -9, and a Sentinel that hangs")
        .await;
}

#[tokio::test]
async fn without_any_sentinel_the_connection_goes_on() {
    let mut fixture = Fixture::start().await;
    for sentinel in 0..3 {
        fixture.redis.kill_sentinel(sentinel);
    }
    let count_checks = async || {
        let stats = fixture.redis.ask(0, &["INFO", "commandstats"]).await;
        let calls = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_role:calls="))
            .unwrap_or("0,");
        calls.split(',').next().unwrap().parse::<u64>().unwrap()
    };
    // Each connection of the server is checked once per second, by ROLE, and every third time by
    // Sentinel.
    let before = count_checks().await;
    let threads = std::thread::available_parallelism().unwrap().get() as u64 + 1;
    while count_checks().await < before + 6 * threads {
        for service in &fixture.services {
            for (status, body) in [service.heartbeat().await, service.read().await] {
                assert_eq!(
                    (status, &body["state"]),
                    (200, &json!("IN_MATCH")),
                    "{body}"
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn programs_start_before_redis_and_its_sentinels() {
    let mut redis = RedisSentinels::start().await;
    for sentinel in 0..3 {
        redis.kill_sentinel(sentinel);
    }
    redis.kill(0);
    let variables = redis.variables();
    let services = [
        Service::server(&variables),
        Service::functions(&variables).await,
    ];
    for service in &services {
        assert_eq!(
            (service.heartbeat().await.0, service.read().await.0),
            (503, 503)
        );
    }
    redis.restart(0).await;
    for sentinel in 0..3 {
        redis.restart_sentinel(sentinel).await;
    }
    for service in &services {
        while service.heartbeat().await.0 != 200 {}
        assert_eq!(service.read().await.1["state"], "ONLINE");
    }
}

#[tokio::test]
async fn a_name_that_no_sentinel_knows_is_an_unavailable_store_whose_log_says_why() {
    let redis = RedisSentinels::start().await;
    let mut variables = redis.variables();
    variables.push(("PRESENCE_REDIS_SENTINEL_NAME", "other".to_owned()));
    let server = Server::start(&borrowed(&variables));
    let response = server.get("/presence/alice").await;
    assert_eq!(
        (response.status, &response.body["type"]),
        (503, &json!("urn:presence:store-unavailable"))
    );
    assert_eq!(server.get("/health/ready").await.status, 503);
    let line = server.await_log("Redis cannot be used").await;
    assert!(
        line["causes"]
            .as_str()
            .unwrap()
            .contains("PRESENCE_REDIS_SENTINEL_NAME"),
        "{line}"
    );
    assert!(
        line["node"]
            .as_str()
            .unwrap()
            .starts_with("other by Sentinel at 127.0.0.1:"),
        "{line}"
    );
}

#[tokio::test]
async fn a_redis_in_place_of_a_sentinel_is_an_unavailable_store_whose_log_says_why() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[
        ("PRESENCE_REDIS_MODE", "sentinel"),
        ("PRESENCE_REDIS_URL", &redis.url()),
    ]);
    assert_eq!(server.get("/presence/alice").await.status, 503);
    let line = server.await_log("Redis cannot be used").await;
    assert!(
        line["causes"]
            .as_str()
            .unwrap()
            .contains("unknown command 'SENTINEL'"),
        "{line}"
    );
}

/// Of several failures the log has the one that helps: not that a Sentinel is down, but what the
/// node said.
#[tokio::test]
async fn the_failure_of_a_node_counts_more_than_that_of_a_sentinel() {
    let redis = RedisServer::start().await;
    let () = redis.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let stubs = [
        SentinelStub::start(SentinelReply::Close).await,
        SentinelStub::start(names(&redis)).await,
        SentinelStub::start(SentinelReply::Unknown).await,
    ];
    let server = Server::start(&borrowed(&variables(&stubs.each_ref())));
    let response = server.get("/presence/alice").await;
    assert_eq!(response.status, 503);
    assert!(
        response.body["detail"]
            .as_str()
            .unwrap()
            .contains("read-only"),
        "{:?}",
        response.body
    );
}
