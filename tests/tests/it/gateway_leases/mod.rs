//! Leases of gateways: a crash is one fact, a planned restart is invisible.

mod ending;
mod holding;
mod moving;
mod server;

use std::time::Duration;

use presence::{
    events::RelaySignal,
    model::{Activity, Connection, GatewayId, GatewayStatus, OwnedConnection, Reason, State},
    runtime::App,
    telemetry::TraceContext,
};
use presence_tests::{RedisServer, app, player};
use redis::AsyncTypedCommands as _;

const GATEWAY_TTL: Duration = Duration::from_millis(7_500);

/// Past the expiry of a gateway's lease.
const EXPIRY: Duration = Duration::from_secs(8);

fn gateway(id: &str) -> GatewayId {
    GatewayId::parse(id).unwrap()
}

/// A service on a Redis with a clock that tests advance.
struct Fixture {
    redis: RedisServer,
    app: App,
    trace: TraceContext,
}

impl Fixture {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let app = app(&redis, variables);
        Self {
            redis,
            app,
            trace: TraceContext::new_root(),
        }
    }

    async fn renew(&self, id: &str) -> GatewayStatus {
        self.app
            .presence()
            .renew_gateway(&gateway(id))
            .await
            .unwrap()
    }

    async fn leave(&self, id: &str, reason: Reason) -> u64 {
        self.app
            .presence()
            .leave_gateway(&gateway(id), reason, &self.trace)
            .await
            .unwrap()
    }

    async fn connect(&self, connection: &Connection, id: &str) {
        let owned = OwnedConnection {
            connection,
            gateway: Some(&gateway(id)),
        };
        self.app
            .presence()
            .connect(owned, &self.trace)
            .await
            .unwrap();
    }

    async fn heartbeat(&self, connection: &Connection, id: Option<&str>) {
        let id = id.map(gateway);
        let owned = OwnedConnection {
            connection,
            gateway: id.as_ref(),
        };
        self.app
            .presence()
            .heartbeat(owned, &self.trace)
            .await
            .unwrap();
    }

    /// Sweeps gateways; returns the number of leases ended.
    async fn sweep(&self) -> u64 {
        self.app
            .gateway_sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
    }

    /// Lets a time go by in which sweeps do not pause.
    async fn advance_clock(&self, elapsed: Duration) {
        for _ in 0..2 {
            self.redis.advance_clock(elapsed / 2).await;
            if elapsed >= GATEWAY_TTL {
                self.redis
                    .connection()
                    .await
                    .hset("presence:{all}:gateways-seen", "seen", self.now().await)
                    .await
                    .unwrap();
            }
        }
    }

    async fn now(&self) -> u64 {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut self.redis.connection().await)
            .await
            .unwrap();
        seconds * 1_000 + micros / 1_000
    }

    async fn state(&self, id: &str) -> (State, u32) {
        let presence = self
            .app
            .presence()
            .presences(&[player(id)], false)
            .await
            .unwrap()
            .presences
            .remove(0);
        (presence.state, presence.connection_count)
    }

    async fn activities<const N: usize>(&self, ids: [&str; N]) -> [Option<Activity>; N] {
        let read = self
            .app
            .presence()
            .presences(&ids.map(player), false)
            .await
            .unwrap();
        <[_; N]>::try_from(read.presences)
            .unwrap()
            .map(|presence| presence.activity)
    }

    async fn owners(&self) -> Vec<String> {
        self.redis
            .connection()
            .await
            .zrange("presence:{all}:owners", 0, -1)
            .await
            .unwrap()
    }
}

const ONLINE: (State, u32) = (State::Online, 1);
const OFFLINE: (State, u32) = (State::Offline, 0);
