//! Redis Cluster with nodes that die, hang and hand over their slots.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use presence::{
    PresenceError, PresenceService,
    events::RelaySignal,
    health::HealthStatus,
    model::{Connection, PlayerId, PresenceState},
    trace::TraceContext,
};
use presence_tests::{RedisCluster, cluster_app, connection, player};

const PLAYERS: usize = 300;

fn connections() -> Vec<Connection> {
    (0..PLAYERS).map(|n| connection(&format!("p{n}"), "c")).collect()
}

fn players() -> Vec<PlayerId> {
    (0..PLAYERS).map(|n| player(&format!("p{n}"))).collect()
}

/// Whether the node holds the player's slot, of those that the player's connection belongs to.
fn held_by(cluster: &RedisCluster, number: usize) -> Vec<Connection> {
    let is_held = |connection: &Connection| cluster.holds(number, &format!("presence:{}", connection.player_id));
    connections().into_iter().filter(is_held).collect()
}

async fn are_online(presence: &PresenceService, players: &[PlayerId]) -> bool {
    let snapshot = presence.presences(players, false).await.unwrap();
    snapshot.presences.iter().all(|presence| presence.state == PresenceState::Online)
}

#[tokio::test]
async fn a_dead_node_fails_its_own_players_and_nobody_else() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    presence.connect_batch(connections(), &trace).await.unwrap();
    let lost = held_by(&cluster, 1);
    let spared: Vec<_> = connections().into_iter().filter(|connection| !lost.contains(connection)).collect();
    cluster.kill(1);

    let mut batch = presence.heartbeat_batch(connections(), &trace).await.unwrap();
    batch.failed.sort_by_key(|connection| lost.iter().position(|other| other == connection));
    assert_eq!((batch.accepted, batch.restored.len(), batch.closed.len()), (spared.len(), 0, 0));
    assert_eq!(batch.failed, lost);
    presence.heartbeat(&spared[0], &trace).await.unwrap();
    assert!(matches!(presence.heartbeat(&lost[0], &trace).await, Err(PresenceError::Store(_))));
    assert!(matches!(presence.heartbeat_batch(lost.clone(), &trace).await, Err(PresenceError::Store(_))));

    assert!(presence.presences(&players(), false).await.is_err(), "unknown is not OFFLINE");
    let spared: Vec<_> = spared.into_iter().map(|connection| connection.player_id).collect();
    assert!(are_online(&presence, &spared).await);
    assert_eq!(app.health_probe().check().await.checks.redis.status, HealthStatus::Degraded);
}

#[tokio::test]
async fn the_sweep_goes_on_without_a_dead_node() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_TTL", "200ms")]);
    app.presence().connect_batch(connections(), &TraceContext::new_root()).await.unwrap();
    let spared = held_by(&cluster, 1);
    cluster.kill(0);
    let has_ended = |connection: &Connection| {
        let past = format!("{{presence:{}}}:past", connection.player_id);
        cluster.ask(1, &["GET", &past]).contains("OFFLINE")
    };
    while !spared.iter().all(has_ended) {
        app.sweeper(RelaySignal::default()).pass().await.unwrap_err();
    }
}

#[tokio::test]
async fn without_any_node_nothing_is_answered() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    app.presence().connect_batch(connections(), &TraceContext::new_root()).await.unwrap();
    (0..3).for_each(|number| cluster.kill(number));
    let batch = app.presence().heartbeat_batch(connections(), &TraceContext::new_root()).await;
    assert!(matches!(batch, Err(PresenceError::Store(_))));
    assert!(!app.health_probe().check().await.is_available());
}

#[tokio::test]
async fn a_replica_takes_the_place_of_a_dead_master() {
    let mut cluster = RedisCluster::start_with_replicas().await;
    let app = cluster_app(&cluster, &[]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    presence.connect_batch(connections(), &trace).await.unwrap();
    cluster.forget_scripts();
    cluster.kill(2);
    while !presence.heartbeat_batch(connections(), &trace).await.is_ok_and(|batch| batch.failed.is_empty()) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(are_online(&presence, &players()).await);
    let again = presence.heartbeat_batch(connections(), &trace).await.unwrap();
    assert_eq!((again.accepted, again.restored.len()), (PLAYERS, 0));
}

#[tokio::test]
async fn a_hanging_master_holds_up_its_own_players_only_until_its_replica_takes_over() {
    let mut cluster = RedisCluster::start_with_replicas().await;
    let app = cluster_app(&cluster, &[("PRESENCE_STORE_TIMEOUT", "500ms")]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    while presence.connect_batch(connections(), &trace).await.is_ok_and(|batch| !batch.failed.is_empty()) {}
    let lost = held_by(&cluster, 1);
    cluster.pause(1);
    let batch = presence.heartbeat_batch(connections(), &trace).await.unwrap();
    assert_eq!((batch.accepted, batch.failed.len()), (PLAYERS - lost.len(), lost.len()));
    while !presence.heartbeat_batch(connections(), &trace).await.is_ok_and(|batch| batch.failed.is_empty()) {}
    cluster.resume(1);
    for _ in 0..20 {
        let batch = presence.heartbeat_batch(connections(), &trace).await.unwrap();
        assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0), "the old master is no master any more");
    }
    assert!(are_online(&presence, &players()).await);
}

#[tokio::test]
async fn slots_move_under_traffic_and_nothing_is_lost() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    presence.connect_batch(connections(), &trace).await.unwrap();
    let before = held_by(&cluster, 0).len();
    let has_moved = AtomicBool::new(false);
    let moves = async {
        cluster.move_slots(0, 1, 2_000).await;
        cluster.move_slots(1, 2, 500).await;
        has_moved.store(true, Ordering::Relaxed);
    };
    let traffic = async {
        let mut beats = 0;
        while !has_moved.load(Ordering::Relaxed) {
            let batch = presence.heartbeat_batch(connections(), &trace).await.unwrap();
            assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0));
            presence.set_state(&player(&format!("p{}", beats % PLAYERS)), PresenceState::Online, &trace).await.unwrap();
            assert!(are_online(&presence, &players()).await);
            beats += 1;
        }
        beats
    };
    let (beats, ()) = tokio::join!(traffic, moves);
    assert!(beats > 10, "{beats} rounds");
    assert!(held_by(&cluster, 0).len() < before);
}

#[tokio::test]
async fn a_player_is_served_while_the_slot_is_on_its_way() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let (presence, trace) = (app.presence(), TraceContext::new_root());
    presence.connect_batch(connections(), &trace).await.unwrap();
    let moving = held_by(&cluster, 0).remove(0);
    let key = format!("presence:{}", moving.player_id);

    cluster.begin_to_move(&key, 0, 1);
    cluster.move_key(&key, 0, 1);
    assert!(are_online(&presence, &players()).await, "the new node is asked for the record");
    let waits = presence.heartbeat_batch(connections(), &trace);
    let ends = async {
        tokio::task::yield_now().await; // the heartbeat meets the slot's keys on two nodes
        cluster.end_to_move(&key, 0, 1);
    };
    let (batch, ()) = tokio::join!(waits, ends);
    let batch = batch.unwrap();
    assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0));
    assert!(cluster.holds(1, &key));
}
