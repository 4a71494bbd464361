//! Heartbeat batcher: the heartbeats of several callers in one script call.
//!
//! One call for several players costs Redis and the service much less than one call per player. So
//! heartbeats that arrive at the same time share a call: the first one spawns a task, which a
//! single-threaded runtime polls after all tasks that are ready, and which makes the call for all
//! heartbeats that wait by then. The call only renews known leases, which is all that nearly every
//! heartbeat needs. Everything else may emit events, which continue the trace of their caller, so
//! each caller does it by a call of its own.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use redis::Cmd;
use tokio::sync::oneshot;

use super::{
    Store,
    mutate::append_claim,
    reply::{self, Renewal},
    scripts,
};
use crate::{
    model::{Connection, GatewayId},
    redis::Shard,
};

/// A heartbeat with the gateway that it names, and the sender of its outcome.
type PendingHeartbeat = (Connection, Option<GatewayId>, oneshot::Sender<Renewal>);

/// The heartbeats that wait for the next call.
#[derive(Clone, Default)]
pub(super) struct HeartbeatBatcher(Arc<Mutex<Vec<PendingHeartbeat>>>);

impl HeartbeatBatcher {
    /// Adds a heartbeat. Returns whether it has to start the task: no earlier heartbeat waits, or
    /// its caller has gone.
    fn push(&self, heartbeat: PendingHeartbeat) -> bool {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = pending
            .first()
            .is_none_or(|(.., caller)| caller.is_closed());
        pending.push(heartbeat);
        is_first
    }

    fn take(&self) -> Vec<PendingHeartbeat> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Renews a lease together with those of other callers. `None` if the lease is not known.
    pub(super) async fn renew_coalesced(
        &self,
        connection: &Connection,
        gateway: Option<&GatewayId>,
    ) -> Renewal {
        let (caller, renewal) = oneshot::channel();
        if self
            .heartbeats
            .push((connection.clone(), gateway.cloned(), caller))
        {
            tokio::spawn(self.clone().flush());
        }
        renewal.await.unwrap_or(Ok(None))
    }

    /// Makes one call per group of pending heartbeats. Groups do not wait for each other.
    async fn flush(self) {
        let mut pending: Vec<_> = self.heartbeats.take().into_iter().map(Some).collect();
        let groups = self.group(
            pending
                .iter()
                .flatten()
                .map(|(connection, ..)| &connection.player_id),
        );
        let calls = groups.into_iter().map(|(shard, places)| {
            let group = places
                .iter()
                .filter_map(|place| pending[*place].take())
                .collect();
            self.renew_group(shard, group)
        });
        join_all(calls).await;
    }

    async fn renew_group(&self, shard: Shard, group: Vec<PendingHeartbeat>) {
        let complete = |command: &mut Cmd| {
            command.arg(2 * group.len());
            for (Connection { player_id, .. }, ..) in &group {
                command.arg(&[
                    self.keys.record(shard, player_id),
                    self.keys.past(shard, player_id),
                ]);
            }
            command.arg(self.ttl);
            for (connection, gateway, _) in &group {
                append_claim(command, connection, gateway.as_ref());
            }
        };
        let answer = self.run_one(&scripts::RENEW_KNOWN, shard, complete).await;
        let renewals = reply::renewals(answer, group.len());
        for ((.., caller), renewal) in group.into_iter().zip(renewals) {
            let _ = caller.send(renewal); // the caller may have disconnected
        }
    }
}
