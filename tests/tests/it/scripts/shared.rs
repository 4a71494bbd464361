//! Heartbeats at the same time: they share script calls, and each gets its own result.

use std::time::{Duration, Instant};

use futures_util::{FutureExt as _, future::join_all};
use presence::{
    PresenceError, StoreError,
    model::{Connection, Presence, Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{connection, connections};
use redis::{AsyncTypedCommands as _, FromRedisValue as _};

use super::Fixture;

/// The number of connections per script call.
const FIFTY: usize = 50;

impl Fixture {
    async fn heartbeat_at_once(
        &self,
        connections: &[Connection],
    ) -> Vec<Result<Presence, PresenceError>> {
        join_all(
            connections
                .iter()
                .map(|connection| self.presence.heartbeat(connection, &self.trace)),
        )
        .await
    }
}

#[tokio::test]
async fn each_heartbeat_gets_its_own_result() {
    let test = Fixture::new().await;
    let connections = ["known", "restored", "closed", "early", "phone", "laptop"].map(|id| {
        let player = if ["phone", "laptop"].contains(&id) {
            "both"
        } else {
            id
        };
        connection(player, id)
    });
    let [known, _, closed, early, phone, laptop] = &connections;
    for connection in [known, closed, phone, laptop] {
        test.presence
            .connect(connection, &test.trace)
            .await
            .unwrap();
    }
    test.presence
        .set_state(&known.player_id, State::InMatch, &test.trace)
        .await
        .unwrap();
    test.presence
        .disconnect(closed, Reason::Quit, &test.trace)
        .await
        .unwrap();
    test.presence
        .disconnect(early, Reason::Quit, &test.trace)
        .await
        .unwrap();

    let mut outcomes = Vec::new();
    for (connection, result) in connections
        .iter()
        .zip(test.heartbeat_at_once(&connections).await)
    {
        outcomes.push(match result {
            Ok(presence) => {
                assert_eq!(presence.player_id, connection.player_id);
                Some((presence.state, presence.connection_count))
            }
            Err(PresenceError::ConnectionClosed) => None,
            Err(error) => panic!("{error}"),
        });
    }
    let expect_online = |count| Some((State::Online, count));
    let in_match = Some((State::InMatch, 1));
    assert_eq!(
        outcomes,
        [
            in_match,
            expect_online(1),
            None,
            None,
            expect_online(2),
            expect_online(2)
        ]
    );
}

#[tokio::test]
async fn an_event_continues_the_trace_of_its_own_caller() {
    let test = Fixture::with(&[("PRESENCE_NATS_URL", "nats://127.0.0.1:1")]).await;
    let connections = connections(FIFTY);
    let traces: Vec<_> = connections
        .iter()
        .map(|_| TraceContext::new_root())
        .collect();
    let heartbeats = connections
        .iter()
        .zip(&traces)
        .map(|(connection, trace)| test.presence.heartbeat(connection, trace));
    for result in join_all(heartbeats).await {
        result.unwrap();
    }

    let outbox = test
        .redis
        .connection()
        .await
        .xrange_all("presence:{all}:outbox")
        .await
        .unwrap();
    assert_eq!(outbox.ids.len(), connections.len());
    for entry in outbox.ids {
        let read_field = |name: &str| String::from_redis_value(entry.map[name].clone()).unwrap();
        let is_of_connection = |position: &usize| {
            read_field("event").contains(&format!(
                r#""player_id":"{}""#,
                connections[*position].player_id
            ))
        };
        let position = (0..connections.len()).find(is_of_connection).unwrap();
        assert_eq!(
            read_field("traceparent")[..35],
            traces[position].traceparent()[..35]
        );
    }
}

#[tokio::test]
async fn a_redis_that_forgot_the_script_learns_it_again() {
    let test = Fixture::new().await;
    test.presence
        .connect_batch(connections(FIFTY), &test.trace)
        .await
        .unwrap();
    redis::cmd("SCRIPT")
        .arg("FLUSH")
        .exec_async(&mut test.redis.connection().await)
        .await
        .unwrap();
    for result in test.heartbeat_at_once(&connections(FIFTY)).await {
        assert_eq!(result.unwrap().connection_count, 1);
    }
}

#[tokio::test]
async fn a_redis_that_hangs_fails_all_of_them_and_delays_none_afterwards() {
    let test = Fixture::with(&[("PRESENCE_STORE_TIMEOUT", "200ms")]).await;
    test.presence
        .connect_batch(connections(FIFTY), &test.trace)
        .await
        .unwrap();
    test.redis.pause();
    for result in test.heartbeat_at_once(&connections(FIFTY)).await {
        assert!(
            matches!(result, Err(PresenceError::Store(StoreError::Timeout(_)))),
            "{result:?}"
        );
    }
    test.redis.resume();
    for result in test.heartbeat_at_once(&connections(FIFTY)).await {
        assert_eq!(result.unwrap().connection_count, 1);
    }
}

#[tokio::test]
async fn a_heartbeat_that_is_alone_waits_only_once_for_a_redis_that_hangs() {
    let test = Fixture::with(&[("PRESENCE_STORE_TIMEOUT", "4s")]).await;
    test.redis.pause();
    let began = Instant::now();
    test.heartbeat("c1").await.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(2 * 4),
        "{:?}",
        began.elapsed()
    );
    test.redis.resume();
}

#[tokio::test]
async fn one_more_than_a_call_carries_gets_a_result_as_well() {
    let test = Fixture::new().await;
    let connections = connections(FIFTY + 1);
    test.presence
        .connect_batch(connections.clone(), &test.trace)
        .await
        .unwrap();
    for result in test.heartbeat_at_once(&connections).await {
        assert_eq!(result.unwrap().connection_count, 1);
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_fails_no_other_call() {
    let test = Fixture::new().await;
    test.presence
        .connect_batch(connections(FIFTY), &test.trace)
        .await
        .unwrap();
    let connections = connections(FIFTY);
    let mut heartbeats: Vec<_> = connections
        .iter()
        .map(|connection| Box::pin(test.presence.heartbeat(connection, &test.trace)))
        .collect();
    for heartbeat in &mut heartbeats {
        assert!(heartbeat.as_mut().now_or_never().is_none());
    }
    drop(heartbeats.remove(0)); // the one that made the others wait
    for result in join_all(heartbeats).await {
        assert_eq!(result.unwrap().connection_count, 1);
    }
}

#[tokio::test]
async fn the_same_heartbeat_twice_gets_two_results() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let twice = [connection("alice", "c1"), connection("alice", "c1")];
    let presences: Vec<_> = test
        .heartbeat_at_once(&twice)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(presences[0], presences[1]);
    assert_eq!(presences[0].connection_count, 1);
}

#[tokio::test]
async fn a_key_of_another_type_fails_its_own_caller_only() {
    let test = Fixture::new().await;
    test.presence
        .connect_batch(connections(FIFTY), &test.trace)
        .await
        .unwrap();
    let mut raw = test.redis.connection().await;
    raw.del("presence:p7").await.unwrap();
    raw.set("{presence:p7}:closed", "no sorted set")
        .await
        .unwrap();
    raw.del("{presence:p8}:past").await.unwrap();
    raw.rpush("{presence:p8}:past", "a list").await.unwrap(); // which the next heartbeat replaces
    for (n, result) in test
        .heartbeat_at_once(&connections(FIFTY))
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(result.is_ok(), n != 7, "p{n}: {result:?}");
    }
}
