//! The scripts on a real Redis: raw keys, replies, lifetimes.

mod connections;
mod healing;
mod other_types;
mod reads;
mod replies;
mod shared;
mod states;
mod tombstones;

use std::time::Duration;

use presence::{
    PresenceError, PresenceService,
    model::{Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{RedisServer, connection, player, service};
use redis::AsyncTypedCommands as _;
use serde_json::Value;

const TTL: u64 = 45_000;

/// A Redis and a service on it, with the calls that tests make most.
struct Fixture {
    redis: RedisServer,
    presence: PresenceService,
    trace: TraceContext,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let presence = service(&redis, variables);
        Self {
            redis,
            presence,
            trace: TraceContext::new_root(),
        }
    }

    async fn connect(&self, id: &str) -> u32 {
        self.presence
            .connect(&connection("alice", id), &self.trace)
            .await
            .unwrap()
            .connection_count
    }

    async fn heartbeat(&self, id: &str) -> Result<u32, PresenceError> {
        Ok(self
            .presence
            .heartbeat(&connection("alice", id), &self.trace)
            .await?
            .connection_count)
    }

    async fn disconnect(&self, id: &str, reason: Reason) -> State {
        self.presence
            .disconnect(&connection("alice", id), reason, &self.trace)
            .await
            .unwrap()
            .state
    }

    async fn set_state(&self, state: State) -> Result<State, PresenceError> {
        Ok(self
            .presence
            .set_state(&player("alice"), state, &self.trace)
            .await?
            .state)
    }

    async fn state(&self) -> State {
        self.presence
            .presences(&[player("alice")], false)
            .await
            .unwrap()
            .presences[0]
            .state
    }

    async fn record(&self) -> Option<Value> {
        let record = self
            .redis
            .connection()
            .await
            .get("presence:alice")
            .await
            .unwrap();
        record.map(|json| serde_json::from_str(&json).unwrap())
    }

    async fn past(&self) -> String {
        self.redis
            .connection()
            .await
            .get("{presence:alice}:past")
            .await
            .unwrap()
            .unwrap()
    }

    async fn pttl(&self, key: &str) -> i64 {
        redis::cmd("PTTL")
            .arg(key)
            .query_async(&mut self.redis.connection().await)
            .await
            .unwrap()
    }

    async fn advance_clock(&self, seconds: u64) {
        self.redis.advance_clock(Duration::from_secs(seconds)).await;
    }
}
