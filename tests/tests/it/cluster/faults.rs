//! Nodes that die and nodes that hang.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use presence::{
    PresenceError, events::RelaySignal, model::Connection, operator::HealthStatus,
    telemetry::TraceContext,
};
use presence_tests::{RedisCluster, cluster_app, connection, partition_key};

use super::{PLAYERS, are_online, connections, held_by, players, record};

#[tokio::test]
async fn a_dead_node_fails_its_own_players_and_no_others() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence.connect_batch(connections(), &trace).await.unwrap();
    let lost = held_by(&cluster, 1);
    let spared: Vec<_> = connections()
        .into_iter()
        .filter(|connection| !lost.contains(connection))
        .collect();
    cluster.kill(1);

    let mut batch = presence
        .heartbeat_batch(connections(), &trace)
        .await
        .unwrap();
    batch
        .failed
        .sort_by_key(|connection| lost.iter().position(|other| other == connection));
    assert_eq!(
        (batch.accepted, batch.restored.len(), batch.closed.len()),
        (spared.len(), 0, 0)
    );
    assert_eq!(batch.failed, lost);
    presence.heartbeat(&spared[0], &trace).await.unwrap();
    assert!(matches!(
        presence.heartbeat(&lost[0], &trace).await,
        Err(PresenceError::Store(_))
    ));
    assert!(matches!(
        presence.heartbeat_batch(lost.clone(), &trace).await,
        Err(PresenceError::Store(_))
    ));

    assert!(
        presence.presences(&players(), false).await.is_err(),
        "unknown is not OFFLINE"
    );
    let spared: Vec<_> = spared
        .into_iter()
        .map(|connection| connection.player_id)
        .collect();
    assert!(are_online(&presence, &spared).await);
    assert_eq!(
        app.health_probe().check().await.checks.redis.status,
        HealthStatus::Degraded
    );
}

#[tokio::test]
async fn heartbeats_at_the_same_time_wait_for_no_node_but_their_own() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_STORE_TIMEOUT", "3s")]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let [hanging, ..] = &held_by(&cluster, 1)[..] else {
        panic!("a player")
    };
    let [alone, both, ..] = &held_by(&cluster, 0)[..] else {
        panic!("two players")
    };
    let build_tablet = |player: &Connection| connection(player.player_id.as_str(), "tablet");
    let all = [
        hanging,
        &build_tablet(hanging),
        alone,
        both,
        &build_tablet(both),
    ];
    presence
        .connect_batch(all.map(Clone::clone).to_vec(), &trace)
        .await
        .unwrap();
    cluster.pause(1);

    let heartbeats = all.map(|connection| {
        let presence = &presence;
        let trace = &trace;
        async move { presence.heartbeat(connection, trace).await.is_ok() }
    });
    let responses: Vec<_> = heartbeats
        .into_iter()
        .collect::<FuturesUnordered<_>>()
        .collect()
        .await;
    assert_eq!(
        responses,
        [true, true, true, false, false],
        "in the order of the responses"
    );
    cluster.resume(1);
}

#[tokio::test]
async fn the_sweep_goes_on_without_a_dead_node() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_TTL", "200ms")]);
    app.presence()
        .connect_batch(connections(), &TraceContext::new_root())
        .await
        .unwrap();
    let spared = held_by(&cluster, 1);
    cluster.kill(0);
    let has_ended = |connection: &_| {
        let past = format!("{}#past", record(connection));
        cluster.ask(1, &["GET", &past]).contains("OFFLINE")
    };
    let sweeper = app.sweeper(RelaySignal::default());
    while !spared.iter().all(has_ended) {
        sweeper.pass().await.unwrap_err();
    }
    let expired = sweeper.total().expired as usize;
    assert!(
        expired >= spared.len(),
        "what was done is counted: {expired} of {}",
        spared.len()
    );
}

/// A node that dies in the middle of a pass: it has said who is due, and carries out nothing any
/// more.
#[tokio::test]
async fn players_of_other_nodes_expire_while_the_sweep_waits_for_one() {
    const DUE: usize = 3_000;
    let cluster = RedisCluster::start().await;
    // The pass does not give up the node while the test runs.
    let app = cluster_app(
        &cluster,
        &[("PRESENCE_TTL", "100ms"), ("PRESENCE_STORE_TIMEOUT", "10m")],
    );
    app.presence()
        .connect_batch(presence_tests::connections(DUE), &TraceContext::new_root())
        .await
        .unwrap();
    let count_due = || (0..3).map(|node| due_on(&cluster, node)).sum::<usize>();
    while count_due() < DUE {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let on_the_node = due_on(&cluster, 0);
    // Reads still succeed, so the pass begins work on each partition of this node.
    assert_eq!(
        cluster.ask(0, &["CLIENT", "PAUSE", "600000", "WRITE"]),
        "OK"
    );
    let others_have_expired = async {
        while due_on(&cluster, 1) + due_on(&cluster, 2) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let sweeper = app.sweeper(RelaySignal::default());
    tokio::select! {
        result = sweeper.pass() => panic!("the pass ended without the node: {result:?}"),
        in_time = tokio::time::timeout(Duration::from_secs(60), others_have_expired) => in_time.unwrap(),
    }
    assert_eq!(due_on(&cluster, 0), on_the_node);
    cluster.ask(0, &["CLIENT", "UNPAUSE"]);
}

/// The number of players on a node who are due, the swept ones excluded. A node whose writes are
/// paused says so as well.
fn due_on(cluster: &RedisCluster, node: usize) -> usize {
    const COUNT: &str = "local time, due = redis.call('TIME'), 0 \
        for _, index in ipairs(redis.call('KEYS', '*#expiry')) do \
        due = due + redis.call('ZCOUNT', index, '-inf', '(' .. time[1] * 1000 + math.floor(time[2] / 1000)) end \
        return due";
    cluster.ask(node, &["EVAL_RO", COUNT, "0"]).parse().unwrap()
}

#[tokio::test]
async fn a_player_in_another_partitions_index_is_removed_from_it() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let index = partition_key(200, "expiry"); // alice belongs to another one
    cluster.ask(cluster.master_of(&index), &["ZADD", &index, "0", "alice"]);
    let swept = app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert_eq!((swept.removed, swept.expired), (1, 0));
}

#[tokio::test]
async fn without_any_node_no_call_succeeds() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    app.presence()
        .connect_batch(connections(), &TraceContext::new_root())
        .await
        .unwrap();
    (0..3).for_each(|number| cluster.kill(number));
    let batch = app
        .presence()
        .heartbeat_batch(connections(), &TraceContext::new_root())
        .await;
    assert!(matches!(batch, Err(PresenceError::Store(_))));
    assert!(!app.health_probe().check().await.is_available());
}

#[tokio::test]
async fn a_hanging_master_holds_up_its_own_players_only_until_its_replica_takes_over() {
    let mut cluster = RedisCluster::start_with_replicas().await;
    let app = cluster_app(&cluster, &[("PRESENCE_STORE_TIMEOUT", "500ms")]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    while presence
        .connect_batch(connections(), &trace)
        .await
        .is_ok_and(|batch| !batch.failed.is_empty())
    {}
    let lost = held_by(&cluster, 1);
    cluster.pause(1);
    let batch = presence
        .heartbeat_batch(connections(), &trace)
        .await
        .unwrap();
    assert_eq!(
        (batch.accepted, batch.failed.len()),
        (PLAYERS - lost.len(), lost.len())
    );
    while !presence
        .heartbeat_batch(connections(), &trace)
        .await
        .is_ok_and(|batch| batch.failed.is_empty())
    {}
    cluster.resume(1);
    for _ in 0..20 {
        let batch = presence
            .heartbeat_batch(connections(), &trace)
            .await
            .unwrap();
        assert_eq!(
            (batch.accepted, batch.restored.len()),
            (PLAYERS, 0),
            "the old master is a replica now"
        );
    }
    assert!(are_online(&presence, &players()).await);
}

/// The service's map is old: many commands go to the wrong node first.
#[tokio::test]
async fn what_was_sent_elsewhere_does_not_wait_for_a_node_that_hangs() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_STORE_TIMEOUT", "1s")]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    while presence
        .connect_batch(connections(), &trace)
        .await
        .is_ok_and(|batch| !batch.failed.is_empty())
    {}
    cluster.move_slots(0, 2, 2_000).await;
    let lost = held_by(&cluster, 1);
    cluster.pause(1);
    let batch = presence
        .heartbeat_batch(connections(), &trace)
        .await
        .unwrap();
    cluster.resume(1);
    assert_eq!(
        (batch.accepted, batch.failed.len()),
        (PLAYERS - lost.len(), lost.len())
    );
}

#[tokio::test]
async fn a_node_that_hangs_does_not_keep_a_new_process_from_serving_the_others() {
    let mut cluster = RedisCluster::start().await;
    let spared = held_by(&cluster, 2);
    cluster.pause(0);
    for _ in 0..5 {
        let app = cluster_app(&cluster, &[("PRESENCE_STORE_TIMEOUT", "500ms")]);
        app.presence()
            .connect(&spared[0], &TraceContext::new_root())
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cluster.resume(0);
}
