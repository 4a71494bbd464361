//! Expiry to the millisecond, on a clock that stands still. A lease counts through the millisecond
//! of its expiry.

use std::io::{Read as _, Write as _};

use presence::{
    PresenceError, PresenceService, Sweeper,
    events::RelaySignal,
    model::{Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{RedisServer, Server, VirtualClock, app, connection, player};
use redis::AsyncTypedCommands as _;
use serde_json::json;

const TTL: u64 = 45_000;

struct Fixture {
    redis: RedisServer,
    clock: VirtualClock,
    presence: PresenceService,
    sweeper: Sweeper,
    trace: TraceContext,
}

impl Fixture {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let clock = VirtualClock::new();
        let redis = RedisServer::start_with_clock(&clock).await;
        let app = app(&redis, variables);
        let sweeper = app.sweeper(RelaySignal::default());
        let presence = app.presence_with_relay(RelaySignal::default());
        Self {
            redis,
            clock,
            presence,
            sweeper,
            trace: TraceContext::new_root(),
        }
    }

    async fn connect(&self, id: &str) -> u64 {
        self.presence
            .connect(&connection("alice", id), &self.trace)
            .await
            .unwrap()
            .version
            .unwrap()
    }

    async fn heartbeat(&self, id: &str) -> Result<u32, PresenceError> {
        Ok(self
            .presence
            .heartbeat(&connection("alice", id), &self.trace)
            .await?
            .connection_count)
    }

    async fn disconnect(&self, id: &str) -> (State, u32) {
        let reason = Reason::Quit;
        let presence = self
            .presence
            .disconnect(&connection("alice", id), reason, &self.trace)
            .await
            .unwrap();
        (presence.state, presence.connection_count)
    }

    async fn sign_out(&self) {
        self.presence
            .set_state(&player("alice"), State::Offline, &self.trace)
            .await
            .unwrap();
    }

    async fn count(&self) -> u32 {
        self.presence
            .presences(&[player("alice")], false)
            .await
            .unwrap()
            .presences[0]
            .connection_count
    }

    async fn pttl(&self) -> i64 {
        redis::cmd("PTTL")
            .arg("presence:alice")
            .query_async(&mut self.redis.connection().await)
            .await
            .unwrap()
    }

    async fn event_ids(&self) -> Vec<String> {
        let entries = self
            .redis
            .connection()
            .await
            .xrange_all("presence:{all}:outbox")
            .await
            .unwrap()
            .ids;
        let parse_id = |event: &str| {
            serde_json::from_str::<serde_json::Value>(event).unwrap()["id"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        entries
            .iter()
            .map(|entry| parse_id(&entry.get::<String>("event").unwrap()))
            .collect()
    }
}

fn is_closed(result: Result<u32, PresenceError>) -> bool {
    matches!(result, Err(PresenceError::ConnectionClosed))
}

#[tokio::test]
async fn a_lease_counts_through_the_millisecond_of_its_expiry_for_reads_and_calls_alike() {
    for (offset, count) in [(0, 2), (1, 1)] {
        let mut test = Fixture::new(&[]).await;
        test.connect("phone").await;
        test.clock.advance(1_000);
        test.connect("laptop").await;
        test.clock.advance(TTL - 1_000 + offset);
        assert_eq!(test.count().await, count);
        assert_eq!(test.heartbeat("laptop").await.unwrap(), count);
    }
}

#[tokio::test]
async fn a_disconnect_in_the_last_millisecond_of_a_lease_ends_it() {
    let mut test = Fixture::new(&[]).await;
    test.connect("c1").await;
    test.clock.advance(TTL);
    assert_eq!(test.count().await, 1);
    assert_eq!(test.disconnect("c1").await, (State::Offline, 0));
    assert!(is_closed(test.heartbeat("c1").await));
}

/// Redis 7.0 decides whether keys have expired by the start time of a script, but reads the clock
/// again for `TIME` and for relative expiries.
#[tokio::test]
async fn a_clock_that_advances_within_a_script_does_not_reopen_a_closed_connection() {
    let mut test = Fixture::new(&[]).await;
    for tenth in 0..60 {
        let id = format!("c{tenth}");
        test.clock.advance(1);
        test.connect(&id).await;
        // Starts some milliseconds before the lease's expiry, and advances by 0.1 ms per reading of
        // the clock.
        let began_at = test.clock.now() + TTL - 5;
        test.clock
            .run_from(began_at + tenth / 10, tenth % 10 * 100, 100);
        let (state, count) = test.disconnect(&id).await;
        assert_eq!((state, count), (State::Offline, 0), "{tenth}");
        assert!(is_closed(test.heartbeat(&id).await), "{tenth}");
        test.clock.set(began_at + 1_000);
        assert_eq!(test.count().await, 0, "{tenth}");
    }
}

/// Sends two calls over one connection, which the server handles in order, within one millisecond
/// of Redis's clock.
#[tokio::test]
async fn a_heartbeat_after_its_disconnect_is_refused_in_the_last_millisecond_of_the_lease() {
    let mut clock = VirtualClock::new();
    let redis = RedisServer::start_with_clock(&clock).await;
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_TTL", "60ms"),
    ]);
    for round in 0..20 {
        let body = json!({ "player_id": "alice", "connection_id": format!("c{round}") });
        assert_eq!(
            server.post("/presence/connect", body.clone()).await.status,
            200
        );
        clock.advance(60);
        let build_request = |path: &str, end: &str| {
            let length = body.to_string().len();
            format!(
                "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n{end}\r\n{body}",
                server.address()
            )
        };
        let calls = build_request("/presence/disconnect", "")
            + &build_request("/presence/heartbeat", "Connection: close\r\n");
        let address = server.address().to_owned();
        let exchanges = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(calls.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        });
        let responses = exchanges.await.unwrap();
        let statuses: Vec<_> = responses
            .match_indices("HTTP/1.1 ")
            .map(|(at, _)| &responses[at + 9..at + 12])
            .collect();
        assert_eq!(statuses, ["200", "410"], "round {round}: {responses}");
        clock.advance(1);
    }
}

#[tokio::test]
async fn a_disconnect_of_a_lapsed_lease_removes_it_from_the_record() {
    let mut test = Fixture::new(&[]).await;
    test.connect("phone").await;
    test.clock.advance(1_000);
    test.connect("laptop").await;
    let before = test
        .presence
        .presences(&[player("alice")], false)
        .await
        .unwrap()
        .presences
        .remove(0);
    test.clock.advance(TTL - 999);
    assert_eq!(test.disconnect("phone").await, (State::Online, 1));
    let after = test
        .presence
        .presences(&[player("alice")], false)
        .await
        .unwrap()
        .presences
        .remove(0);
    assert_eq!(
        (after.last_seen, after.version),
        (before.last_seen, before.version),
        "the lease did not count any more"
    );
    assert_eq!(test.pttl().await, 999);
    // It does not count again, even if the clock is set back.
    test.clock.set(test.clock.now() - 10_000);
    assert_eq!(test.count().await, 1);
    assert!(is_closed(test.heartbeat("phone").await));
}

#[tokio::test]
async fn signing_out_closes_the_connections_of_a_record_that_has_expired() {
    for is_swept in [false, true] {
        let mut test = Fixture::new(&[]).await;
        test.connect("c1").await;
        test.connect("c2").await;
        test.clock.advance(TTL + 1);
        if is_swept {
            assert_eq!(test.sweeper.pass().await.unwrap().expired, 1);
        }
        test.sign_out().await;
        for id in ["c1", "c2"] {
            assert!(
                is_closed(test.heartbeat(id).await),
                "{id}, swept: {is_swept}"
            );
        }
        assert_eq!(test.count().await, 0);
    }
}

#[tokio::test]
async fn signing_out_closes_lapsed_leases_beside_live_ones() {
    let mut test = Fixture::new(&[]).await;
    test.connect("phone").await;
    test.clock.advance(1_000);
    test.connect("laptop").await;
    test.clock.advance(TTL - 999);
    test.sign_out().await;
    assert!(is_closed(test.heartbeat("phone").await));
    assert!(is_closed(test.heartbeat("laptop").await));
}

#[tokio::test]
async fn a_version_is_not_reused_when_the_retention_ended_before_the_sweep() {
    let variables = [
        ("PRESENCE_LAST_SEEN_RETENTION", "1s"),
        ("PRESENCE_NATS_URL", "nats://127.0.0.1:1"),
    ];
    let mut test = Fixture::new(&variables).await;
    test.connect("c1").await;
    test.clock.advance(TTL + 60_000);
    assert_eq!(test.sweeper.pass().await.unwrap().expired, 1);
    let history = test
        .presence
        .presences(&[player("alice")], true)
        .await
        .unwrap()
        .presences
        .remove(0);
    assert_eq!(
        (history.last_seen, history.version),
        (None, None),
        "the retention has ended"
    );
    test.connect("c2").await; // in the same millisecond
    let mut ids = test.event_ids().await;
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted());
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[tokio::test]
async fn after_the_clock_is_set_back_no_record_lives_longer_than_the_ttl() {
    let back = 30_000;
    let mut test = Fixture::new(&[]).await;
    for id in ["c1", "c2", "c3"] {
        test.connect(id).await;
    }
    test.clock.set(test.clock.now() - back);
    test.presence
        .set_state(&player("alice"), State::Away, &test.trace)
        .await
        .unwrap();
    assert_eq!(test.pttl().await, TTL as i64);
    test.clock.set(test.clock.now() - back);
    assert_eq!(test.disconnect("c1").await, (State::Away, 2));
    assert_eq!(test.pttl().await, TTL as i64);
    test.clock.set(test.clock.now() - back);
    assert_eq!(test.heartbeat("c2").await.unwrap(), 2);
    assert_eq!(test.pttl().await, TTL as i64);
    test.clock.advance(TTL + 1);
    assert_eq!(test.count().await, 0);
}

#[tokio::test]
async fn a_tombstone_survives_a_clock_that_is_set_back_and_corrected() {
    let mut test = Fixture::new(&[]).await;
    test.disconnect("c1").await;
    let closed_at = test.clock.now();
    test.clock.set(closed_at - 60_000);
    test.disconnect("c2").await;
    test.disconnect("c1").await;
    test.clock.set(closed_at + 2 * TTL);
    assert!(is_closed(test.heartbeat("c1").await));
    test.clock.advance(1);
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);
}
