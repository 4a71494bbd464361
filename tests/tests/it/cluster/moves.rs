//! Slots that move from master to master.

use std::sync::atomic::{AtomicBool, Ordering};

use presence::{model::State, telemetry::TraceContext};
use presence_tests::{NatsServer, RedisCluster, cluster_app, connection};

use super::{PLAYERS, are_online, connections, held_by, players, record};

#[tokio::test]
async fn slots_move_under_traffic_and_nothing_is_lost() {
    nothing_is_lost_while_slots_move(RedisCluster::start().await, [2_000, 500]).await;
}

#[tokio::test]
async fn slots_move_between_six_masters_and_nothing_is_lost() {
    nothing_is_lost_while_slots_move(RedisCluster::start_masters(6).await, [2_000, 500]).await;
}

/// Each slot takes longer: its new master informs the replica first.
#[tokio::test]
async fn slots_move_on_valkey_and_nothing_is_lost() {
    match RedisCluster::start_valkey().await {
        Some(cluster) => nothing_is_lost_while_slots_move(cluster, [200, 70]).await,
        None => eprintln!(
            "skipped: there is no valkey-server on this machine, and none could be installed"
        ),
    }
}

/// `slots` are moved from the first master to the second, and from there to the third.
async fn nothing_is_lost_while_slots_move(cluster: RedisCluster, slots: [usize; 2]) {
    let nats = NatsServer::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", &nats.url())]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence.connect_batch(connections(), &trace).await.unwrap();
    let before = held_by(&cluster, 0).len();
    let has_moved = AtomicBool::new(false);
    let moves = async {
        cluster.move_slots(0, 1, slots[0]).await;
        cluster.move_slots(1, 2, slots[1]).await;
        has_moved.store(true, Ordering::Relaxed);
    };
    let traffic = async {
        let mut rounds = 0;
        while !has_moved.load(Ordering::Relaxed) {
            let batch = presence
                .heartbeat_batch(connections(), &trace)
                .await
                .unwrap();
            assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0));
            let newcomer = connection(&format!("newcomer{rounds}"), "c");
            presence.connect(&newcomer, &trace).await.unwrap();
            presence
                .set_state(&newcomer.player_id, State::InQueue, &trace)
                .await
                .unwrap();
            assert!(are_online(&presence, &players()).await);
            rounds += 1;
        }
        rounds
    };
    let (rounds, ()) = tokio::join!(traffic, moves);
    assert!(rounds > 10, "{rounds} rounds");
    assert!(held_by(&cluster, 0).len() < before);

    // Outboxes moved with their slots: what waits is found where it is now.
    app.relay().unwrap().pass().await.unwrap();
    let events = nats.messages("PRESENCE_EVENTS").await;
    assert_eq!(
        events.len(),
        PLAYERS + 2 * rounds,
        "each transition is one event"
    );
}

#[tokio::test]
async fn a_player_is_served_while_the_slot_is_on_its_way() {
    serves_while_a_slot_moves(RedisCluster::start().await).await;
}

/// Nodes name each other by addresses with colons.
#[tokio::test]
async fn redirections_to_ipv6_addresses_are_followed() {
    match RedisCluster::start_ipv6().await {
        Some(cluster) => serves_while_a_slot_moves(cluster).await,
        None => eprintln!("skipped: this machine has no IPv6 loopback address"),
    }
}

async fn serves_while_a_slot_moves(cluster: RedisCluster) {
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence.connect_batch(connections(), &trace).await.unwrap();
    let moving = held_by(&cluster, 0).remove(0);
    let key = record(&moving);

    cluster.begin_to_move(&key, 0, 1);
    cluster.move_key(&key, 0, 1);
    assert!(
        are_online(&presence, &players()).await,
        "the new node is asked for the record"
    );
    let waits = presence.heartbeat_batch(connections(), &trace);
    let ends = async {
        tokio::task::yield_now().await; // the heartbeat meets the slot's keys on two nodes
        cluster.end_to_move(&key, 0, 1);
    };
    let (batch, ()) = tokio::join!(waits, ends);
    let batch = batch.unwrap();
    assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0));
    assert!(cluster.holds(1, &key));
    // By the old map the first node still has the slot: it replies MOVED.
    assert!(are_online(&presence, &players()).await);
}
