//! Watching with the rights that `docs/operations.md` and `deploy/redis/users.acl` give, and no
//! others.

use presence_tests::{SecuredNats, SecuredRedis, Server, Watcher};

use super::{connect, set_state};

#[tokio::test]
async fn the_documented_rights_are_enough() {
    let redis = SecuredRedis::start().await;
    let nats = SecuredNats::start(redis.authority()).await;
    let redis_url = redis.url();
    let nats_url = nats.url();
    let credentials = nats.credentials().display().to_string();
    let certificate = redis.authority().certificate().display().to_string();
    let server = Server::start(&[
        ("SSL_CERT_FILE", &*certificate),
        ("PRESENCE_REDIS_URL", &*redis_url),
        ("PRESENCE_NATS_URL", &*nats_url),
        ("PRESENCE_NATS_CREDS", &*credentials),
    ]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.until_feed("live").await;
    watcher.watch(&["alice"]).await;
    set_state(&server, "alice", "IN_MATCH").await;
    watcher.until("alice", "IN_MATCH").await;
    redis.ask(&["FLUSHALL"]);
    watcher.until("alice", "OFFLINE").await;
    assert!(watcher.held("alice")["version"].is_null());
}
