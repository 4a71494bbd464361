//! Mutations: entries in, outcomes out, by one script each.

use redis::{Cmd, ServerErrorKind, Value};

use super::{
    OutboxEntry, Outcome, Repository, StoreError,
    joined::Joined,
    keys::Shard,
    reply::Reply,
    scripts::{self, Script},
};
use crate::{
    model::{ActivityChange, Connection, DisconnectReason, GatewayId, PlayerId, Presence, PresenceState, StateChange},
    trace::{Span, TraceContext},
};

/// The number of entries that one script call carries: enough to make the call's own cost small, few enough not to hold
/// up other clients for long.
pub(super) const ENTRIES_PER_CALL: usize = 50;

/// The keys of an entry cannot be used, since someone wrote to them: nothing of it changed.
pub(super) const OTHER_TYPE: StoreError = StoreError::Unexpected("a key of another type");

/// What is done with a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mutation<'a> {
    /// Of connections that belong to this gateway, if the call names one.
    Connect(Option<&'a GatewayId>),
    /// Of connections that belong to this gateway, if the call names one.
    Heartbeat(Option<&'a GatewayId>),
    Disconnect(DisconnectReason),
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseOutcome {
    /// It took effect, or was already so.
    Accepted,
    /// The record did not hold the lease: it was made.
    Restored,
    /// The connection was closed before: nothing changed.
    Closed,
}

/// What became of a state that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateOutcome {
    /// It took effect, or was already so.
    Accepted,
    /// The transition is not allowed: nothing changed.
    Rejected,
}

/// What was done with one player.
#[derive(Debug)]
pub(crate) struct Applied<O> {
    pub(crate) outcome: O,
    /// The player's presence afterwards.
    pub(crate) presence: Presence,
    pub(crate) events: Vec<OutboxEntry>,
}

/// What was done with many connections.
#[derive(Debug, Default)]
pub(crate) struct AppliedBatch {
    /// For each connection, in order; `None` if its Redis node did not answer, or its keys are of another type.
    pub(crate) outcomes: Vec<Option<LeaseOutcome>>,
    pub(crate) events: Vec<OutboxEntry>,
    /// Why entries failed.
    pub(crate) failure: Option<StoreError>,
}

impl Repository {
    /// Connects, renews or disconnects one connection.
    pub(crate) async fn apply(
        &self,
        mutation: Mutation<'_>,
        connection: &Connection,
        trace: &TraceContext,
    ) -> Result<Applied<LeaseOutcome>, StoreError> {
        let span = Span::script(trace, mutation.script().name, 1);
        let applied = self.apply_within(mutation, connection, span.context()).await;
        span.end(applied.as_ref().err().map(StoreError::kind));
        applied
    }

    async fn apply_within(
        &self,
        mutation: Mutation<'_>,
        connection: &Connection,
        trace: &TraceContext,
    ) -> Result<Applied<LeaseOutcome>, StoreError> {
        let player = &connection.player_id;
        if let Mutation::Heartbeat(gateway) = mutation
            && let Some(record) = self.renew_with_others(connection, gateway).await?
        {
            let presence = record.presence(player.clone());
            return Ok(Applied { outcome: LeaseOutcome::Accepted, presence, events: Vec::new() });
        }
        let arguments = |command: &mut Cmd| self.append(command, mutation, [connection]);
        applied(Box::pin(self.run(mutation.script(), &[player], trace, arguments)).await?, player, lease_outcome)
    }

    /// The same for many connections, in one round trip to each Redis node involved.
    pub(crate) async fn apply_batch(
        &self,
        mutation: Mutation<'_>,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> AppliedBatch {
        let span = Span::script(trace, mutation.script().name, connections.len());
        let trace = span.context();
        let groups = self.group(connections.iter().map(|connection| &connection.player_id));
        let calls: Vec<_> = groups
            .iter()
            .map(|(shard, places)| {
                let entries = places.iter().map(|place| &connections[*place]);
                let complete = move |command: &mut Cmd| {
                    self.append_call(command, *shard, entries.clone().map(|entry| &entry.player_id), trace);
                    self.append(command, mutation, entries.clone());
                };
                (*shard, complete)
            })
            .collect();
        let answers = self.run_all(mutation.script(), &calls).await;
        let mut batch = AppliedBatch { outcomes: vec![None; connections.len()], ..AppliedBatch::default() };
        for ((shard, places), answer) in groups.iter().zip(answers) {
            match answer.and_then(|answer| Reply::parse(answer, places.len(), *shard, trace)) {
                Ok(reply) => {
                    for (place, outcome) in places.iter().zip(reply.outcomes) {
                        match lease_outcome(outcome) {
                            Ok(outcome) => batch.outcomes[*place] = Some(outcome),
                            Err(error) => batch.failure = Some(error),
                        }
                    }
                    batch.events.extend(reply.events);
                }
                Err(error) => batch.failure = Some(error),
            }
        }
        span.end(batch.failure.as_ref().map(StoreError::kind));
        batch
    }

    /// Sets a player's state, activity, or both.
    pub(crate) async fn set_state(
        &self,
        player: &PlayerId,
        change: &StateChange,
        trace: &TraceContext,
    ) -> Result<Applied<StateOutcome>, StoreError> {
        let reply = self
            .call(&scripts::SET_STATE, &[player], trace, |command| {
                command.arg(change.state.map_or("", PresenceState::as_str));
                match &change.activity {
                    ActivityChange::Keep => {}
                    ActivityChange::Remove => drop(command.arg("null")),
                    ActivityChange::Set(activity) => drop(command.arg(&*activity.stored())),
                }
            })
            .await?;
        applied(reply, player, state_outcome)
    }

    /// Calls a script for players of one shard. `arguments` appends what the script's own header names.
    pub(super) async fn call(
        &self,
        script: &Script,
        players: &[&PlayerId],
        trace: &TraceContext,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Reply, StoreError> {
        let span = Span::script(trace, script.name, players.len());
        let reply = self.run(script, players, span.context(), arguments).await;
        span.end(reply.as_ref().err().map(StoreError::kind));
        reply
    }

    async fn run(
        &self,
        script: &Script,
        players: &[&PlayerId],
        trace: &TraceContext,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Reply, StoreError> {
        let shard = self.keys.shard(players[0]);
        let complete = |command: &mut Cmd| {
            self.append_call(command, shard, players.iter().copied(), trace);
            arguments(command);
        };
        let answer = self.run_one(script, shard, complete).await?;
        Reply::parse(answer, players.len(), shard, trace)
    }

    /// Calls a script at the node of a shard. `complete` appends its keys and arguments.
    pub(super) async fn run_one(
        &self,
        script: &Script,
        shard: Shard,
        complete: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let query = async |call: Cmd| self.connection.query_with(script.policy, shard, &call).await;
        match query(script.call_by_hash(&complete)).await {
            // Not carried out, so it may be sent again whatever the script is.
            Err(error) if is_unknown_script(&error) => query(script.call_by_source(&complete)).await,
            answer => answer,
        }
    }

    /// Calls a script many times, each time at the node of a shard. Each of `calls` appends its keys and arguments.
    async fn run_all(&self, script: &Script, calls: &[(Shard, impl Fn(&mut Cmd))]) -> Vec<Result<Value, StoreError>> {
        let by_hash: Vec<_> = calls.iter().map(|(shard, complete)| (*shard, script.call_by_hash(complete))).collect();
        let mut answers = self.connection.query_all_with(script.policy, &by_hash).await;
        let is_unknown = |place: &usize| answers[*place].as_ref().is_err_and(is_unknown_script);
        let unknown: Vec<_> = (0..calls.len()).filter(is_unknown).collect();
        if unknown.is_empty() {
            return answers;
        }
        let by_source = |place: &usize| (calls[*place].0, script.call_by_source(&calls[*place].1));
        let by_source: Vec<_> = unknown.iter().map(by_source).collect();
        let by_source = self.connection.query_all_with(script.policy, &by_source).await;
        for (place, answer) in unknown.into_iter().zip(by_source) {
            answers[place] = answer;
        }
        answers
    }

    /// Players whom one script call may carry, by their places in the list: of one shard, and not too many.
    pub(super) fn group<'a>(&self, players: impl Iterator<Item = &'a PlayerId>) -> Vec<(Shard, Vec<usize>)> {
        let shards = self.keys.group_by_shard(players);
        let chunks = |(shard, places): (&Shard, &Vec<usize>)| {
            let shard = *shard;
            places.chunks(ENTRIES_PER_CALL).map(move |chunk| (shard, chunk.to_vec())).collect::<Vec<_>>()
        };
        shards.iter().flat_map(chunks).collect()
    }

    /// Appends what every call carries: see `lua/lib/call.lua`.
    fn append_call<'a>(
        &self,
        command: &mut Cmd,
        shard: Shard,
        players: impl ExactSizeIterator<Item = &'a PlayerId>,
        trace: &TraceContext,
    ) {
        command.arg(3 * players.len() + 2 + usize::from(self.has_outbox));
        for player in players {
            let keys = &self.keys;
            command.arg(&[keys.record(shard, player), keys.past(shard, player), keys.closed(shard, player)]);
        }
        command.arg(&[self.keys.index(shard), self.keys.owners(shard)]);
        if self.has_outbox {
            command.arg(self.keys.outbox(shard));
        }
        let id_offset = self.keys.id_offset(shard);
        let terms = Joined([&self.terms, id_offset, trace.traceparent(), " ", trace.tracestate()]);
        command.arg(self.ttl).arg(terms);
    }

    /// Appends a mutation's own arguments.
    fn append<'a>(
        &self,
        command: &mut Cmd,
        mutation: Mutation<'_>,
        connections: impl IntoIterator<Item = &'a Connection>,
    ) {
        match mutation {
            Mutation::Connect(Some(gateway)) | Mutation::Heartbeat(Some(gateway)) => {
                for connection in connections {
                    command.arg(claim(connection, gateway));
                }
                return;
            }
            Mutation::Connect(None) | Mutation::Heartbeat(None) => {}
            Mutation::Disconnect(reason) => {
                let (reason, grace) = self.end_of(reason);
                command.arg(reason).arg(grace);
            }
        }
        for connection in connections {
            command.arg(connection.connection_id.as_str());
        }
    }
}

/// A connection and the gateway that it belongs to, as scripts take and store them: see `lua/lib/past.lua`.
pub(super) fn claim<'a>(connection: &'a Connection, gateway: &'a GatewayId) -> Joined<'a> {
    Joined([connection.connection_id.as_str(), "!", gateway.as_str(), ""])
}

impl Mutation<'_> {
    fn script(self) -> &'static Script {
        match self {
            Self::Connect(_) => &scripts::CONNECT,
            Self::Heartbeat(_) => &scripts::HEARTBEAT,
            Self::Disconnect(_) => &scripts::DISCONNECT,
        }
    }
}

/// A letter that the script in question does not answer with.
const OTHER_OUTCOME: StoreError = StoreError::Unexpected("another script's outcome");

fn lease_outcome(outcome: Outcome) -> Result<LeaseOutcome, StoreError> {
    match outcome {
        Outcome::Accepted => Ok(LeaseOutcome::Accepted),
        Outcome::Restored => Ok(LeaseOutcome::Restored),
        Outcome::Closed => Ok(LeaseOutcome::Closed),
        Outcome::Failed => Err(OTHER_TYPE),
        Outcome::Expired | Outcome::Rejected => Err(OTHER_OUTCOME),
    }
}

fn state_outcome(outcome: Outcome) -> Result<StateOutcome, StoreError> {
    match outcome {
        Outcome::Accepted => Ok(StateOutcome::Accepted),
        Outcome::Rejected => Ok(StateOutcome::Rejected),
        Outcome::Failed => Err(OTHER_TYPE),
        Outcome::Restored | Outcome::Closed | Outcome::Expired => Err(OTHER_OUTCOME),
    }
}

fn applied<O>(
    reply: Reply,
    player: &PlayerId,
    decode: impl Fn(Outcome) -> Result<O, StoreError>,
) -> Result<Applied<O>, StoreError> {
    let outcome = decode(*reply.outcomes.first().ok_or(StoreError::Unexpected("no outcome"))?)?;
    let presence = match reply.record {
        Some(record) => record.presence(player.clone()),
        None => Presence::offline(player.clone(), None),
    };
    Ok(Applied { outcome, presence, events: reply.events })
}

/// Redis restarted, failed over or had its scripts flushed.
fn is_unknown_script(error: &StoreError) -> bool {
    use redis::ErrorKind::Server;
    matches!(error, StoreError::Redis(error) if error.kind() == Server(ServerErrorKind::NoScript))
}
