//! Heartbeats of several callers, in one script call.
//!
//! One call for several players costs Redis and the service much less than a call for each. So heartbeats that come at the
//! same time share one: the first starts a task, which runs once the runtime has been through all that is ready, and makes
//! the call for all that wait by then. The call renews leases that are known. Whatever else is to be done, each caller does
//! by a call of its own, for it may make events, which continue that caller's trace.

use std::sync::{Arc, Mutex, PoisonError};

use redis::Cmd;
use tokio::sync::oneshot;

use super::{
    Repository, StoreError,
    reply::{self, Renewal},
    scripts,
};
use crate::model::Connection;

type Caller = oneshot::Sender<Renewal>;

/// Heartbeats that wait for the next call.
#[derive(Clone, Default)]
pub(super) struct Renewals(Arc<Mutex<Vec<(Connection, Caller)>>>);

impl Renewals {
    /// Adds a heartbeat; whether it is the first one.
    fn push(&self, connection: Connection, caller: Caller) -> bool {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push((connection, caller));
        waiting.len() == 1
    }

    fn take(&self) -> (Vec<Connection>, Vec<Caller>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *waiting).into_iter().unzip()
    }
}

impl Repository {
    /// Renews a lease together with those of other callers; `None` where there is no other, or the lease is not known.
    pub(super) async fn renew_with_others(&self, connection: &Connection) -> Renewal {
        let (caller, renewal) = oneshot::channel();
        if self.renewals.push(connection.clone(), caller) {
            let repository = self.clone();
            tokio::spawn(async move { repository.renew_waiting().await });
        }
        renewal.await.unwrap_or(Err(StoreError::Unexpected("a call that was given up")))
    }

    /// Makes one call for all that wait.
    async fn renew_waiting(&self) {
        let (connections, callers) = self.renewals.take();
        let mut groups = self.group(&connections);
        groups.retain(|(_, places)| places.len() > 1);
        let calls: Vec<_> = groups
            .iter()
            .map(|(shard, places)| {
                let entries = places.iter().map(|place| &connections[*place]);
                (*shard, move |command: &mut Cmd| self.append_renewals(command, entries.clone()))
            })
            .collect();
        let answers = self.run_all(&scripts::HEARTBEAT, &calls).await;
        let mut renewals = vec![Ok(None); connections.len()];
        for ((_, places), answer) in groups.iter().zip(answers) {
            for (place, renewal) in places.iter().zip(reply::renewals(answer, places.len())) {
                renewals[*place] = renewal;
            }
        }
        for (caller, renewal) in callers.into_iter().zip(renewals) {
            let _ = caller.send(renewal); // it may have hung up
        }
    }

    /// Appends what a shared call carries: see `lua/heartbeat.lua`.
    fn append_renewals<'a>(
        &self,
        command: &mut Cmd,
        connections: impl ExactSizeIterator<Item = &'a Connection> + Clone,
    ) {
        command.arg(2 * connections.len());
        for Connection { player_id, .. } in connections.clone() {
            command.arg(&[self.keys.record(player_id), self.keys.past(player_id)]);
        }
        command.arg(self.ttl).arg("");
        for Connection { connection_id, .. } in connections {
            command.arg(connection_id.as_str());
        }
    }
}
