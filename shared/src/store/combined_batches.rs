//! Batches of heartbeats in a cluster: those that wait for the same node share script calls.
//!
//! A batch of 1,000 has about four players in each of 256 partitions, and each script call has a
//! cost of its own. So each process has at most one call to a node in flight that renews leases of
//! batches. Batches that arrive meanwhile are sent together, with more players per script call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;

use super::{
    AppliedBatch, Mutation, Store,
    batch::Batch,
    combiner::{Combiner, Turn},
    scripts,
};
use crate::{
    model::{Connection, GatewayId},
    redis::Address,
    telemetry::TraceContext,
};

/// The most heartbeats that are sent to a node together: enough to fill the script calls of some
/// eighty partitions, and some 20 ms of work for Redis.
const MAX_HEARTBEATS: usize = 4_000;

/// The heartbeats of one batch for one node.
#[derive(Debug)]
struct NodeHeartbeats {
    connections: Vec<Connection>,
    gateway: Option<GatewayId>,
    trace: TraceContext,
}

type NodeCombiner = Combiner<NodeHeartbeats, AppliedBatch>;

/// The batches in flight to each node.
#[derive(Debug, Clone, Default)]
pub(super) struct CombinedBatches(Arc<Mutex<HashMap<Option<Address>, Arc<NodeCombiner>>>>);

impl CombinedBatches {
    fn of_node(&self, node: Option<Address>) -> Arc<NodeCombiner> {
        let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !nodes.contains_key(&node) {
            // Forgets nodes that have left the cluster.
            nodes.retain(|_, combiner| Arc::strong_count(combiner) > 1);
        }
        Arc::clone(nodes.entry(node).or_default())
    }
}

impl NodeHeartbeats {
    fn batch(&self) -> Batch<'_> {
        let mutation = Mutation::Heartbeat(self.gateway.as_ref());
        Batch {
            mutation,
            connections: &self.connections,
            trace: &self.trace,
        }
    }
}

impl Store {
    /// Renews or restores the leases of a batch, together with those of other batches. Nodes do not
    /// wait for each other.
    pub(super) async fn renew_combined(
        &self,
        gateway: Option<&GatewayId>,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> AppliedBatch {
        let shard = |place: &usize| self.keys.shard(&connections[*place].player_id);
        let nodes = self
            .redis
            .group_by_node((0..connections.len()).collect(), shard)
            .await;
        let renewals = nodes.into_iter().map(async |(node, places)| {
            let heartbeats = NodeHeartbeats {
                connections: places
                    .iter()
                    .map(|place| connections[*place].clone())
                    .collect(),
                gateway: gateway.cloned(),
                trace: trace.clone(),
            };
            (
                places,
                self.renew_on_node(&self.combined_batches.of_node(node), heartbeats)
                    .await,
            )
        });
        let mut applied = AppliedBatch::open(connections.len());
        for (places, on_node) in join_all(renewals).await {
            for (place, outcome) in places.into_iter().zip(on_node.outcomes) {
                applied.outcomes[place] = outcome;
            }
            applied.events.extend(on_node.events);
            applied.failure = on_node.failure.or(applied.failure);
        }
        applied
    }

    async fn renew_on_node(&self, node: &NodeCombiner, heartbeats: NodeHeartbeats) -> AppliedBatch {
        let count = heartbeats.connections.len();
        match node.turn(heartbeats, count, MAX_HEARTBEATS).await {
            Turn::Done(applied) => applied,
            Turn::Own(call) => {
                let batches: Vec<_> = call.work().map(NodeHeartbeats::batch).collect();
                let applied = self.apply_batches(&scripts::HEARTBEAT, &batches).await;
                call.finish(applied).unwrap_or_default()
            }
        }
    }
}
