//! Mutations: entries in, outcomes out, by one script each.

use futures_util::future::join_all;
use redis::{Cmd, RedisWrite, ServerErrorKind, ToRedisArgs, Value};

use super::{
    OutboxEntry, Outcome, Repository, StoreError,
    keys::PlayerKey,
    reply::Reply,
    scripts::{self, Script},
};
use crate::{
    model::{Connection, DisconnectReason, PlayerId, Presence, PresenceState},
    trace::TraceContext,
};

/// The number of entries that one script call carries: enough to make the call's own cost small, few enough not to hold
/// up other clients for long.
const ENTRIES_PER_CALL: usize = 50;

/// What is done with a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mutation {
    Connect,
    Heartbeat,
    Disconnect(DisconnectReason),
}

/// What was done with one player.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) outcome: Outcome,
    /// The player's presence afterwards.
    pub(crate) presence: Presence,
    pub(crate) events: Vec<OutboxEntry>,
}

/// What was done with many connections.
#[derive(Debug, Default)]
pub(crate) struct AppliedBatch {
    /// For each connection, in order; `None` where its Redis node did not answer.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    pub(crate) events: Vec<OutboxEntry>,
    /// Why a node did not answer.
    pub(crate) failure: Option<StoreError>,
}

impl Repository {
    /// Connects, renews or disconnects one connection.
    pub(crate) async fn apply(
        &self,
        mutation: Mutation,
        connection: &Connection,
        trace: &TraceContext,
    ) -> Result<Applied, StoreError> {
        applied(self.apply_to(mutation, &[connection], trace).await?, &connection.player_id)
    }

    /// The same for many connections, in one round trip to each Redis node involved.
    pub(crate) async fn apply_batch(
        &self,
        mutation: Mutation,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> AppliedBatch {
        let calls = self.group(connections).into_iter().map(|group| async move {
            let entries: Vec<_> = group.iter().map(|at| &connections[*at]).collect();
            (self.apply_to(mutation, &entries, trace).await, group)
        });
        let mut batch = AppliedBatch { outcomes: vec![None; connections.len()], ..AppliedBatch::default() };
        for (reply, group) in join_all(calls).await {
            match reply {
                Ok(reply) => {
                    for (at, outcome) in group.into_iter().zip(reply.outcomes) {
                        batch.outcomes[at] = Some(outcome);
                    }
                    batch.events.extend(reply.events);
                }
                Err(error) => batch.failure = Some(error),
            }
        }
        batch
    }

    /// Sets a player's state.
    pub(crate) async fn set_state(
        &self,
        player: &PlayerId,
        state: PresenceState,
        trace: &TraceContext,
    ) -> Result<Applied, StoreError> {
        let reply = self
            .call(&scripts::SET_STATE, &[player], trace, |command| {
                command.arg(player.as_str()).arg(state.as_str());
            })
            .await?;
        applied(reply, player)
    }

    /// Connections that one script call may carry, by their place in the list: of one shard, and not too many.
    fn group(&self, connections: &[Connection]) -> Vec<Vec<usize>> {
        let shards = self.keys.group_by_shard(connections.iter().map(|connection| &connection.player_id));
        shards.values().flat_map(|places| places.chunks(ENTRIES_PER_CALL)).map(<[usize]>::to_vec).collect()
    }

    async fn apply_to(
        &self,
        mutation: Mutation,
        connections: &[&Connection],
        trace: &TraceContext,
    ) -> Result<Reply, StoreError> {
        let script = match mutation {
            Mutation::Connect => &scripts::CONNECT,
            Mutation::Heartbeat => &scripts::HEARTBEAT,
            Mutation::Disconnect(_) => &scripts::DISCONNECT,
        };
        let players: Vec<_> = connections.iter().map(|connection| &connection.player_id).collect();
        self.call(script, &players, trace, |command| {
            match mutation {
                Mutation::Connect | Mutation::Heartbeat => command.arg(self.max_connections),
                Mutation::Disconnect(DisconnectReason::Quit) => command.arg("disconnect").arg(0),
                Mutation::Disconnect(DisconnectReason::Lost) => command.arg("lost").arg(self.grace),
            };
            for connection in connections {
                command.arg(connection.player_id.as_str()).arg(connection.connection_id.as_str());
            }
        })
        .await
    }

    /// Calls a script for players of one shard. `arguments` appends what the script's own header names.
    pub(super) async fn call(
        &self,
        script: &Script,
        players: &[&PlayerId],
        trace: &TraceContext,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Reply, StoreError> {
        let shard = self.keys.shard(players[0]);
        let answer = self
            .run(script, |command| {
                command.arg(3 * players.len() + 1 + usize::from(self.has_outbox));
                for player in players {
                    command.arg(&[self.keys.record(player), self.keys.past(player), self.keys.closed(player)]);
                }
                command.arg(self.keys.index(shard));
                if self.has_outbox {
                    command.arg(self.keys.outbox(shard));
                }
                command.arg(self.ttl).arg(self.retention).arg(trace.traceparent()).arg(trace.tracestate());
                arguments(command);
            })
            .await?;
        Reply::parse(answer, shard, trace)
    }

    /// Runs a script by its hash, and by its source where Redis does not know it yet. `complete` appends the keys and
    /// arguments.
    pub(super) async fn run(&self, script: &Script, complete: impl Fn(&mut Cmd)) -> Result<Value, StoreError> {
        let mut command = script.call_by_hash();
        complete(&mut command);
        match self.connection.query(&command).await {
            Err(error) if is_unknown_script(&error) => {
                let mut command = script.call_by_source();
                complete(&mut command);
                self.connection.query(&command).await
            }
            answer => answer,
        }
    }
}

fn applied(reply: Reply, player: &PlayerId) -> Result<Applied, StoreError> {
    let outcome = *reply.outcomes.first().ok_or(StoreError::Unexpected("no outcome"))?;
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

impl ToRedisArgs for PlayerKey<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg_fmt(self);
    }
}
