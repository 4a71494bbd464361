//! A service behind TLS, with a certificate of an authority that the machine may or may not trust.

use std::process::Command;

use presence_tests::{Authority, Server, TlsFront};

use super::{World, command, said, watch::Watch};

/// `presence`, which trusts nobody but this authority.
fn trusting(authority: &Authority, url: &str, arguments: &[&str]) -> Command {
    let mut command = command(url, arguments);
    command.env("SSL_CERT_FILE", authority.certificate());
    command
}

#[tokio::test]
async fn a_watch_over_tls_shows_changes_and_is_resumed() {
    let (mut world, authority) = (World::new().await, Authority::new());
    let front = TlsFront::start(&authority, world.server.address()).await;
    let mut watch = Watch::spawn(trusting(&authority, &front.url(), &["watch", "alice"]));
    assert_eq!(watch.line().await, "alice OFFLINE");
    world.connect("alice", "phone").await;
    assert_eq!(watch.line().await, "alice OFFLINE → ONLINE");

    let address = world.server.address().to_owned();
    world.server.kill();
    let lost = watch.err.next_line().await.unwrap().unwrap();
    assert!(lost.ends_with("trying again"), "{lost}");
    let (redis, nats) = (world.redis.url(), world.nats.url());
    let variables = [("PRESENCE_REDIS_URL", &*redis), ("PRESENCE_NATS_URL", &*nats), ("PRESENCE_BIND", &*address)];
    world.server = Server::start(&variables);
    let state = serde_json::json!({"player_id": "alice", "state": "IN_QUEUE"});
    assert_eq!(world.server.post("/presence/state", state).await.status, 200);
    assert_eq!(watch.line().await, "alice ONLINE → IN_QUEUE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_named_as_the_reason() {
    let world = World::new().await;
    let front = TlsFront::start(&Authority::new(), world.server.address()).await;
    let stranger = Authority::new();
    for arguments in [&["watch", "alice"][..], &["get", "alice"]] {
        let said = said(&mut trusting(&stranger, &front.url(), arguments));
        assert_eq!((said.status, &*said.out), (Some(1), ""), "{said:?}");
        let reason = format!("presence: {} cannot be reached: invalid peer certificate: ", front.url());
        assert!(said.err.starts_with(&reason), "{said:?}");
        assert!(said.err.contains("SSL_CERT_FILE") && !said.err.contains("Is it running"), "{said:?}");
    }
}
