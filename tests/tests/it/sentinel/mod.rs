//! Redis by Sentinel: the primary is the node that the Sentinels name.

mod disagreement;
mod failover;
mod secured;
mod unavailable;

use std::{fmt::Debug, time::Duration};

use presence::{model::State, telemetry::TraceContext};
use presence_tests::{RedisSentinels, app_with, connection, player};

use crate::half_dead::{Service, borrowed, heal};

/// A step of the time within which the service finds a new primary. On a busy machine a step takes
/// longer, and so does the work of the service.
const STEP: Duration = Duration::from_millis(50);

/// The steps of 5 s.
const STEPS: u32 = 100;

/// A primary, a replica and Sentinels; alice is in a match. And the service: its server, and
/// functions that are warm.
struct Fixture {
    redis: RedisSentinels,
    services: [Service; 2],
}

impl Fixture {
    async fn start() -> Self {
        let redis = RedisSentinels::start().await;
        set_state(&redis, State::InMatch).await;
        redis.await_replica().await;
        let variables = redis.variables();
        let services = [
            Service::server(&variables),
            Service::functions(&variables).await,
        ];
        let fixture = Self { redis, services };
        fixture.heal("the start").await;
        fixture
    }

    /// Sends heartbeats and reads until both work everywhere, and checks that alice is never
    /// reported OFFLINE.
    async fn heal(&self, fault: impl Debug) {
        for service in &self.services {
            heal(service, &fault).await;
        }
    }

    /// Waits until the replica is the primary, under heartbeats and reads all the while; then until
    /// both work, 5 s at most.
    async fn heal_at_new_primary(&self, fault: impl Debug) {
        let [server, functions] = &self.services;
        tokio::select! {
            () = self.redis.await_primary(1) => {}
            () = never_offline(server) => {}
            () = never_offline(functions) => {}
        }
        let healed = async { tokio::join!(heal(server, &fault), heal(functions, &fault)) };
        within_promise(&fault, healed).await;
        assert_eq!(self.redis.ask(1, &["EXISTS", "presence:alice"]).await, "1");
    }
}

/// Waits for a service that finds the new primary, as long as docs/operations.md promises.
async fn within_promise<T>(fault: impl Debug, found: impl Future<Output = T>) -> T {
    let limit = async {
        for _ in 0..STEPS {
            tokio::time::sleep(STEP).await;
        }
    };
    tokio::select! {
        result = found => result,
        () = limit => panic!("{fault:?}: the new primary was not found within {:?}", STEPS * STEP),
    }
}

/// Sends heartbeats and reads without end. They return the state, or fail.
async fn never_offline(service: &Service) {
    loop {
        for (status, body) in [service.heartbeat().await, service.read().await] {
            assert!(
                status == 503 || (status == 200 && body["state"] == "IN_MATCH"),
                "{status} {body}"
            );
        }
    }
}

/// Connects alice by a process of its own, and sets her state.
async fn set_state(redis: &RedisSentinels, state: State) {
    let service = app_with(&borrowed(&redis.variables())).presence();
    let trace = TraceContext::new_root();
    service
        .heartbeat(&connection("alice", "c1"), &trace)
        .await
        .unwrap();
    service
        .set_state(&player("alice"), state, &trace)
        .await
        .unwrap();
}
