//! Tombstones: the closed connections of a player, however many there are.

use presence::model::{Connection, Reason};
use presence_tests::connection;
use redis::AsyncTypedCommands as _;

use super::Fixture;

const CLOSED: &str = "{presence:alice}:closed";

impl Fixture {
    async fn disconnect_unknown(&self, ids: impl Iterator<Item = usize>) {
        let connections: Vec<Connection> = ids
            .map(|id| connection("alice", &format!("u{id}")))
            .collect();
        let count = connections.len();
        let batch = self
            .presence
            .disconnect_batch(connections, Reason::Quit, &self.trace)
            .await
            .unwrap();
        assert_eq!(batch.accepted, count);
    }

    async fn tombstones(&self) -> usize {
        self.redis.connection().await.zcard(CLOSED).await.unwrap()
    }
}

#[tokio::test]
async fn a_call_removes_few_forgotten_tombstones_however_many_there_are() {
    let test = Fixture::new().await;
    for chunk in 0..5 {
        test.disconnect_unknown(chunk * 1_000..(chunk + 1) * 1_000)
            .await;
    }
    test.advance_clock(60).await;
    test.disconnect_unknown(5_000..5_001).await;
    assert_eq!(
        test.tombstones().await,
        5_001,
        "all of them are remembered for twice the TTL"
    );
    test.advance_clock(31).await;
    test.disconnect_unknown(5_001..5_002).await;
    assert_eq!(test.tombstones().await, 5_001 - 2 + 1);
    test.disconnect_unknown(6_000..6_100).await;
    assert_eq!(
        test.tombstones().await,
        5_000 - 100,
        "two for each new one: they come to an end"
    );
    test.advance_clock(91).await;
    assert_eq!(test.tombstones().await, 0);
}

#[tokio::test]
async fn signing_out_a_player_with_many_connections_closes_them_all() {
    let test = Fixture::with(&[("PRESENCE_MAX_CONNECTIONS", "256")]).await;
    let connections: Vec<_> = (0..256)
        .map(|id| connection("alice", &format!("c{id}")))
        .collect();
    test.presence
        .connect_batch(connections.clone(), &test.trace)
        .await
        .unwrap();
    test.set_state(presence::model::State::Offline)
        .await
        .unwrap();
    assert_eq!(test.tombstones().await, 256);
    let batch = test
        .presence
        .heartbeat_batch(connections, &test.trace)
        .await
        .unwrap();
    assert_eq!((batch.accepted, batch.closed.len()), (0, 256));
}

#[tokio::test]
async fn a_lower_limit_closes_all_that_are_too_many() {
    let test = Fixture::with(&[("PRESENCE_MAX_CONNECTIONS", "5")]).await;
    for id in 0..5 {
        test.connect(&format!("c{id}")).await;
    }
    let lower = presence_tests::service(&test.redis, &[("PRESENCE_MAX_CONNECTIONS", "2")]);
    let presence = lower
        .connect(&connection("alice", "c5"), &test.trace)
        .await
        .unwrap();
    assert_eq!(presence.connection_count, 2);
    assert_eq!(test.tombstones().await, 4);
    assert_eq!(
        test.heartbeat("c4").await.unwrap(),
        2,
        "the oldest went first"
    );
}
