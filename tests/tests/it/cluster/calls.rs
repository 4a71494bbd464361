//! Every call, over all slots.

use presence::{
    PresenceError,
    events::RelaySignal,
    model::{Activity, Reason, State},
    operator::HealthStatus,
    telemetry::TraceContext,
};
use presence_tests::{NatsServer, RedisCluster, cluster_app, connection, record_key};
use redis::AsyncTypedCommands as _;

use super::{PLAYERS, are_online, connections, players};

#[tokio::test]
async fn every_call_works_over_all_slots() {
    every_call_works_on(RedisCluster::start_with_replicas().await).await;
}

#[tokio::test]
async fn every_call_works_on_valkey() {
    match RedisCluster::start_valkey().await {
        Some(cluster) => every_call_works_on(cluster).await,
        None => eprintln!(
            "skipped: there is no valkey-server on this machine, and none could be installed"
        ),
    }
}

async fn every_call_works_on(cluster: RedisCluster) {
    let nats = NatsServer::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", &nats.url())]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let connections = connections();
    let players = players();

    let connected = presence
        .connect_batch(connections.clone(), &trace)
        .await
        .unwrap();
    assert_eq!((connected.accepted, connected.failed.len()), (PLAYERS, 0));
    let renewed = presence
        .heartbeat_batch(connections.clone(), &trace)
        .await
        .unwrap();
    assert_eq!((renewed.accepted, renewed.restored.len()), (PLAYERS, 0));
    let second = connection("p1", "second");
    assert_eq!(
        presence
            .connect(&second, &trace)
            .await
            .unwrap()
            .connection_count,
        2
    );
    assert_eq!(
        presence
            .heartbeat(&second, &trace)
            .await
            .unwrap()
            .connection_count,
        2
    );
    assert_eq!(
        presence
            .disconnect(&second, Reason::Quit, &trace)
            .await
            .unwrap()
            .connection_count,
        1
    );
    presence
        .set_state(&players[7], State::InMatch, &trace)
        .await
        .unwrap();
    let activity: Activity = serde_json::from_str(r#"{"details":"Ranked; 2/4"}"#).unwrap();
    for player in &players[8..20] {
        presence
            .set_state(player, activity.clone(), &trace)
            .await
            .unwrap();
    }

    let snapshot = presence.presences(&players, false).await.unwrap();
    assert!(snapshot.as_of > 0);
    for (n, friend) in snapshot.presences.iter().enumerate() {
        assert_eq!(friend.player_id, players[n], "in the order asked");
        assert_eq!(
            friend.state,
            if n == 7 {
                State::InMatch
            } else {
                State::Online
            }
        );
        assert_eq!(
            friend.activity.as_ref(),
            (8..20).contains(&n).then_some(&activity)
        );
    }
    assert_eq!(
        app.health_probe().check().await.checks.redis.status,
        HealthStatus::Ok
    );

    let lost = presence
        .disconnect_batch(connections, Reason::Lost, &trace)
        .await
        .unwrap();
    assert_eq!(lost.accepted, PLAYERS);
    let past = presence.presences(&players, true).await.unwrap().presences;
    assert!(
        past.iter()
            .all(|presence| presence.state == State::Offline && presence.last_seen.is_some())
    );
    assert!(past.iter().map(|presence| &presence.player_id).eq(&players));
    let closed = presence.heartbeat(&connection("p1", "c"), &trace).await;
    assert!(matches!(closed, Err(PresenceError::ConnectionClosed)));

    while nats.messages("PRESENCE_EVENTS").await.len() < 2 * PLAYERS + 1 + 12 {
        app.relay().unwrap().pass().await.unwrap();
    }
    assert_eq!(app.relay().unwrap().pass().await.unwrap().published, 0);
    for replica in 3..6 {
        let calls = cluster.ask(replica, &["INFO", "commandstats"]);
        for command in ["eval", "evalsha", "mget", "get", "time", "xrange", "zrange"] {
            assert!(
                !calls.contains(&format!("cmdstat_{command}:")),
                "a replica was sent {command}: {calls}"
            );
        }
    }
}

#[tokio::test]
async fn the_sweep_looks_into_every_partition() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_TTL", "100ms")]);
    app.presence()
        .connect_batch(connections(), &TraceContext::new_root())
        .await
        .unwrap();
    let mut expired = 0;
    while expired < PLAYERS as u64 {
        expired += app
            .sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .expired;
    }
    assert_eq!(
        app.sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .expired,
        0
    );
    let mut raw = cluster.connection().await;
    assert_eq!(raw.get(record_key("p1")).await.unwrap(), None);
}

#[tokio::test]
async fn scripts_reload_on_every_node() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let trace = TraceContext::new_root();
    app.presence()
        .connect_batch(connections(), &trace)
        .await
        .unwrap();
    cluster.forget_scripts();
    assert_eq!(
        app.presence()
            .heartbeat_batch(connections(), &trace)
            .await
            .unwrap()
            .accepted,
        PLAYERS
    );
    assert!(are_online(&app.presence(), &players()).await);
}
