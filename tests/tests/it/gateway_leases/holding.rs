//! No false mass expiry: when the end of leases waits.

use std::time::Duration;

use presence::{events::RelaySignal, model::GatewayStatus};
use presence_tests::connection;
use redis::AsyncTypedCommands as _;

use super::{EXPIRY, Fixture, OFFLINE, ONLINE};

#[tokio::test]
async fn half_of_the_gateways_at_once_are_held_for_one_ttl_and_not_longer() {
    let it = Fixture::new(&[]).await;
    for id in ["g1", "g2", "g3", "g4"] {
        it.renew(id).await;
    }
    it.connect(&connection("alice", "c1"), "g1").await;
    it.connect(&connection("bob", "c2"), "g2").await;
    it.sweep().await;
    it.redis.advance_clock(Duration::from_secs(6)).await;
    it.sweep().await;
    it.renew("g3").await;
    it.renew("g4").await;
    it.redis.advance_clock(Duration::from_secs(2)).await;
    assert_eq!(it.sweep().await, 0, "held");
    assert_eq!(it.renew("g2").await, GatewayStatus::Alive);
    it.redis.advance_clock(Duration::from_secs(5)).await;
    it.renew("g2").await;
    it.renew("g3").await;
    it.renew("g4").await;
    assert_eq!(it.sweep().await, 0, "still held");
    it.redis.advance_clock(Duration::from_secs(3)).await;
    assert_eq!(it.sweep().await, 1, "no longer");
    assert_eq!(
        (it.state("alice").await, it.state("bob").await),
        (OFFLINE, ONLINE)
    );
}

#[tokio::test]
async fn after_a_pause_of_the_sweeps_nothing_ends_for_one_ttl() {
    let it = Fixture::new(&[]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    it.sweep().await;
    it.redis.advance_clock(Duration::from_secs(20)).await;
    for _ in ["one sweeper", "another"] {
        assert_eq!(it.sweep().await, 0);
    }
    it.redis.advance_clock(Duration::from_secs(4)).await;
    assert_eq!(it.sweep().await, 0);
    it.redis.advance_clock(Duration::from_secs(4)).await;
    assert_eq!(it.sweep().await, 1);
    assert_eq!(it.state("alice").await, OFFLINE);
}

#[tokio::test]
async fn a_flush_is_not_an_outage() {
    let it = Fixture::new(&[]).await;
    it.sweep().await;
    redis::cmd("FLUSHALL")
        .exec_async(&mut it.redis.connection().await)
        .await
        .unwrap();
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
    it.connect(&connection("alice", "c1"), "g1").await;
    it.redis.advance_clock(EXPIRY).await;
    assert_eq!(it.sweep().await, 1);
}

#[tokio::test]
async fn connections_that_were_renewed_after_the_gateway_was_lost_stay() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    let bob = connection("bob", "c2");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    it.connect(&bob, "g1").await;
    it.sweep().await;
    // Lost a second ago; its connections have not been ended yet.
    let member = format!("g1!{}!lost!0", it.now().await);
    it.redis
        .connection()
        .await
        .zadd("presence:{all}:gateways-ending", member, 0)
        .await
        .unwrap();
    it.redis.advance_clock(Duration::from_secs(1)).await;
    it.heartbeat(&alice, Some("g1")).await;
    assert_eq!(it.sweep().await, 1);
    assert_eq!(
        (it.state("alice").await, it.state("bob").await),
        (ONLINE, OFFLINE)
    );
}

#[tokio::test]
async fn a_check_that_fails_deletes_only_keys_of_another_type() {
    let it = Fixture::new(&[]).await;
    let mut raw = it.redis.connection().await;
    it.renew("g1").await;
    it.sweep().await;
    let has_sent_eval = async |raw: &mut _| {
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(raw)
            .await
            .unwrap();
        stats.contains("cmdstat_eval:")
    };
    let pass = async || it.app.gateway_sweeper(RelaySignal::default()).pass().await;

    // The scripts are loaded by now, so only deletions send EVAL. The memory is full, which no
    // deletion would change.
    let _: () = it.redis.ask(&["CONFIG", "RESETSTAT"]).await;
    let _: () = it.redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    pass().await.unwrap_err();
    assert!(!has_sent_eval(&mut raw).await);

    let _: () = it.redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    raw.set("presence:{all}:gateways", "by hand").await.unwrap();
    pass().await.unwrap_err();
    assert!(has_sent_eval(&mut raw).await);
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
}
