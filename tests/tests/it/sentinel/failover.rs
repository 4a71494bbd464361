//! Failovers: the service finds the new primary by itself.

use std::time::Duration;

use presence::model::State;
use serde_json::json;

use super::{Fixture, set_state, within_promise};
use crate::half_dead::Service;

#[tokio::test]
async fn a_failover_by_command_is_followed() {
    let fixture = Fixture::start().await;
    fixture.redis.fail_over().await;
    fixture.heal_at_new_primary("SENTINEL FAILOVER").await;
}

#[tokio::test]
async fn a_primary_that_is_killed_is_replaced() {
    let mut fixture = Fixture::start().await;
    fixture.redis.kill(0);
    fixture.heal_at_new_primary("kill -9").await;
    // It comes back without a key, and as a primary until a Sentinel has demoted it.
    fixture.redis.restart(0).await;
    fixture.heal("the return").await;
    assert_eq!(
        fixture.redis.ask(0, &["EXISTS", "presence:alice"]).await,
        "0",
        "the old primary gets no calls"
    );
}

#[tokio::test]
async fn a_primary_that_hangs_is_replaced() {
    let fixture = Fixture::start().await;
    fixture.redis.pause(0);
    fixture.heal_at_new_primary("SIGSTOP").await;
    fixture.redis.resume(0);
    fixture.heal("SIGCONT").await;
}

/// After a failover and back, without a restart of any program.
#[tokio::test]
async fn a_second_failover_is_followed_as_well() {
    let fixture = Fixture::start().await;
    fixture.redis.fail_over().await;
    fixture.heal_at_new_primary("the first").await;
    fixture.redis.fail_over().await;
    fixture.redis.await_primary(0).await;
    fixture.heal("the second").await;
}

/// A node that hung says that it is a primary until a Sentinel demotes it, 8 s after it goes on at
/// the earliest.
#[tokio::test]
async fn an_old_primary_that_goes_on_is_not_believed() {
    let Fixture {
        redis,
        services: [server, functions],
    } = Fixture::start().await;
    freeze(&server);
    freeze(&functions);
    redis.pause(0);
    redis.await_primary(1).await;
    for sentinel in 0..3 {
        // It is demoted after four of these periods.
        redis
            .ask_sentinel(sentinel, &["SENTINEL", "DEBUG", "PUBLISH-PERIOD", "60000"])
            .await;
    }
    set_state(&redis, State::Away).await;
    redis.resume(0);
    tokio::time::sleep(Duration::from_millis(2_100)).await; // a connection is trusted for 2 s of the host's clock
    assert!(redis.ask(0, &["ROLE"]).await.starts_with("master"));
    thaw(&server);
    thaw(&functions);
    within_promise("SIGCONT", async {
        for service in [&server, &functions] {
            await_away(service).await;
        }
    })
    .await;
    assert!(redis.ask(0, &["ROLE"]).await.starts_with("master"));
}

/// Reads until the new primary responds.
async fn await_away(service: &Service) {
    loop {
        let (status, body) = service.read().await;
        assert!(
            status == 503 || body["state"] != "OFFLINE",
            "{status} {body}"
        );
        if (status, &body["state"]) == (200, &json!("AWAY")) {
            return;
        }
        // A thread of the server may read a last time before it looks at the clock.
        assert!(
            status == 503 || matches!(service, Service::Server(_)),
            "{status} {body}"
        );
    }
}

fn freeze(service: &Service) {
    match service {
        Service::Server(server) => server.pause(),
        Service::Functions {
            heartbeat,
            get_state,
        } => {
            heartbeat.freeze();
            get_state.freeze();
        }
    }
}

fn thaw(service: &Service) {
    match service {
        Service::Server(server) => server.resume(),
        Service::Functions {
            heartbeat,
            get_state,
        } => {
            heartbeat.thaw();
            get_state.thaw();
        }
    }
}
