//! A Redis that loads its data.

use std::time::Duration;

use presence::model::State;
use presence_tests::RedisServer;

use super::{Service, play};

/// Enough keys to be loading for a while.
const KEYS: usize = 200;

#[tokio::test]
async fn a_redis_that_is_loading_is_503_and_loaded_it_is_used_again() {
    let mut redis = RedisServer::start().await;
    play(&redis, State::Away).await;
    for n in 0..KEYS {
        let () = redis
            .ask(&["SET", &format!("filler{n}"), &"x".repeat(1_024)])
            .await;
    }
    let url = [("PRESENCE_REDIS_URL", redis.url())];
    let server = Service::server(&url);
    let functions = Service::functions(&url).await;
    for service in [&server, &functions] {
        assert_eq!(service.read().await.1["state"], "AWAY");
    }
    redis.reload_slowly(Duration::from_millis(20)).await;
    for service in [&server, &functions] {
        let mut was_loading = false;
        loop {
            let (status, body) = service.read().await;
            let detail = body["detail"].as_str().unwrap_or_default();
            match status {
                200 => {
                    assert_eq!(body["state"], "AWAY", "never OFFLINE");
                    break;
                }
                status => assert_eq!(status, 503, "{body}"),
            }
            was_loading |= detail.contains("loading");
        }
        assert!(
            was_loading || matches!(service, Service::Functions { .. }),
            "the detail says that it is loading"
        );
    }
}
