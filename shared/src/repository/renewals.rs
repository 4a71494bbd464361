//! Heartbeats of several callers, in one script call.
//!
//! One call for several players costs Redis and the service much less than a call for each. So heartbeats that come at the
//! same time share one: the first starts a task, which a runtime of one thread polls once it has been through all that is
//! ready, and which makes the call for all that wait by then. The call renews leases that are known. Whatever else is to be
//! done, each caller does by a call of its own, for it may make events, which continue that caller's trace.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use redis::Cmd;
use tokio::sync::oneshot;

use super::{
    Repository,
    keys::Shard,
    mutate::claim,
    reply::{self, Renewal},
    scripts,
};
use crate::model::{Connection, GatewayId};

/// A heartbeat with the gateway that it names, and who waits for it.
type Waiting = (Connection, Option<GatewayId>, oneshot::Sender<Renewal>);

/// Heartbeats that wait for the next call.
#[derive(Clone, Default)]
pub(super) struct Renewals(Arc<Mutex<Vec<Waiting>>>);

impl Renewals {
    /// Adds a heartbeat; whether nobody who is still there came before.
    fn push(&self, heartbeat: Waiting) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = waiting.first().is_none_or(|(.., caller)| caller.is_closed());
        waiting.push(heartbeat);
        is_first
    }

    fn take(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Repository {
    /// Renews a lease together with those of other callers; `None` where there is no other, or the lease is not known.
    pub(super) async fn renew_with_others(&self, connection: &Connection, gateway: Option<&GatewayId>) -> Renewal {
        let (caller, renewal) = oneshot::channel();
        if self.renewals.push((connection.clone(), gateway.cloned(), caller)) {
            tokio::spawn(self.clone().renew_waiting());
        }
        renewal.await.unwrap_or(Ok(None))
    }

    /// Makes a call for each group of those that wait. None waits for another group's.
    async fn renew_waiting(self) {
        let mut waiting: Vec<_> = self.renewals.take().into_iter().map(Some).collect();
        let groups = self.group(waiting.iter().flatten().map(|(connection, ..)| &connection.player_id));
        let mut calls = Vec::new();
        for (shard, places) in groups {
            if places.len() > 1 {
                let group = places.iter().filter_map(|place| waiting[*place].take()).collect();
                calls.push(self.renew_group(shard, group));
            }
        }
        drop(waiting); // who is alone learns it now
        join_all(calls).await;
    }

    async fn renew_group(&self, shard: Shard, group: Vec<Waiting>) {
        let complete = |command: &mut Cmd| {
            command.arg(2 * group.len());
            for (Connection { player_id, .. }, ..) in &group {
                command.arg(&[self.keys.record(shard, player_id), self.keys.past(shard, player_id)]);
            }
            command.arg(self.ttl);
            for (connection, gateway, _) in &group {
                match gateway {
                    Some(gateway) => command.arg(claim(connection, gateway)),
                    None => command.arg(connection.connection_id.as_str()),
                };
            }
        };
        let answer = self.run_one(&scripts::RENEW_KNOWN, shard, complete).await;
        let renewals = reply::renewals(answer, group.len());
        for ((.., caller), renewal) in group.into_iter().zip(renewals) {
            let _ = caller.send(renewal); // it may have hung up
        }
    }
}
