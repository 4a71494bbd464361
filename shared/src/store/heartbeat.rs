//! Heartbeats of one connection each. Those of several callers share a script call.
//!
//! One call for several players costs Redis and the service much less than one call per player. So
//! heartbeats that arrive at the same time share a call: the first one spawns a task, which a
//! single-threaded runtime polls after all tasks that are ready, and which makes the call for all
//! heartbeats that wait by then. The call only renews known leases, which is all that nearly every
//! heartbeat needs. Everything else may emit events, which continue the trace of their caller, so
//! each caller does it by a call of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::join_all;
use redis::{Cmd, Value};
use tokio::sync::oneshot;

use super::{
    Applied, LeaseOutcome, Mutation, Store, batch::ENTRIES_PER_CALL, record::Record, scripts,
};
use crate::{
    model::{Connection, GatewayId},
    redis::{Shard, StoreError},
    telemetry::{Span, TraceContext},
};

/// The record after a renewal of a lease. `None` if the lease is not known.
pub(super) type Renewal = Result<Option<Record>, StoreError>;

/// A heartbeat that waits for the next call.
struct PendingHeartbeat {
    connection: Connection,
    gateway: Option<GatewayId>,
    caller: oneshot::Sender<Renewal>,
}

/// The heartbeats that wait for the next call.
#[derive(Clone, Default)]
pub(super) struct HeartbeatBatcher(Arc<Mutex<Vec<PendingHeartbeat>>>);

impl HeartbeatBatcher {
    /// Adds a heartbeat. Returns whether it has to start the task: no earlier heartbeat waits, or
    /// its caller has gone.
    fn push(&self, heartbeat: PendingHeartbeat) -> bool {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = pending.first().is_none_or(|first| first.caller.is_closed());
        pending.push(heartbeat);
        is_first
    }

    fn take(&self) -> Vec<PendingHeartbeat> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Renews or restores the lease of one connection, which belongs to this gateway, if the call
    /// names one.
    pub(crate) async fn heartbeat(
        &self,
        connection: &Connection,
        gateway: Option<&GatewayId>,
        trace: &TraceContext,
    ) -> Result<Applied<LeaseOutcome>, StoreError> {
        let span = Span::script(trace, scripts::RENEW_KNOWN.name, 1);
        let (caller, receiver) = oneshot::channel();
        let heartbeat = PendingHeartbeat {
            connection: connection.clone(),
            gateway: gateway.cloned(),
            caller,
        };
        if self.heartbeats.push(heartbeat) {
            tokio::spawn(self.clone().flush());
        }
        let renewal = receiver.await.unwrap_or(Ok(None));
        span.end(renewal.as_ref().err().map(StoreError::kind));
        match renewal? {
            Some(record) => Ok(Applied {
                outcome: LeaseOutcome::Accepted,
                presence: record.presence(connection.player_id.clone()),
                events: Vec::new(),
            }),
            None => {
                self.apply(Mutation::Heartbeat(gateway), connection, trace)
                    .await
            }
        }
    }

    /// Makes the calls for all pending heartbeats. Calls do not wait for each other.
    async fn flush(self) {
        let mut shards = BTreeMap::<Shard, Vec<Vec<PendingHeartbeat>>>::new();
        for heartbeat in self.heartbeats.take() {
            let shard = self.keys.shard(&heartbeat.connection.player_id);
            let calls = shards.entry(shard).or_default();
            match calls.last_mut() {
                Some(call) if call.len() < ENTRIES_PER_CALL => call.push(heartbeat),
                _ => calls.push(vec![heartbeat]),
            }
        }
        let store = &self;
        let calls = shards.into_iter().flat_map(|(shard, calls)| {
            calls
                .into_iter()
                .map(move |call| store.renew_known(shard, call))
        });
        join_all(calls).await;
    }

    /// Renews the leases that are known, and reports each outcome to its caller.
    async fn renew_known(&self, shard: Shard, heartbeats: Vec<PendingHeartbeat>) {
        let complete = |command: &mut Cmd| {
            scripts::reserve(command, heartbeats.len());
            command.arg(2 * heartbeats.len());
            for PendingHeartbeat { connection, .. } in &heartbeats {
                let player = &connection.player_id;
                command.arg(&[
                    self.keys.record(shard, player),
                    self.keys.past(shard, player),
                ]);
            }
            command.arg(self.ttl);
            for PendingHeartbeat {
                connection,
                gateway,
                ..
            } in &heartbeats
            {
                command.arg(scripts::claim(connection, gateway.as_ref()));
            }
        };
        let script = &scripts::RENEW_KNOWN;
        let reply = script.run(&self.redis, shard, complete).await;
        let renewals = renewals(reply, heartbeats.len());
        for (PendingHeartbeat { caller, .. }, renewal) in heartbeats.into_iter().zip(renewals) {
            let _ = caller.send(renewal); // the caller may have disconnected
        }
    }
}

/// Parses the reply of `renew_known.lua`, for each of its `entries`.
pub(super) fn renewals(reply: Result<Value, StoreError>, entries: usize) -> Vec<Renewal> {
    match reply {
        Ok(Value::Array(records)) if records.len() == entries => {
            records.iter().map(Record::from_value).collect()
        }
        // Some players have an activity, which is in the past.
        Ok(Value::Array(values)) if values.len() == 2 * entries => {
            let (records, pasts) = values.split_at(entries);
            records
                .iter()
                .zip(pasts)
                .map(|(record, past)| Record::from_values([record, past]))
                .collect()
        }
        Ok(_) => vec![Err(StoreError::Unexpected("a script's reply")); entries],
        Err(error) => vec![Err(error); entries],
    }
}
