//! The use cases of gateways and other services. This is the one place that orders store → publish.

use std::collections::HashSet;

use hashbrown::DefaultHashBuilder;

use crate::{
    config::{Config, Lifetimes, Limits},
    events::{AttemptPolicy, PublishMode, Publisher},
    model::{
        ActivityChange, Connection, GatewayId, GatewayStatus, OwnedConnection, OwnedConnections,
        PlayerId, Presence, Reason, State, StateChange,
    },
    redis::StoreError,
    store::{
        Applied, AppliedBatch, LeaseOutcome, Mutation, OutboxEntry, Snapshot, StateOutcome, Store,
    },
    telemetry::TraceContext,
};

/// The use cases of the presence service. Any number of instances may serve the same players.
#[derive(Clone)]
pub struct PresenceService {
    store: Store,
    publish_mode: PublishMode,
    lifetimes: Lifetimes,
    limits: Limits,
}

/// Error of a call.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// The connection of a connect or heartbeat was closed before.
    #[error("the connection was closed and stays closed")]
    ConnectionClosed,
    /// The player is OFFLINE and cannot go to IN_QUEUE or IN_MATCH.
    #[error("an OFFLINE player cannot go to {0}")]
    TransitionRejected(State),
    /// The player is OFFLINE and cannot have an activity.
    #[error("an OFFLINE player cannot have an activity")]
    ActivityRejected,
    /// Redis could not be used. The call may or may not have taken effect; it may be
    /// repeated, except a state that a newer call has replaced.
    #[error("the store could not be used")]
    Store(#[from] StoreError),
}

/// The outcomes of the entries of a batch. A repeated entry counts once.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// The number of entries that took effect or needed no change, including the restored ones.
    pub accepted: usize,
    /// Connections that heartbeats opened, as they were not known (any more) and not closed.
    pub restored: Vec<Connection>,
    /// Connections that were closed before. They are unchanged.
    pub closed: Vec<Connection>,
    /// Connections whose Redis node did not respond, or whose keys are of another type.
    pub failed: Vec<Connection>,
}

impl PresenceService {
    /// Creates a service on the players in `store`, whose events are published by `publish_mode`.
    pub fn new(config: &Config, store: Store, publish_mode: PublishMode) -> Self {
        Self {
            store,
            publish_mode,
            lifetimes: config.lifetimes.clone(),
            limits: config.limits.clone(),
        }
    }

    /// TTLs, graces and intervals.
    pub fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// Bounds of what one call may carry.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Opens a connection. The first one makes the player ONLINE.
    ///
    /// # Errors
    /// [`PresenceError::ConnectionClosed`], [`PresenceError::Store`].
    pub async fn connect<'a>(
        &self,
        connection: impl Into<OwnedConnection<'a>>,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        let OwnedConnection {
            connection,
            gateway,
        } = connection.into();
        self.apply(Mutation::Connect(gateway), connection, trace)
            .await
    }

    /// Renews a connection's lease, or restores it.
    ///
    /// # Errors
    /// [`PresenceError::ConnectionClosed`], [`PresenceError::Store`].
    pub async fn heartbeat<'a>(
        &self,
        connection: impl Into<OwnedConnection<'a>>,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        let OwnedConnection {
            connection,
            gateway,
        } = connection.into();
        let applied = self.store.heartbeat(connection, gateway, trace).await?;
        self.presence_of(applied).await
    }

    /// Closes a connection. The last one makes the player OFFLINE.
    ///
    /// # Errors
    /// [`PresenceError::Store`].
    pub async fn disconnect(
        &self,
        connection: &Connection,
        reason: Reason,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        self.apply(Mutation::Disconnect(reason), connection, trace)
            .await
    }

    /// Opens many connections, as [`connect`](Self::connect) does.
    ///
    /// # Errors
    /// [`StoreError`] if no Redis node responded.
    pub async fn connect_batch(
        &self,
        connections: impl Into<OwnedConnections>,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        let OwnedConnections {
            connections,
            gateway,
        } = connections.into();
        let mutation = Mutation::Connect(gateway.as_ref());
        let mut outcome = Box::pin(self.apply_batch(mutation, connections, trace)).await?;
        outcome.restored.clear(); // a new lease is the usual outcome of a connect
        Ok(outcome)
    }

    /// Renews or restores the leases of many connections, as [`heartbeat`](Self::heartbeat) does.
    ///
    /// # Errors
    /// [`StoreError`] if no Redis node responded.
    pub async fn heartbeat_batch(
        &self,
        connections: impl Into<OwnedConnections>,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        let OwnedConnections {
            connections,
            gateway,
        } = connections.into();
        Box::pin(self.apply_batch(Mutation::Heartbeat(gateway.as_ref()), connections, trace)).await
    }

    /// Closes many connections, as [`disconnect`](Self::disconnect) does.
    ///
    /// # Errors
    /// [`StoreError`] if no Redis node responded.
    pub async fn disconnect_batch(
        &self,
        connections: Vec<Connection>,
        reason: Reason,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        Box::pin(self.apply_batch(Mutation::Disconnect(reason), connections, trace)).await
    }

    /// Renews a gateway's lease.
    ///
    /// # Errors
    /// [`PresenceError::Store`].
    pub async fn renew_gateway(&self, gateway: &GatewayId) -> Result<GatewayStatus, PresenceError> {
        Ok(self.store.renew_gateway(gateway).await?)
    }

    /// Ends a gateway's lease, and the leases of its connections. Returns the number of leases that
    /// this call ended; 0 if the gateway is not known.
    ///
    /// # Errors
    /// [`PresenceError::Store`]. Sweeps end what is left.
    pub async fn leave_gateway(
        &self,
        gateway: &GatewayId,
        reason: Reason,
        trace: &TraceContext,
    ) -> Result<u64, PresenceError> {
        let Some(ending) = self.store.leave_gateway(gateway, reason).await? else {
            return Ok(0);
        };
        let mut connections_ending = self.store.end_connections(&ending, trace).await?;
        let mut ended = 0;
        // Each step ends some leases; its events are published before the next one.
        while let Some(step) = connections_ending.next().await {
            ended += step.ended;
            self.deliver(&step.events).await;
        }
        connections_ending.finish().await?;
        Ok(ended)
    }

    /// Sets a player's state, activity, or both. OFFLINE signs the player out.
    ///
    /// # Errors
    /// [`PresenceError::TransitionRejected`], [`PresenceError::ActivityRejected`],
    /// [`PresenceError::Store`].
    pub async fn set_state(
        &self,
        player: &PlayerId,
        change: impl Into<StateChange>,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        let change = change.into();
        let applied = self.store.set_state(player, &change, trace).await?;
        self.deliver(&applied.events).await;
        match applied.outcome {
            StateOutcome::Rejected => Err(match (change.state, change.activity) {
                (Some(state), ActivityChange::Keep | ActivityChange::Remove) => {
                    PresenceError::TransitionRejected(state)
                }
                _ => PresenceError::ActivityRejected,
            }),
            StateOutcome::Accepted => Ok(applied.presence),
        }
    }

    /// Reads presences, in the order of `players`. With `history`, those of OFFLINE players have
    /// `last_seen` and `version`.
    ///
    /// # Errors
    /// [`PresenceError::Store`] if one of the Redis nodes did not respond.
    pub async fn presences(
        &self,
        players: &[PlayerId],
        history: bool,
    ) -> Result<Snapshot, PresenceError> {
        Ok(match history {
            true => self.store.presences_with_history(players).await?,
            false => self.store.presences(players).await?,
        })
    }

    async fn apply(
        &self,
        mutation: Mutation<'_>,
        connection: &Connection,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        let applied = self.store.apply(mutation, connection, trace).await?;
        self.presence_of(applied).await
    }

    /// Publishes the events of a mutation. Returns the presence after it.
    async fn presence_of(&self, applied: Applied<LeaseOutcome>) -> Result<Presence, PresenceError> {
        self.deliver(&applied.events).await;
        match applied.outcome {
            LeaseOutcome::Closed => Err(PresenceError::ConnectionClosed),
            LeaseOutcome::Accepted | LeaseOutcome::Restored => Ok(applied.presence),
        }
    }

    /// Applies a mutation to a batch.
    ///
    /// Box this future: it is large and would otherwise inflate every handler's future, even for
    /// single calls.
    async fn apply_batch(
        &self,
        mutation: Mutation<'_>,
        mut connections: Vec<Connection>,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        remove_repeated(&mut connections);
        let AppliedBatch {
            outcomes,
            events,
            failure,
        } = self.store.apply_batch(mutation, &connections, trace).await;
        self.deliver(&events).await;
        let mut batch = BatchOutcome::default();
        for (connection, outcome) in connections.into_iter().zip(outcomes) {
            match outcome {
                Some(LeaseOutcome::Closed) => batch.closed.push(connection),
                Some(outcome) => {
                    batch.accepted += 1;
                    if outcome == LeaseOutcome::Restored {
                        batch.restored.push(connection);
                    }
                }
                None => batch.failed.push(connection),
            }
        }
        match failure {
            Some(error) if batch.accepted == 0 && batch.closed.is_empty() => Err(error.into()),
            Some(error) => {
                // The store has logged the node's failure, once per episode.
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, failed = batch.failed.len(), "batch failed in part");
                Ok(batch)
            }
            None => Ok(batch),
        }
    }

    /// Publishes the events, or notifies the relay. A failure does not concern the caller: the
    /// events wait in the outbox.
    async fn deliver(&self, events: &[OutboxEntry]) {
        match &self.publish_mode {
            _ if events.is_empty() => {}
            PublishMode::Off => {}
            // Boxed, as the future is large.
            PublishMode::Inline(publisher) => Box::pin(self.publish(publisher, events)).await,
            PublishMode::Relayed(signal) => signal.notify(events),
        }
    }

    async fn publish(&self, publisher: &Publisher, events: &[OutboxEntry]) {
        let published = publisher.publish(events, AttemptPolicy::CALL).await;
        if let Err(error) = self.store.remove_done(&published.done()).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "published events not removed from the outbox; they are published again"
            );
        }
    }
}

/// Removes repeated entries, and keeps the order of the others.
fn remove_repeated(connections: &mut Vec<Connection>) {
    let mut are_new = Vec::with_capacity(connections.len());
    // A third of the time of `std`'s hash, which resists collisions better: a caller with a token
    // that writes could make a body of 1 MiB, the largest, take seconds, and gain nothing by it.
    let mut seen =
        HashSet::with_capacity_and_hasher(connections.len(), DefaultHashBuilder::default());
    are_new.extend(connections.iter().map(|connection| seen.insert(connection)));
    let mut first_occurrences = are_new.into_iter();
    connections.retain(|_| first_occurrences.next().unwrap_or(true));
}
