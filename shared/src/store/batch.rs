//! Batches: mutations of many connections, in one round trip to each Redis node involved.

use std::fmt::Write as _;

use redis::{Cmd, Value};

use super::{
    OutboxEntry, Store,
    mutate::{LeaseOutcome, Mutation, is_unknown_script, lease_outcome},
    reply::Reply,
    scripts::Script,
};
use crate::{
    model::{Connection, PlayerId},
    redis::{Shard, StoreError},
    telemetry::{Span, TraceContext},
};

/// The number of entries per script call: enough to make the call's own cost small, few enough not
/// to delay other clients for long.
pub(super) const ENTRIES_PER_CALL: usize = 50;

/// Entries for one script call: their shard, and their places in the list of entries.
type Group = (Shard, Vec<usize>);

/// The connections that one caller changes, all in the same way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) mutation: Mutation<'a>,
    pub(super) connections: &'a [Connection],
    pub(super) trace: &'a TraceContext,
}

/// A connection of one of several batches.
#[derive(Clone, Copy)]
struct Entry<'a> {
    connection: &'a Connection,
    /// The batch's place in the list of batches.
    batch: usize,
    /// The connection's place in the batch.
    place: usize,
}

/// The result of a mutation of many connections.
#[derive(Debug, Default)]
pub(crate) struct AppliedBatch {
    /// The outcome of each connection, in order. `None` if its Redis node did not answer, or its
    /// keys hold another type.
    pub(crate) outcomes: Vec<Option<LeaseOutcome>>,
    pub(crate) events: Vec<OutboxEntry>,
    /// One of the errors of failed entries.
    pub(crate) failure: Option<StoreError>,
}

impl AppliedBatch {
    /// The result of a batch of `length` connections of which none has an outcome yet.
    pub(super) fn open(length: usize) -> Self {
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
        let trace = span.context();
        let applied = match mutation {
            Mutation::Heartbeat(gateway) if self.keys.is_partitioned() => {
                Box::pin(self.renew_combined(gateway, connections, trace)).await
            }
            mutation => {
                let batch = Batch {
                    mutation,
                    connections,
                    trace,
                };
                self.apply_batches(mutation.script(), &[batch])
                    .await
                    .pop()
                    .unwrap_or_default()
            }
        };
        span.end(applied.failure.as_ref().map(StoreError::kind));
        applied
    }

    /// Applies batches together. `script` is the script of all their mutations. Several batches are
    /// heartbeats: only these have arguments for each connection alone.
    pub(super) async fn apply_batches(
        &self,
        script: &Script,
        batches: &[Batch<'_>],
    ) -> Vec<AppliedBatch> {
        let entries: Vec<_> = batches
            .iter()
            .enumerate()
            .flat_map(|(number, batch)| batch.entries(number))
            .collect();
        let groups = self.group(entries.iter().map(|entry| &entry.connection.player_id));
        let append = |command: &mut Cmd, (shard, places): &Group| {
            self.append_entries(command, *shard, batches, &entries, places);
        };
        let answers = self.run_groups(script, &groups, append).await;
        // Puts the outcome of each call's entries in their places. A failed call fails its own
        // entries only.
        let mut applied: Vec<_> = batches
            .iter()
            .map(|batch| AppliedBatch::open(batch.connections.len()))
            .collect();
        for ((shard, places), answer) in groups.iter().zip(answers) {
            let entries = places.iter().map(|place| entries[*place]);
            // Events are for the publisher or relay of this process, which needs to be notified
            // once.
            let first = entries.clone().next().map_or(0, |entry| entry.batch);
            match answer
                .and_then(|answer| Reply::parse(answer, places.len(), *shard, batches[first].trace))
            {
                Ok(reply) => {
                    for (entry, outcome) in entries.zip(reply.outcomes) {
                        let applied = &mut applied[entry.batch];
                        match lease_outcome(outcome) {
                            Ok(outcome) => applied.outcomes[entry.place] = Some(outcome),
                            Err(error) => applied.failure = Some(error),
                        }
                    }
                    applied[first].events.extend(reply.events);
                }
                Err(error) => {
                    entries.for_each(|entry| applied[entry.batch].failure = Some(error.clone()))
                }
            }
        }
        applied
    }

    /// Appends the keys and arguments of the entries in these places.
    fn append_entries(
        &self,
        command: &mut Cmd,
        shard: Shard,
        batches: &[Batch<'_>],
        entries: &[Entry<'_>],
        places: &[usize],
    ) {
        let batch_at = |place: &usize| entries[*place].batch;
        let callers = || places.chunk_by(|place, next| batch_at(place) == batch_at(next));
        let traces = callers().map(|places| (batches[batch_at(&places[0])].trace, places.len()));
        let (trace, further_traces) = combine_traces(traces);
        let players = places
            .iter()
            .map(|place| &entries[*place].connection.player_id);
        self.append_call(command, shard, players, trace, &further_traces);
        for places in callers() {
            let mutation = batches[batch_at(&places[0])].mutation;
            self.append(
                command,
                mutation,
                places.iter().map(|place| entries[*place].connection),
            );
        }
    }

    /// Groups players into script calls: each group is of one shard, and not too large. Players are
    /// represented by their places in the list.
    pub(super) fn group<'a>(
        &self,
        players: impl Iterator<Item = &'a PlayerId>,
    ) -> Vec<(Shard, Vec<usize>)> {
        let shards = self.keys.group_by_shard(players);
        let split = |(shard, places): (&Shard, &Vec<usize>)| {
            let shard = *shard;
            places
                .chunks(ENTRIES_PER_CALL)
                .map(move |chunk| (shard, chunk.to_vec()))
                .collect::<Vec<_>>()
        };
        shards.iter().flat_map(split).collect()
    }

    /// Calls a script once per group. `append` appends the keys and arguments of a group.
    async fn run_groups(
        &self,
        script: &Script,
        groups: &[Group],
        append: impl Fn(&mut Cmd, &Group),
    ) -> Vec<Result<Value, StoreError>> {
        let by_hash: Vec<_> = groups
            .iter()
            .map(|group| {
                (
                    group.0,
                    script.call_by_hash(|command| append(command, group)),
                )
            })
            .collect();
        let mut answers = self.redis.query_all_with(script.policy, &by_hash).await;
        let is_unknown = |place: &usize| answers[*place].as_ref().is_err_and(is_unknown_script);
        let unknown: Vec<_> = (0..groups.len()).filter(is_unknown).collect();
        if unknown.is_empty() {
            return answers;
        }
        // Nodes that do not have the script cached get its source, in a second round trip.
        let send_source = |place: &usize| {
            let group = &groups[*place];
            (
                group.0,
                script.call_by_source(|command| append(command, group)),
            )
        };
        let by_source: Vec<_> = unknown.iter().map(send_source).collect();
        let second_answers = self.redis.query_all_with(script.policy, &by_source).await;
        for (place, answer) in unknown.into_iter().zip(second_answers) {
            answers[place] = answer;
        }
        answers
    }
}

impl<'a> Batch<'a> {
    fn entries(&self, batch: usize) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        let connections = self.connections.iter().enumerate();
        connections.map(move |(place, connection)| Entry {
            connection,
            batch,
            place,
        })
    }
}

/// Combines the traces of a call's callers, given with the number of their entries: the first
/// trace, and the text of the further ones, see `lua/heartbeat.lua`.
fn combine_traces<'a>(
    mut traces: impl Iterator<Item = (&'a TraceContext, usize)>,
) -> (&'a TraceContext, String) {
    let (first, mut entries) = traces.next().expect("a call has entries");
    let mut further = String::new();
    for (trace, count) in traces {
        let _ = write!(
            further,
            "\n{} {} {}",
            entries + 1,
            trace.traceparent(),
            trace.tracestate()
        );
        entries += count;
    }
    (first, further)
}
