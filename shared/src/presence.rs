//! The use cases: what gateways and other services ask for. The one place that orders store → publish.

use std::collections::HashSet;

use crate::{
    config::{Config, Lifetimes, Limits},
    events::{Delivery, Patience, Publisher},
    model::{
        ActivityChange, Connection, DisconnectReason, GatewayId, GatewayStatus, OwnedConnection, OwnedConnections,
        PlayerId, Presence, PresenceState, StateChange,
    },
    repository::{AppliedBatch, LeaseOutcome, Mutation, OutboxEntry, Repository, Snapshot, StateOutcome, StoreError},
    trace::TraceContext,
};

/// Presence: any number of instances may serve the same players.
#[derive(Clone)]
pub struct PresenceService {
    repository: Repository,
    delivery: Delivery,
    lifetimes: Lifetimes,
    limits: Limits,
}

/// Why a call changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    /// A connect or heartbeat of a connection that was closed before.
    #[error("the connection was closed and stays closed")]
    ConnectionClosed,
    /// OFFLINE → IN_QUEUE or IN_MATCH.
    #[error("an OFFLINE player cannot go to {0}")]
    TransitionRejected(PresenceState),
    /// An activity of an OFFLINE player.
    #[error("an OFFLINE player cannot have an activity")]
    ActivityRejected,
    /// Redis could not be used. The call may or may not have taken effect; it is safe to repeat.
    #[error("the store could not be used")]
    Store(#[from] StoreError),
}

/// What became of each entry of a batch. An entry that was named twice is answered once.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// The number of entries that took effect or were already so, the restored among them.
    pub accepted: usize,
    /// Connections that the record did not hold.
    pub restored: Vec<Connection>,
    /// Connections that were closed before: nothing changed.
    pub closed: Vec<Connection>,
    /// Connections whose Redis node did not answer, or whose keys are of another type.
    pub failed: Vec<Connection>,
}

impl PresenceService {
    /// A service on the players in `repository`, whose events take the way of `delivery`.
    pub fn new(config: &Config, repository: Repository, delivery: Delivery) -> Self {
        Self { repository, delivery, lifetimes: config.lifetimes.clone(), limits: config.limits.clone() }
    }

    /// How long things live.
    pub fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// How much one call may carry.
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
        let OwnedConnection { connection, gateway } = connection.into();
        self.apply(Mutation::Connect(gateway), connection, trace).await
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
        let OwnedConnection { connection, gateway } = connection.into();
        self.apply(Mutation::Heartbeat(gateway), connection, trace).await
    }

    /// Closes a connection. The last one makes the player OFFLINE.
    ///
    /// # Errors
    /// [`PresenceError::Store`].
    pub async fn disconnect(
        &self,
        connection: &Connection,
        reason: DisconnectReason,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        self.apply(Mutation::Disconnect(reason), connection, trace).await
    }

    /// [`connect`](Self::connect) for many connections.
    ///
    /// # Errors
    /// [`StoreError`] where no Redis node answered.
    pub async fn connect_batch(
        &self,
        connections: impl Into<OwnedConnections>,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        let OwnedConnections { connections, gateway } = connections.into();
        let mutation = Mutation::Connect(gateway.as_ref());
        let mut outcome = Box::pin(self.apply_batch(mutation, connections, trace)).await?;
        outcome.restored.clear(); // a connect that makes a lease is what a connect is for
        Ok(outcome)
    }

    /// [`heartbeat`](Self::heartbeat) for many connections.
    ///
    /// # Errors
    /// [`StoreError`] where no Redis node answered.
    pub async fn heartbeat_batch(
        &self,
        connections: impl Into<OwnedConnections>,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        let OwnedConnections { connections, gateway } = connections.into();
        Box::pin(self.apply_batch(Mutation::Heartbeat(gateway.as_ref()), connections, trace)).await
    }

    /// [`disconnect`](Self::disconnect) for many connections.
    ///
    /// # Errors
    /// [`StoreError`] where no Redis node answered.
    pub async fn disconnect_batch(
        &self,
        connections: Vec<Connection>,
        reason: DisconnectReason,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        Box::pin(self.apply_batch(Mutation::Disconnect(reason), connections, trace)).await
    }

    /// Renews a gateway's lease.
    ///
    /// # Errors
    /// [`PresenceError::Store`].
    pub async fn renew_gateway(&self, gateway: &GatewayId) -> Result<GatewayStatus, PresenceError> {
        Ok(self.repository.renew_gateway(gateway).await?)
    }

    /// Ends a gateway's lease, and the leases of its connections. Returns the number of leases that this call ended; 0 if the
    /// gateway is not known.
    ///
    /// # Errors
    /// [`PresenceError::Store`]. Sweeps end what is left.
    pub async fn leave_gateway(
        &self,
        gateway: &GatewayId,
        reason: DisconnectReason,
        trace: &TraceContext,
    ) -> Result<u64, PresenceError> {
        let Some(ending) = self.repository.leave_gateway(gateway, reason).await? else { return Ok(0) };
        let mut drain = self.repository.drain(&ending, trace).await?;
        let mut ended = 0;
        while let Some(step) = drain.next().await {
            ended += step.ended;
            self.deliver(&step.events).await;
        }
        drain.finish().await?;
        Ok(ended)
    }

    /// Sets a player's state, activity, or both. OFFLINE signs the player out.
    ///
    /// # Errors
    /// [`PresenceError::TransitionRejected`], [`PresenceError::ActivityRejected`], [`PresenceError::Store`].
    pub async fn set_state(
        &self,
        player: &PlayerId,
        change: impl Into<StateChange>,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        let change = change.into();
        let applied = self.repository.set_state(player, &change, trace).await?;
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

    /// Reads presences, in the order asked; with `history`, also what is known of OFFLINE players' past.
    ///
    /// # Errors
    /// [`PresenceError::Store`] where one of the Redis nodes did not answer.
    pub async fn presences(&self, players: &[PlayerId], history: bool) -> Result<Snapshot, PresenceError> {
        Ok(match history {
            true => self.repository.presences_with_history(players).await?,
            false => self.repository.presences(players).await?,
        })
    }

    async fn apply(
        &self,
        mutation: Mutation<'_>,
        connection: &Connection,
        trace: &TraceContext,
    ) -> Result<Presence, PresenceError> {
        let applied = self.repository.apply(mutation, connection, trace).await?;
        self.deliver(&applied.events).await;
        match applied.outcome {
            LeaseOutcome::Closed => Err(PresenceError::ConnectionClosed),
            LeaseOutcome::Accepted | LeaseOutcome::Restored => Ok(applied.presence),
        }
    }

    /// Its future is large, and so would be that of a handler which waits for it, also where there is no batch: futures
    /// are moved about. Box it.
    async fn apply_batch(
        &self,
        mutation: Mutation<'_>,
        mut connections: Vec<Connection>,
        trace: &TraceContext,
    ) -> Result<BatchOutcome, PresenceError> {
        remove_repeated(&mut connections);
        let AppliedBatch { outcomes, events, failure } =
            self.repository.apply_batch(mutation, &connections, trace).await;
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
                // Once per episode and not per call: the node's failure is logged where it is noticed.
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, failed = batch.failed.len(), "batch failed in part");
                Ok(batch)
            }
            None => Ok(batch),
        }
    }

    /// Nothing that goes wrong here is the caller's concern: the outbox has the events.
    async fn deliver(&self, events: &[OutboxEntry]) {
        match &self.delivery {
            _ if events.is_empty() => {}
            Delivery::Disabled => {}
            // Boxed as a batch is.
            Delivery::BeforeAnswer(publisher) => Box::pin(self.publish(publisher, events)).await,
            Delivery::ByRelay(signal) => signal.tell(events),
        }
    }

    async fn publish(&self, publisher: &Publisher, events: &[OutboxEntry]) {
        let published = publisher.publish(events, Patience::CALL).await;
        if let Err(error) = self.repository.strike(&published.all()).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "published events not struck; they are published again");
        }
    }
}

fn remove_repeated(connections: &mut Vec<Connection>) {
    let mut is_new = Vec::with_capacity(connections.len());
    let mut seen = HashSet::with_capacity(connections.len());
    is_new.extend(connections.iter().map(|connection| seen.insert(connection)));
    let mut is_new = is_new.into_iter();
    connections.retain(|_| is_new.next().unwrap_or(true));
}
