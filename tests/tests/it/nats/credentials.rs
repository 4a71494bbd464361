//! Credentials in `PRESENCE_NATS_URL`.

use presence_tests::{NatsServer, RedisServer, Server};

use super::{STREAM, connect, nats_check, outbox_length, until, until_nats_is};

fn start(redis: &RedisServer, url: &str) -> Server {
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_NATS_URL", url),
        ("RUST_LOG", "trace"),
    ];
    Server::start(&variables)
}

async fn publishes(nats: &NatsServer, url: &str, secrets: &[&str]) {
    let redis = RedisServer::start().await;
    let server = start(&redis, url);
    connect(&server, "alice").await;
    until("the event is published", async || {
        nats.count(STREAM).await == 1
    })
    .await;
    until_nats_is(&server, "ok").await;
    reqwest::get(server.url("/console/events")).await.unwrap(); // another user of the connection
    let log = server.log();
    assert!(
        log.contains("async_nats"),
        "all that there is to log was logged"
    );
    for secret in secrets {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_user_and_password_with_any_characters_are_used_and_never_logged() {
    let nats = NatsServer::start_with_password("al@ice", "s3:cr/et%,#").await;
    let url = format!(
        "nats://al%40ice:s3%3Acr%2Fet%25%2C%23@127.0.0.1:{}",
        nats.port()
    );
    publishes(
        &nats,
        &url,
        &["s3:cr/et%,#", "s3%3Acr%2Fet%25%2C%23", "s3:cr"],
    )
    .await;
}

#[tokio::test]
async fn a_token_is_used_and_never_logged() {
    let nats = NatsServer::start_with_token("t0k3n+/=").await;
    publishes(
        &nats,
        &format!("nats://t0k3n%2B%2F%3D@127.0.0.1:{}", nats.port()),
        &["t0k3n"],
    )
    .await;
}

#[tokio::test]
async fn several_urls_share_their_credentials() {
    let nats = NatsServer::start_with_password("user", "hunter2").await;
    let url = format!(
        "nats://user:hunter2@127.0.0.1:1,nats://user:hunter2@127.0.0.1:{}",
        nats.port()
    );
    publishes(&nats, &url, &["hunter2"]).await;
}

#[tokio::test]
async fn wrong_credentials_make_nats_unavailable_and_are_not_logged_either() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start_with_password("user", "right").await;
    let server = start(
        &redis,
        &format!("nats://user:hunter2@127.0.0.1:{}", nats.port()),
    );
    connect(&server, "alice").await;
    until_nats_is(&server, "unavailable").await;
    until("the cause is logged", async || {
        server
            .log()
            .to_lowercase()
            .contains("authorization violation")
    })
    .await;
    assert_eq!(
        (nats_check(&server).await, outbox_length(&redis).await),
        ("unavailable".to_owned(), 1)
    );
    assert!(!server.log().contains("hunter2"));
}

#[tokio::test]
async fn a_server_that_refuses_the_credentials_does_not_keep_events_from_the_other_one() {
    let other = NatsServer::start_with_password("user", "other").await;
    let nats = NatsServer::start_with_password("user", "hunter2").await;
    let refusing = other.port();
    let accepting = nats.port();
    for ports in [[refusing, accepting], [accepting, refusing]] {
        let url = ports
            .map(|port| format!("nats://user:hunter2@127.0.0.1:{port}"))
            .join(",");
        let redis = RedisServer::start().await;
        let server = start(&redis, &url);
        connect(&server, "alice").await;
        until("nothing waits", async || outbox_length(&redis).await == 0).await;
    }
}
