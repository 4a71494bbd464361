//! Effects of the end of a gateway's lease.

use std::time::Duration;

use presence::{
    events::RelaySignal,
    model::{EventReason, GatewayStatus, OwnedConnections, Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{RedisCluster, cluster_app, connection, connections, player};
use redis::AsyncTypedCommands as _;

use super::{EXPIRY, Fixture, OFFLINE, ONLINE, gateway};

#[tokio::test]
async fn a_gateway_is_new_until_it_is_known_and_again_after_its_connections_were_ended() {
    let it = Fixture::new(&[]).await;
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
    assert_eq!(it.renew("g1").await, GatewayStatus::Alive);
    it.sweep().await;
    it.advance_clock(EXPIRY).await;
    assert_eq!(
        it.renew("g1").await,
        GatewayStatus::Alive,
        "expired, and no sweep came"
    );
    it.advance_clock(EXPIRY).await;
    it.sweep().await;
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
    it.leave("g1", Reason::Quit).await;
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
}

#[tokio::test]
async fn a_lost_gateway_ends_the_leases_of_its_connections_and_of_no_others() {
    let it = Fixture::new(&[]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    it.connect(&connection("bob", "c2"), "g1").await;
    it.connect(&connection("bob", "c3"), "g2").await;
    it.connect(&connection("carol", "c4"), "g2").await;
    it.sweep().await;
    it.advance_clock(EXPIRY).await;
    assert_eq!(it.sweep().await, 2);
    assert_eq!(
        (
            it.state("alice").await,
            it.state("bob").await,
            it.state("carol").await
        ),
        (OFFLINE, ONLINE, ONLINE)
    );
    assert_eq!(it.owners().await, ["g2!bob c3", "g2!carol c4"]);
    it.advance_clock(EXPIRY).await;
    assert_eq!(
        it.sweep().await,
        0,
        "a gateway without a lease cannot expire"
    );
    assert_eq!(it.state("carol").await, ONLINE);
}

#[tokio::test]
async fn ended_is_not_closed_and_belongs_to_no_gateway() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    assert_eq!(it.leave("g1", Reason::Lost).await, 1);
    it.heartbeat(&alice, None).await;
    assert_eq!(it.state("alice").await, ONLINE);
    it.renew("g1").await;
    assert_eq!(it.leave("g1", Reason::Lost).await, 0);
    it.heartbeat(&alice, Some("g1")).await;
    it.renew("g1").await;
    assert_eq!(it.leave("g1", Reason::Lost).await, 1);
}

#[tokio::test]
async fn a_sign_out_closes_connections_that_were_ended() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    it.leave("g1", Reason::Lost).await;
    it.app
        .presence()
        .set_state(&alice.player_id, State::Offline, &it.trace)
        .await
        .unwrap();
    assert!(
        it.app
            .presence()
            .heartbeat(&alice, &it.trace)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_sign_out_in_the_grace_closes_the_connections_of_a_gateway_that_has_ended() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    for (player_id, reason) in [("alice", Reason::Lost), ("bob", Reason::Moving)] {
        let devices = ["C1", "c2"].map(|id| connection(player_id, &format!("{id}-{player_id}")));
        it.renew("g1").await;
        for device in &devices {
            it.connect(device, "g1").await;
        }
        assert_eq!(it.leave("g1", reason).await, 2);
        assert_eq!(it.state(player_id).await, (State::Online, 0));
        // What is set meanwhile changes nothing about that.
        it.app
            .presence()
            .set_state(&player(player_id), State::InMatch, &it.trace)
            .await
            .unwrap();
        assert_eq!(it.state(player_id).await, (State::InMatch, 0));
        it.app
            .presence()
            .set_state(&player(player_id), State::Offline, &it.trace)
            .await
            .unwrap();
        for device in &devices {
            assert!(
                it.app
                    .presence()
                    .heartbeat(device, &it.trace)
                    .await
                    .is_err(),
                "{reason:?} {device:?}"
            );
        }
        assert_eq!(it.state(player_id).await, OFFLINE);
    }
}

#[tokio::test]
async fn a_connection_that_returns_in_the_grace_is_restored_without_an_event() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    let devices = ["c1", "c2"].map(|id| connection("alice", id));
    it.renew("g1").await;
    for device in &devices {
        it.connect(device, "g1").await;
    }
    let set = it
        .app
        .presence()
        .set_state(&player("alice"), State::Away, &it.trace)
        .await
        .unwrap();
    it.leave("g1", Reason::Lost).await;
    let explained = it
        .app
        .operator_queries()
        .explain(&player("alice"))
        .await
        .unwrap();
    assert!(explained.connections.is_empty(), "{explained:?}");
    assert_eq!(
        explained.next_transition.unwrap().reason,
        Some(EventReason::Lost)
    );
    for (device, count) in devices.iter().zip(1..) {
        let back = it
            .app
            .presence()
            .heartbeat(device, &it.trace)
            .await
            .unwrap();
        assert_eq!(
            (back.state, back.connection_count, back.version),
            (State::Away, count, set.version)
        );
    }
    it.redis.advance_clock(Duration::from_secs(30)).await;
    assert_eq!(it.state("alice").await, (State::Away, 2));
}

#[tokio::test]
async fn after_the_grace_of_a_lost_gateway_a_sign_out_closes_its_connections_as_well() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    let alice = connection("alice", "c1");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    it.leave("g1", Reason::Lost).await;
    it.redis.advance_clock(Duration::from_secs(21)).await;
    it.app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert_eq!(it.state("alice").await, OFFLINE);
    it.app
        .presence()
        .set_state(&alice.player_id, State::Offline, &it.trace)
        .await
        .unwrap();
    assert!(
        it.app
            .presence()
            .heartbeat(&alice, &it.trace)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_call_that_names_no_gateway_leaves_the_ownership_and_one_that_does_moves_it() {
    let it = Fixture::new(&[]).await;
    let devices = [
        connection("alice", "c1"),
        connection("alice", "c2"),
        connection("bob", "c3"),
    ];
    it.renew("g1").await;
    for device in &devices {
        it.connect(device, "g1").await;
        it.heartbeat(device, None).await;
    }
    it.app
        .presence()
        .set_state(&player("bob"), State::InMatch, &it.trace)
        .await
        .unwrap();
    it.heartbeat(&devices[2], None).await;
    assert_eq!(
        it.owners().await,
        ["g1!alice c1", "g1!alice c2", "g1!bob c3"]
    );
    it.heartbeat(&devices[0], Some("g2")).await;
    assert_eq!(
        it.owners().await,
        ["g1!alice c2", "g1!bob c3", "g2!alice c1"]
    );
    assert_eq!(it.leave("g1", Reason::Quit).await, 2);
    assert_eq!(
        (it.state("alice").await, it.state("bob").await),
        (ONLINE, OFFLINE)
    );
}

#[tokio::test]
async fn the_owners_follow_every_end_of_a_lease() {
    let it = Fixture::new(&[("PRESENCE_MAX_CONNECTIONS", "2")]).await;
    for id in ["c1", "c2", "c3"] {
        it.connect(&connection("alice", id), "g1").await;
    }
    assert_eq!(it.owners().await, ["g1!alice c2", "g1!alice c3"], "evicted");
    it.app
        .presence()
        .disconnect(&connection("alice", "c2"), Reason::Quit, &it.trace)
        .await
        .unwrap();
    assert_eq!(it.owners().await, ["g1!alice c3"], "disconnected");
    it.app
        .presence()
        .set_state(&player("alice"), State::Offline, &it.trace)
        .await
        .unwrap();
    assert!(it.owners().await.is_empty(), "signed out");
    it.connect(&connection("bob", "c4"), "g1").await;
    it.redis.advance_clock(Duration::from_secs(46)).await;
    it.app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert!(it.owners().await.is_empty(), "expired");
}

#[tokio::test]
async fn strange_and_missing_entries_of_the_owners_cost_no_correctness() {
    let it = Fixture::new(&[]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    let mut raw = it.redis.connection().await;
    for member in ["g1!alice c9", "g1!nonsense", "g1!bob c2"] {
        raw.zadd("presence:{all}:owners", member, 0).await.unwrap();
    }
    assert_eq!(it.leave("g1", Reason::Lost).await, 1);
    assert!(it.owners().await.is_empty());
    raw.set("presence:{all}:owners", "text").await.unwrap();
    it.renew("g1").await;
    it.connect(&connection("alice", "c2"), "g1").await;
    assert_eq!(it.leave("g1", Reason::Lost).await, 0);
    assert_eq!(it.state("alice").await, ONLINE);
}

#[tokio::test]
async fn three_sweepers_end_each_of_3000_leases_once_in_a_cluster() {
    let cluster = RedisCluster::start().await;
    let apps = [(); 3].map(|()| {
        cluster_app(
            &cluster,
            &[
                ("PRESENCE_MAX_BATCH", "3000"),
                ("PRESENCE_GATEWAY_TTL", "100ms"),
            ],
        )
    });
    let presence = apps[0].presence();
    let trace = TraceContext::new_root();
    let owned = OwnedConnections {
        connections: connections(3_000),
        gateway: Some(gateway("g1")),
    };
    presence.connect_batch(owned, &trace).await.unwrap();
    let lone = OwnedConnections {
        connections: connections(10),
        gateway: None,
    };
    presence.heartbeat_batch(lone, &trace).await.unwrap();
    presence.renew_gateway(&gateway("g1")).await.unwrap();
    assert_eq!(
        apps[0]
            .operator_queries()
            .gateways()
            .await
            .unwrap()
            .gateways[0]
            .connections,
        3_000
    );
    while apps[0]
        .operator_queries()
        .gateways()
        .await
        .unwrap()
        .gateways[0]
        .expires_in_ms
        > 0
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sweepers = apps
        .each_ref()
        .map(|app| app.gateway_sweeper(RelaySignal::default()));
    let ended =
        futures_util::future::try_join_all(sweepers.each_ref().map(|sweeper| sweeper.pass()))
            .await
            .unwrap();
    assert_eq!(ended.iter().sum::<u64>(), 3_000);
    assert_eq!(
        presence
            .presences(&[player("p0")], false)
            .await
            .unwrap()
            .presences[0]
            .state,
        State::Offline
    );
}
