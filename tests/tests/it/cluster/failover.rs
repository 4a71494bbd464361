//! Replicas that take the place of their masters.

use std::time::{Duration, Instant};

use presence::{
    PresenceService,
    events::RelaySignal,
    model::{Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{RedisCluster, cluster_app};

use super::{PLAYERS, are_online, connections, held_by, players};

/// Sends heartbeats until every connection is accepted.
async fn heartbeat_until_healed(presence: &PresenceService, trace: &TraceContext) {
    while !presence
        .heartbeat_batch(connections(), trace)
        .await
        .is_ok_and(|batch| batch.failed.is_empty())
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_failover_heals_within_one_heartbeat_interval() {
    heals(RedisCluster::start_with_replicas().await).await;
}

#[tokio::test]
async fn a_failover_of_valkey_heals_within_one_heartbeat_interval() {
    match RedisCluster::start_valkey().await {
        Some(cluster) => heals(cluster).await,
        None => eprintln!(
            "skipped: there is no valkey-server on this machine, and none could be installed"
        ),
    }
}

#[tokio::test]
async fn a_failover_of_one_of_six_masters_heals() {
    heals(RedisCluster::start_masters_with_replicas(6).await).await;
}

#[tokio::test]
async fn a_failover_of_one_of_six_masters_of_valkey_heals() {
    match RedisCluster::start_valkey_masters(6).await {
        Some(cluster) => heals(cluster).await,
        None => eprintln!(
            "skipped: there is no valkey-server on this machine, and none could be installed"
        ),
    }
}

async fn heals(mut cluster: RedisCluster) {
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence.connect_batch(connections(), &trace).await.unwrap();
    cluster.forget_scripts();
    let killed_at = Instant::now();
    cluster.kill(2);
    heartbeat_until_healed(&presence, &trace).await;
    eprintln!(
        "healed {:?} after the master was killed",
        killed_at.elapsed()
    );
    assert!(
        killed_at.elapsed() < presence.lifetimes().heartbeat_interval,
        "{:?}",
        killed_at.elapsed()
    );
    assert!(are_online(&presence, &players()).await);
    let again = presence
        .heartbeat_batch(connections(), &trace)
        .await
        .unwrap();
    assert_eq!((again.accepted, again.restored.len()), (PLAYERS, 0));
}

/// Masters reply before their replicas have everything.
#[tokio::test]
async fn what_a_promoted_replica_lacks_is_restored_by_the_next_heartbeat() {
    let mut cluster = RedisCluster::start_with_replicas().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence.connect_batch(connections(), &trace).await.unwrap();
    let lost = held_by(&cluster, 0);
    let replica = cluster.replica_of(0);
    cluster.kill(0);
    heartbeat_until_healed(&presence, &trace).await;
    assert_eq!(cluster.ask(replica, &["FLUSHALL"]), "OK");
    let batch = presence
        .heartbeat_batch(connections(), &trace)
        .await
        .unwrap();
    assert_eq!(
        (batch.accepted, batch.restored.len()),
        (PLAYERS, lost.len())
    );
    assert!(are_online(&presence, &players()).await);
}

#[tokio::test]
async fn a_promoted_replica_learns_every_script() {
    let mut cluster = RedisCluster::start_with_replicas().await;
    let app = cluster_app(
        &cluster,
        &[
            ("PRESENCE_TTL", "3s"),
            ("PRESENCE_HEARTBEAT_INTERVAL", "1s"),
        ],
    );
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let theirs = held_by(&cluster, 1);
    let replica = cluster.replica_of(1);
    cluster.kill(1);
    while !presence
        .connect_batch(theirs.clone(), &trace)
        .await
        .is_ok_and(|batch| batch.failed.is_empty())
    {}

    let forget = || assert_eq!(cluster.ask(replica, &["SCRIPT", "FLUSH"]), "OK");
    let [first, second, third, ..] = &theirs[..] else {
        panic!("three players")
    };
    forget();
    assert_eq!(
        presence
            .connect(first, &trace)
            .await
            .unwrap()
            .connection_count,
        1
    );
    forget();
    assert_eq!(
        presence
            .heartbeat(first, &trace)
            .await
            .unwrap()
            .connection_count,
        1
    );
    forget();
    let away = presence
        .set_state(&first.player_id, State::Away, &trace)
        .await
        .unwrap();
    assert_eq!(away.state, State::Away);
    forget();
    let gone = presence
        .disconnect(first, Reason::Quit, &trace)
        .await
        .unwrap();
    assert_eq!(gone.state, State::Offline);
    forget();
    assert_eq!(
        presence
            .heartbeat_batch(vec![second.clone(), third.clone()], &trace)
            .await
            .unwrap()
            .accepted,
        2
    );
    forget();
    let quit = presence
        .disconnect_batch(vec![second.clone()], Reason::Quit, &trace)
        .await
        .unwrap();
    assert_eq!(quit.accepted, 1);

    let mut expired = 0;
    while expired < theirs.len() as u64 - 2 {
        forget(); // all but the two who left expire
        expired += app
            .sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .expired;
    }
    forget();
    assert!(app.health_probe().check().await.is_available());
}

#[tokio::test]
async fn a_planned_failover_fails_no_call() {
    let cluster = RedisCluster::start_with_replicas().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    presence.connect_batch(connections(), &trace).await.unwrap();
    for master in 0..3 {
        let replica = cluster.replica_of(master);
        assert_eq!(cluster.ask(replica, &["CLUSTER", "FAILOVER"]), "OK");
        while !cluster.is_master(replica) || cluster.is_master(master) {
            let batch = presence
                .heartbeat_batch(connections(), &trace)
                .await
                .unwrap();
            assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0));
            assert!(are_online(&presence, &players()).await);
        }
    }
    let batch = presence
        .heartbeat_batch(connections(), &trace)
        .await
        .unwrap();
    assert_eq!((batch.accepted, batch.restored.len()), (PLAYERS, 0));
}
