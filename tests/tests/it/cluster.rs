//! Redis Cluster: every script, batches and friends over all slots.

use presence::{
    PresenceError,
    events::RelaySignal,
    model::{DisconnectReason, PresenceState},
    trace::TraceContext,
};
use presence_tests::{NatsServer, RedisCluster, cluster_app, connection, player};
use redis::AsyncTypedCommands as _;

#[tokio::test]
async fn every_call_works_over_all_slots() {
    let (cluster, nats) = (RedisCluster::start().await, NatsServer::start().await);
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", &nats.url())]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    let connections: Vec<_> = (0..500).map(|n| connection(&format!("p{n}"), "c")).collect();
    let players: Vec<_> = (0..500).map(|n| player(&format!("p{n}"))).collect();

    let connected = presence.connect_batch(connections.clone(), &trace).await.unwrap();
    assert_eq!((connected.accepted, connected.failed.len()), (500, 0));
    let beaten = presence.heartbeat_batch(connections.clone(), &trace).await.unwrap();
    assert_eq!((beaten.accepted, beaten.restored.len()), (500, 0));
    presence.set_state(&players[7], PresenceState::InMatch, &trace).await.unwrap();
    let snapshot = presence.presences(&players, true).await.unwrap();
    assert!(snapshot.as_of > 0);
    for (n, friend) in snapshot.presences.iter().enumerate() {
        assert_eq!(friend.player_id, players[n], "in the order asked");
        assert_eq!(friend.state, if n == 7 { PresenceState::InMatch } else { PresenceState::Online });
    }

    let lost = presence.disconnect_batch(connections, DisconnectReason::Lost, &trace).await.unwrap();
    assert_eq!(lost.accepted, 500);
    let closed = presence.heartbeat(&connection("p1", "c"), &trace).await;
    assert!(matches!(closed, Err(PresenceError::ConnectionClosed)));
    while nats.messages("PRESENCE_EVENTS").await.len() < 1_001 {
        app.relay().unwrap().pass().await.unwrap();
    }
    assert_eq!(app.relay().unwrap().pass().await.unwrap().published, 0);
}

#[tokio::test]
async fn the_sweep_looks_into_every_slot() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_TTL", "100ms")]);
    let trace = TraceContext::new_root();
    let connections = (0..300).map(|n| connection(&format!("p{n}"), "c")).collect();
    app.presence().connect_batch(connections, &trace).await.unwrap();
    let mut expired = 0;
    while expired < 300 {
        expired += app.sweeper(RelaySignal::default()).pass().await.unwrap().expired;
    }
    assert_eq!(app.sweeper(RelaySignal::default()).pass().await.unwrap().expired, 0);
    let mut raw = cluster.connection().await;
    assert_eq!(raw.get("presence:p1").await.unwrap(), None);
}

#[tokio::test]
async fn scripts_reload_on_every_node() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let trace = TraceContext::new_root();
    let connections: Vec<_> = (0..200).map(|n| connection(&format!("p{n}"), "c")).collect();
    app.presence().connect_batch(connections.clone(), &trace).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut cluster.connection().await).await.unwrap();
    assert_eq!(app.presence().heartbeat_batch(connections, &trace).await.unwrap().accepted, 200);
}
