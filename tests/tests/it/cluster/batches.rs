//! Batches of heartbeats that are sent at the same time.

use std::collections::HashMap;

use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use presence::{
    PresenceError,
    model::{Connection, Reason},
    telemetry::TraceContext,
};
use presence_tests::{RedisCluster, cluster_app, connection, partition_key};
use redis::{AsyncCommands as _, streams::StreamRangeReply};
use serde_json::Value;

use super::held_by;

const BATCH: usize = 500;

/// Connections of different players, in batches.
fn batches(count: usize) -> Vec<Vec<Connection>> {
    presence_tests::connections(count * BATCH)
        .chunks(BATCH)
        .map(<[Connection]>::to_vec)
        .collect()
}

/// Each of these batches alone would be some 220 calls.
#[tokio::test]
async fn batches_that_wait_for_each_other_share_script_calls() {
    const BATCHES: usize = 8;
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let batches = batches(BATCHES);
    for batch in &batches {
        presence.connect_batch(batch.clone(), &trace).await.unwrap();
    }
    presence
        .heartbeat_batch(batches[0].clone(), &trace)
        .await
        .unwrap();
    cluster.forget_commands();
    let renewals = batches
        .into_iter()
        .map(|batch| presence.heartbeat_batch(batch, &trace));
    for outcome in join_all(renewals).await {
        let outcome = outcome.unwrap();
        assert_eq!((outcome.accepted, outcome.restored.len()), (BATCH, 0));
    }
    let commands = cluster.commands();
    // At most two calls per partition: batches that wait for the first call are sent together.
    assert!(commands["evalsha"] <= 2 * 256, "{commands:?}");
    assert_eq!(
        (commands["set"], commands["setrange"]),
        ((BATCHES * BATCH) as u64, (BATCHES * BATCH) as u64)
    );
}

#[tokio::test]
async fn each_caller_gets_its_own_outcomes_and_its_events_continue_its_own_trace() {
    const BATCHES: usize = 4;
    let cluster = RedisCluster::start().await;
    // Nothing listens at this address, so the events stay in the outbox.
    let app = cluster_app(&cluster, &[("PRESENCE_NATS_URL", "nats://127.0.0.1:1")]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let mut batches = batches(BATCHES);
    presence
        .connect_batch(batches[0].clone(), &trace)
        .await
        .unwrap();
    // A connection that was closed, and one that every batch names.
    let closed = connection("closed", "c");
    presence
        .disconnect(&closed, Reason::Quit, &trace)
        .await
        .unwrap();
    batches[2].push(closed.clone());
    let shared = connection("shared", "c");
    batches
        .iter_mut()
        .for_each(|batch| batch.push(shared.clone()));
    let traces = [(); BATCHES].map(|()| TraceContext::new_root());
    let renewals = batches
        .iter()
        .zip(&traces)
        .map(|(batch, trace)| presence.heartbeat_batch(batch.clone(), trace));
    for (number, outcome) in join_all(renewals).await.into_iter().enumerate() {
        let outcome = outcome.unwrap();
        assert_eq!(outcome.accepted, BATCH + 1, "batch {number}");
        let is_connected = number == 0;
        assert!(
            outcome.restored.len() >= if is_connected { 0 } else { BATCH },
            "batch {number}"
        );
        assert_eq!(
            outcome.closed,
            if number == 2 {
                vec![closed.clone()]
            } else {
                vec![]
            }
        );
    }
    let traces_by_player = traces_in_outboxes(&cluster).await;
    for (batch, trace) in batches.iter().zip(&traces).skip(1) {
        for connection in batch
            .iter()
            .filter(|connection| **connection != closed && **connection != shared)
        {
            assert_eq!(
                traces_by_player[connection.player_id.as_str()],
                trace.traceparent()
            );
        }
    }
}

/// The `traceparent` of the newest event of each player.
async fn traces_in_outboxes(cluster: &RedisCluster) -> HashMap<String, String> {
    let mut raw = cluster.connection().await;
    let mut traces = HashMap::new();
    for partition in 0..256 {
        let events: StreamRangeReply = raw
            .xrange_all(partition_key(partition, "outbox"))
            .await
            .unwrap();
        for entry in events.ids {
            let json: String = entry.get("event").unwrap();
            let event: Value = serde_json::from_str(&json).unwrap();
            traces.insert(
                event["player_id"].as_str().unwrap().to_owned(),
                entry.get("traceparent").unwrap(),
            );
        }
    }
    traces
}

#[tokio::test]
async fn a_batch_waits_for_no_node_but_its_own() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[("PRESENCE_STORE_TIMEOUT", "3s")]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let everywhere = super::connections();
    let on_another_node = held_by(&cluster, 0);
    presence
        .connect_batch(everywhere.clone(), &trace)
        .await
        .unwrap();
    presence
        .heartbeat_batch(everywhere.clone(), &trace)
        .await
        .unwrap();
    cluster.pause(1);
    let renewals = [everywhere, on_another_node].map(|batch| {
        let presence = &presence;
        let trace = &trace;
        async move {
            presence
                .heartbeat_batch(batch, trace)
                .await
                .unwrap()
                .failed
                .len()
        }
    });
    let failed: Vec<_> = renewals
        .into_iter()
        .collect::<FuturesUnordered<_>>()
        .collect()
        .await;
    cluster.resume(1);
    assert_eq!(
        (failed[0], failed[1] > 0),
        (0, true),
        "in the order of the replies"
    );
}

#[tokio::test]
async fn batches_fail_while_their_node_does_not_reply_and_succeed_afterwards() {
    let mut cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let presence = app.presence();
    let trace = TraceContext::new_root();
    let batch = held_by(&cluster, 1);
    presence.connect_batch(batch.clone(), &trace).await.unwrap();
    presence
        .heartbeat_batch(batch.clone(), &trace)
        .await
        .unwrap();
    cluster.pause(1);
    let renewals = (0..4).map(|_| presence.heartbeat_batch(batch.clone(), &trace));
    for outcome in join_all(renewals).await {
        assert!(
            matches!(outcome, Err(PresenceError::Store(_))),
            "{outcome:?}"
        );
    }
    cluster.resume(1);
    let outcome = presence.heartbeat_batch(batch, &trace).await.unwrap();
    assert!(outcome.failed.is_empty(), "{outcome:?}");
}
