//! Processes that only read notice that their node was demoted.

use std::time::Duration;

use presence::model::State;
use presence_tests::{MovingEndpoint, RedisServer};

use super::{Service, play};

/// Far longer than the interval at which a connection is checked: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Reads until the state is AWAY. What is read before is what the demoted node last knew, or
/// nothing.
async fn await_away(service: &Service) {
    let found = async {
        loop {
            let (status, body) = service.read().await;
            assert!(matches!(status, 200 | 503), "{status} {body}");
            if status == 200 && body["state"] == "AWAY" {
                return;
            }
            assert!(status == 503 || body["state"] == "ONLINE", "{body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, found)
        .await
        .expect("the new primary is read");
}

#[tokio::test]
async fn a_process_that_only_reads_leaves_a_demoted_node() {
    let old = RedisServer::start().await;
    let new = RedisServer::start().await;
    let endpoint = MovingEndpoint::start(old.port()).await;
    play(&old, State::Online).await;
    let url = [("PRESENCE_REDIS_URL", endpoint.url())];
    let server = Service::server(&url);
    let functions = Service::functions(&url).await;
    for service in [&server, &functions] {
        assert_eq!(service.read().await.1["state"], "ONLINE");
    }
    // A replica that has lost its primary: it goes on replying, with what it last knew.
    let () = old.ask(&["REPLICAOF", "127.0.0.1", "1"]).await;
    play(&new, State::Away).await;
    endpoint.move_to(new.port());
    for service in [&server, &functions] {
        await_away(service).await;
    }
}

#[tokio::test]
async fn a_replica_is_never_read_even_if_it_is_all_there_is() {
    let old = RedisServer::start().await;
    let new = RedisServer::start().await;
    play(&old, State::Online).await;
    new.replicate(&old).await;
    let service = Service::server(&[("PRESENCE_REDIS_URL", new.url())]);
    for _ in 0..3 {
        let (status, body) = service.read().await;
        assert_eq!(
            (status, &body["type"]),
            (503, &"urn:presence:store-unavailable".into())
        );
        assert!(
            body["detail"].as_str().unwrap().contains("read-only"),
            "{body}"
        );
    }
    let () = new.ask(&["REPLICAOF", "NO", "ONE"]).await;
    while service.read().await.0 != 200 {}
    assert_eq!(service.read().await.1["state"], "ONLINE");
}
