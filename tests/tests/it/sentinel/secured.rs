//! Passwords, users, TLS and databases.

use presence_tests::{RedisSentinels, Server};
use serde_json::{Value, json};

use crate::half_dead::borrowed;

fn connection(n: usize) -> Value {
    json!({"player_id": format!("p{n}"), "connection_id": "c"})
}

/// Whether a Sentinel was sent AUTH.
async fn was_sent_password(redis: &RedisSentinels, sentinel: usize) -> bool {
    redis
        .ask_sentinel(sentinel, &["INFO", "commandstats"])
        .await
        .contains("cmdstat_auth:")
}

#[tokio::test]
async fn sentinels_without_a_password_are_not_sent_that_of_the_nodes() {
    let redis = RedisSentinels::start_with_passwords("secret", None).await;
    let server = Server::start(&borrowed(&redis.variables()));
    assert_eq!(
        server.post("/presence/connect", connection(1)).await.status,
        200
    );
    assert_eq!(redis.ask(0, &["EXISTS", "presence:p1"]).await, "1");
    for sentinel in 0..3 {
        assert!(
            !was_sent_password(&redis, sentinel).await,
            "Sentinel {sentinel}"
        );
    }
}

#[tokio::test]
async fn sentinels_with_a_password_are_sent_that_of_the_nodes() {
    let redis = RedisSentinels::start_with_passwords("secret", Some("secret")).await;
    let server = Server::start(&borrowed(&redis.variables()));
    assert_eq!(
        server.post("/presence/connect", connection(1)).await.status,
        200
    );
}

#[tokio::test]
async fn a_sentinel_that_refuses_the_password_is_an_unavailable_store_whose_log_says_why() {
    let redis = RedisSentinels::start_with_passwords("secret", Some("another")).await;
    let server = Server::start(&borrowed(&redis.variables()));
    assert_eq!(server.get("/presence/p1").await.status, 503);
    let line = server.await_log("Redis cannot be used").await;
    assert!(
        line["causes"].as_str().unwrap().contains("WRONGPASS"),
        "{line}"
    );
    assert!(!server.log().contains("secret"));
}

#[tokio::test]
async fn the_database_is_that_of_the_first_url() {
    let redis = RedisSentinels::start().await;
    let urls = redis.urls().replacen(',', "/3,", 1);
    let server = Server::start(&[
        ("PRESENCE_REDIS_MODE", "sentinel"),
        ("PRESENCE_REDIS_URL", &urls),
    ]);
    assert_eq!(
        server.post("/presence/connect", connection(1)).await.status,
        200
    );
    let keyspace = redis.ask(0, &["INFO", "keyspace"]).await;
    assert!(
        keyspace.contains("db3:") && !keyspace.contains("db0:"),
        "{keyspace}"
    );
}

#[tokio::test]
async fn tls_users_and_hostnames_are_used_for_sentinels_and_nodes() {
    let redis = RedisSentinels::start_secured().await;
    let certificate = redis.authority().certificate().display().to_string();
    let variables = [redis.variables(), vec![("SSL_CERT_FILE", certificate)]].concat();
    let server = Server::start(&borrowed(&variables));
    assert_eq!(
        server.post("/presence/connect", connection(1)).await.status,
        200
    );
    redis.fail_over().await;
    redis.await_primary(1).await;
    while server
        .post("/presence/heartbeat", connection(1))
        .await
        .status
        != 200
    {}
    assert_eq!(server.get("/presence/p1").await.body["state"], "ONLINE");
    assert_eq!(redis.ask(1, &["EXISTS", "presence:p1"]).await, "1");
    for sentinel in 0..3 {
        let log = redis.ask_sentinel(sentinel, &["ACL", "LOG"]).await;
        assert_eq!(log, "", "the service tried something that it may not do");
    }
}
