//! Mutations of players, by one script each.

use redis::Cmd;

use super::{
    OutboxEntry, Store,
    reply::{Outcome, Reply},
    scripts::{self, Script, claim},
};
use crate::{
    model::{
        ActivityChange, Connection, GatewayId, PlayerId, Presence, Reason, State, StateChange,
    },
    redis::{ConcatArg, Shard, StoreError},
    telemetry::{Span, TraceContext},
};

/// Error of an entry whose keys hold another type, as another program wrote to them. The entry
/// changed nothing.
pub(super) const OTHER_TYPE: StoreError = StoreError::Unexpected("a key of another type");

/// A mutation of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mutation<'a> {
    /// Opens the connection, which belongs to this gateway, if the call names one.
    Connect(Option<&'a GatewayId>),
    /// Renews or restores the connection, which belongs to this gateway, if the call names one.
    Heartbeat(Option<&'a GatewayId>),
    /// Closes the connection.
    Disconnect(Reason),
}

/// The outcome of a mutation of a connection: of the scripts connect, heartbeat and disconnect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseOutcome {
    /// The mutation took effect, or nothing had to be changed.
    Accepted,
    /// The connection was not known (any more), and was opened.
    Restored,
    /// The connection was closed before, so it was not opened. An OFFLINE transition that was due
    /// has been made.
    Closed,
}

/// The outcome of a change of a state or activity: of the script set_state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateOutcome {
    /// The change took effect, or nothing had to be changed.
    Accepted,
    /// The change is not allowed and was not made. An OFFLINE transition that was due has been
    /// made.
    Rejected,
}

/// The result of a mutation of one player.
#[derive(Debug)]
pub(crate) struct Applied<O> {
    pub(crate) outcome: O,
    /// The player's presence afterwards.
    pub(crate) presence: Presence,
    pub(crate) events: Vec<OutboxEntry>,
}

impl Store {
    /// Connects, renews or disconnects one connection.
    pub(crate) async fn apply(
        &self,
        mutation: Mutation<'_>,
        connection: &Connection,
        trace: &TraceContext,
    ) -> Result<Applied<LeaseOutcome>, StoreError> {
        let player = &connection.player_id;
        let append_arguments = |command: &mut Cmd| self.append(command, mutation, [connection]);
        // Boxed, as the future is large.
        let reply =
            Box::pin(self.call(mutation.script(), &[player], trace, append_arguments)).await?;
        applied(reply, player)
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
                command.arg(change.state.map_or("", State::as_str));
                match &change.activity {
                    ActivityChange::Keep => {}
                    ActivityChange::Remove => drop(command.arg("null")),
                    ActivityChange::Set(activity) => drop(command.arg(&*activity.stored())),
                }
            })
            .await?;
        applied(reply, player)
    }

    /// Calls a script for players of one shard. `append_arguments` appends the arguments that
    /// the script's header lists.
    pub(super) async fn call<O: Outcome>(
        &self,
        script: &Script,
        players: &[&PlayerId],
        trace: &TraceContext,
        append_arguments: impl Fn(&mut Cmd),
    ) -> Result<Reply<O>, StoreError> {
        let span = Span::script(trace, script.name, players.len());
        let shard = self.keys.shard(players[0]);
        let complete = |command: &mut Cmd| {
            let players = players.iter().copied();
            self.append_call(command, shard, players, span.context(), "");
            append_arguments(command);
        };
        let reply = script
            .run(&self.redis, shard, complete)
            .await
            .and_then(|reply| Reply::parse(reply, players.len(), shard, span.context()));
        span.end(reply.as_ref().err().map(StoreError::kind));
        reply
    }

    /// Appends the keys and arguments that every call has: see `lua/lib/call.lua`. `further_traces`
    /// are those of other callers that share the call: see `lua/heartbeat.lua`.
    pub(super) fn append_call<'a>(
        &self,
        command: &mut Cmd,
        shard: Shard,
        players: impl ExactSizeIterator<Item = &'a PlayerId>,
        trace: &TraceContext,
        further_traces: &str,
    ) {
        scripts::reserve(command, players.len());
        command.arg(3 * players.len() + 2 + usize::from(self.has_outbox));
        for player in players {
            let keys = &self.keys;
            command.arg(&[
                keys.record(shard, player),
                keys.past(shard, player),
                keys.tombstones(shard, player),
            ]);
        }
        command.arg(&[self.keys.expiry_index(shard), self.keys.owners(shard)]);
        if self.has_outbox {
            command.arg(self.keys.outbox(shard));
        }
        let context = ConcatArg([
            &self.context_head,
            self.keys.id_offset(shard),
            trace.traceparent(),
            " ",
            trace.tracestate(),
            further_traces,
        ]);
        command.arg(self.ttl).arg(context);
    }

    /// Appends a mutation's own arguments.
    pub(super) fn append<'a>(
        &self,
        command: &mut Cmd,
        mutation: Mutation<'_>,
        connections: impl IntoIterator<Item = &'a Connection>,
    ) {
        match mutation {
            Mutation::Connect(gateway) | Mutation::Heartbeat(gateway) => {
                for connection in connections {
                    command.arg(claim(connection, gateway));
                }
            }
            Mutation::Disconnect(reason) => {
                let (reason, grace) = self.offline_reason_and_grace(reason);
                command.arg(reason.as_str()).arg(grace);
                for connection in connections {
                    command.arg(claim(connection, None));
                }
            }
        }
    }
}

impl Mutation<'_> {
    pub(super) fn script(self) -> &'static Script {
        match self {
            Self::Connect(_) => &scripts::CONNECT,
            Self::Heartbeat(_) => &scripts::HEARTBEAT,
            Self::Disconnect(_) => &scripts::DISCONNECT,
        }
    }
}

impl Outcome for LeaseOutcome {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'A' => Some(Self::Accepted),
            b'R' => Some(Self::Restored),
            b'C' => Some(Self::Closed),
            _ => None,
        }
    }
}

impl Outcome for StateOutcome {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'A' => Some(Self::Accepted),
            b'X' => Some(Self::Rejected),
            _ => None,
        }
    }
}

fn applied<O: Copy>(reply: Reply<O>, player: &PlayerId) -> Result<Applied<O>, StoreError> {
    let outcome = reply
        .outcomes
        .first()
        .ok_or(StoreError::Unexpected("no outcome"))?
        .ok_or(OTHER_TYPE)?;
    let presence = match reply.record {
        Some(record) => record.presence(player.clone()),
        None => Presence::offline(player.clone(), None),
    };
    Ok(Applied {
        outcome,
        presence,
        events: reply.events,
    })
}
