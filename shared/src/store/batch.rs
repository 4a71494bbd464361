//! Batches: mutations of many connections, in one round trip to each Redis node involved.

use std::fmt::Write as _;

use redis::{Cmd, Value};

use super::{
    OutboxEntry, Store,
    mutate::{LeaseOutcome, Mutation, OTHER_TYPE},
    reply::Reply,
    scripts::{Script, is_unknown_script},
};
use crate::{
    model::Connection,
    redis::{Shard, StoreError},
    telemetry::{Span, TraceContext},
};

/// The number of entries per script call: enough to make the call's own cost small, few enough not
/// to delay other clients for long.
pub(super) const ENTRIES_PER_CALL: usize = 50;

/// The connections that one caller changes, all in the same way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) mutation: Mutation<'a>,
    pub(super) connections: &'a [Connection],
    pub(super) trace: &'a TraceContext,
}

impl<'a> Batch<'a> {
    /// The entries of this batch, which has this `number` in the list of batches.
    fn entries(self, number: usize) -> impl Iterator<Item = Entry<'a>> {
        let connections = self.connections.iter().enumerate();
        connections.map(move |(position, connection)| Entry {
            connection,
            batch: number,
            position,
        })
    }
}

/// A connection of one of several batches.
#[derive(Clone, Copy)]
struct Entry<'a> {
    connection: &'a Connection,
    /// The position of the batch in the list of batches.
    batch: usize,
    /// The position of the connection in its batch.
    position: usize,
}

/// Entries for one script call, of one shard. Never empty.
struct Group<'a> {
    shard: Shard,
    entries: Vec<Entry<'a>>,
}

impl<'a> Group<'a> {
    /// The entries, in one slice per batch.
    fn by_batch(&self) -> impl Iterator<Item = &[Entry<'a>]> {
        self.entries
            .chunk_by(|entry, next| entry.batch == next.batch)
    }
}

/// The result of a mutation of many connections.
#[derive(Debug, Default)]
pub(crate) struct AppliedBatch {
    /// The outcome of each connection, in order. `None` if its Redis node did not respond, or
    /// its keys hold another type.
    pub(crate) outcomes: Vec<Option<LeaseOutcome>>,
    pub(crate) events: Vec<OutboxEntry>,
    /// One of the errors of failed entries.
    pub(crate) failure: Option<StoreError>,
}

impl AppliedBatch {
    /// The result of a batch of this length before any of its calls.
    pub(super) fn without_outcomes(length: usize) -> Self {
        Self {
            outcomes: vec![None; length],
            ..Self::default()
        }
    }
}

impl Store {
    /// Connects, renews or disconnects many connections, in one round trip to each Redis node
    /// involved.
    pub(crate) async fn apply_batch(
        &self,
        mutation: Mutation<'_>,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> AppliedBatch {
        let span = Span::script(trace, mutation.script().name, connections.len());
        let batch = Batch {
            mutation,
            connections,
            trace: span.context(),
        };
        let applied = match mutation {
            Mutation::Heartbeat(gateway) if self.keys.is_partitioned() => {
                Box::pin(self.renew_combined(gateway, connections, span.context())).await
            }
            _ => self.apply_alone(batch).await,
        };
        span.end(applied.failure.as_ref().map(StoreError::kind));
        applied
    }

    /// Applies a batch that shares no script call with another one.
    pub(super) async fn apply_alone(&self, batch: Batch<'_>) -> AppliedBatch {
        let mut applied = self.apply_together(&[batch]).await;
        applied.pop().unwrap_or_default()
    }

    /// Applies batches whose mutations have the same script. Several batches are heartbeats: their
    /// arguments are one per connection, so that batches can share a call.
    pub(super) async fn apply_together(&self, batches: &[Batch<'_>]) -> Vec<AppliedBatch> {
        let Some(first) = batches.first() else {
            return Vec::new();
        };
        let entries = batches
            .iter()
            .enumerate()
            .flat_map(|(number, batch)| batch.entries(number));
        let groups = self.group(entries);
        let append = |command: &mut Cmd, group: &Group<'_>| {
            self.append_group(command, batches, group);
        };
        let replies = self
            .run_groups(first.mutation.script(), &groups, append)
            .await;
        let mut applied: Vec<_> = batches
            .iter()
            .map(|batch| AppliedBatch::without_outcomes(batch.connections.len()))
            .collect();
        for (group, reply) in groups.iter().zip(replies) {
            let trace = batches[group.entries[0].batch].trace;
            let result = reply
                .and_then(|reply| Reply::parse(reply, group.entries.len(), group.shard, trace));
            add_result(&mut applied, group, result);
        }
        applied
    }

    /// Appends the keys and arguments of a group, in the order of the batches.
    fn append_group(&self, command: &mut Cmd, batches: &[Batch<'_>], group: &Group<'_>) {
        let callers: Vec<_> = group
            .by_batch()
            .map(|entries| (batches[entries[0].batch], entries))
            .collect();
        let players = group
            .entries
            .iter()
            .map(|entry| &entry.connection.player_id);
        let trace = callers[0].0.trace;
        let further_traces = further_traces(&callers);
        self.append_call(command, group.shard, players, trace, &further_traces);
        for (batch, entries) in callers {
            let connections = entries.iter().map(|entry| entry.connection);
            self.append(command, batch.mutation, connections);
        }
    }

    /// Groups entries into script calls, none of which is too large.
    fn group<'a>(&self, entries: impl Iterator<Item = Entry<'a>>) -> Vec<Group<'a>> {
        let shards = self
            .keys
            .group_by_shard(entries, |entry| &entry.connection.player_id);
        let split = |(shard, entries): (&Shard, &Vec<Entry<'a>>)| {
            let shard = *shard;
            entries
                .chunks(ENTRIES_PER_CALL)
                .map(move |chunk| Group {
                    shard,
                    entries: chunk.to_vec(),
                })
                .collect::<Vec<_>>()
        };
        shards.iter().flat_map(split).collect()
    }

    /// Calls a script once per group. `append` appends the keys and arguments of a group.
    async fn run_groups(
        &self,
        script: &Script,
        groups: &[Group<'_>],
        append: impl Fn(&mut Cmd, &Group<'_>),
    ) -> Vec<Result<Value, StoreError>> {
        let by_hash: Vec<_> = groups
            .iter()
            .map(|group| {
                (
                    group.shard,
                    script.call_by_hash(|command| append(command, group)),
                )
            })
            .collect();
        let mut replies = self.redis.query_all_with(script.policy, by_hash).await;
        let is_unknown = |group: &usize| replies[*group].as_ref().is_err_and(is_unknown_script);
        let unknown: Vec<_> = (0..groups.len()).filter(is_unknown).collect();
        if unknown.is_empty() {
            return replies;
        }
        // Nodes that do not have the script cached get its source, in a second round trip.
        let send_source = |group: &usize| {
            let group = &groups[*group];
            (
                group.shard,
                script.call_by_source(|command| append(command, group)),
            )
        };
        let by_source: Vec<_> = unknown.iter().map(send_source).collect();
        let second_replies = self.redis.query_all_with(script.policy, by_source).await;
        for (group, reply) in unknown.into_iter().zip(second_replies) {
            replies[group] = reply;
        }
        replies
    }
}

/// Adds the result of one call to the results of the batches that shared it. A failed call fails
/// its own entries only.
fn add_result(
    applied: &mut [AppliedBatch],
    group: &Group<'_>,
    result: Result<Reply<LeaseOutcome>, StoreError>,
) {
    let reply = match result {
        Ok(reply) => reply,
        Err(error) => {
            for entries in group.by_batch() {
                applied[entries[0].batch].failure = Some(error.clone());
            }
            return;
        }
    };
    let mut outcomes = reply.outcomes.into_iter();
    for entries in group.by_batch() {
        let batch = &mut applied[entries[0].batch];
        for (entry, outcome) in entries.iter().zip(&mut outcomes) {
            batch.outcomes[entry.position] = outcome;
            if outcome.is_none() {
                batch.failure = Some(OTHER_TYPE);
            }
        }
    }
    if reply.events.is_empty() {
        return;
    }
    // Each caller gets the events of a shared call: a server's callers only notify the relay of
    // them, and any of the callers may have left. A function, whose caller publishes them, serves
    // one call at a time.
    let mut callers: Vec<_> = group.by_batch().map(|entries| entries[0].batch).collect();
    if let Some(last) = callers.pop() {
        for caller in callers {
            applied[caller].events.extend(reply.events.iter().cloned());
        }
        applied[last].events.extend(reply.events);
    }
}

/// The traces of a call's callers after the first one, see `lua/heartbeat.lua`.
fn further_traces(callers: &[(Batch<'_>, &[Entry<'_>])]) -> String {
    let mut text = String::new();
    let mut first_entry = 1;
    for (number, (batch, entries)) in callers.iter().enumerate() {
        if number > 0 {
            let parent = batch.trace.traceparent();
            let state = batch.trace.tracestate();
            let _ = write!(text, "\n{first_entry} {parent} {state}"); // a String takes any text
        }
        first_entry += entries.len();
    }
    text
}
