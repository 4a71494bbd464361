//! A service behind TLS, with a certificate of an authority that is trusted or not.

use std::process::Command;

use presence_tests::{Authority, Server, TlsFront};

use super::{Fixture, command, finish, watch::Watch};

/// `presence`, which trusts only this authority.
fn trusting(authority: &Authority, url: &str, arguments: &[&str]) -> Command {
    let mut command = command(url, arguments);
    command.env("SSL_CERT_FILE", authority.certificate());
    command
}

#[tokio::test]
async fn a_watch_over_tls_shows_changes_and_is_resumed() {
    let mut fixture = Fixture::new().await;
    let authority = Authority::new();
    let front = TlsFront::start(&authority, fixture.server.address()).await;
    let mut watch = Watch::spawn(trusting(&authority, &front.url(), &["watch", "alice"]));
    assert_eq!(watch.line().await, "alice OFFLINE");
    fixture.connect("alice", "phone").await;
    assert_eq!(watch.line().await, "alice OFFLINE → ONLINE");

    let address = fixture.server.address().to_owned();
    fixture.server.kill();
    let lost = watch.err.next_line().await.unwrap().unwrap();
    assert!(lost.ends_with("trying again"), "{lost}");
    let redis = fixture.redis.url();
    let nats = fixture.nats.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis),
        ("PRESENCE_NATS_URL", &*nats),
        ("PRESENCE_BIND", &*address),
    ];
    fixture.server = Server::start(&variables);
    let state = serde_json::json!({"player_id": "alice", "state": "IN_QUEUE"});
    assert_eq!(
        fixture.server.post("/presence/state", state).await.status,
        200
    );
    assert_eq!(watch.line().await, "alice ONLINE → IN_QUEUE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_named_as_the_reason() {
    let fixture = Fixture::new().await;
    let front = TlsFront::start(&Authority::new(), fixture.server.address()).await;
    let stranger = Authority::new();
    for arguments in [&["watch", "alice"][..], &["get", "alice"]] {
        let finished = finish(&mut trusting(&stranger, &front.url(), arguments));
        assert_eq!(
            (finished.status, &*finished.out),
            (Some(1), ""),
            "{finished:?}"
        );
        let reason = format!(
            "presence: {} cannot be reached: invalid peer certificate: ",
            front.url()
        );
        assert!(finished.err.starts_with(&reason), "{finished:?}");
        assert!(
            finished.err.contains("SSL_CERT_FILE") && !finished.err.contains("Is it running"),
            "{finished:?}"
        );
    }
}
