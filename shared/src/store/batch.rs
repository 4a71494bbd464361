//! Batches: mutations of many connections, in one round trip to each Redis node involved.

use redis::{Cmd, Value};

use super::{
    OutboxEntry, Store,
    mutate::{LeaseOutcome, Mutation, OTHER_TYPE},
    reply::Reply,
    scripts::{Script, is_unknown_script},
};
use crate::{
    model::{Connection, PlayerId},
    redis::{Shard, StoreError},
    telemetry::{Span, TraceContext},
};

/// The number of entries per script call: enough to make the call's own cost small, few enough not
/// to delay other clients for long.
pub(super) const ENTRIES_PER_CALL: usize = 50;

/// Entries for one script call: their shard, and their places in the list of connections.
type Group = (Shard, Vec<usize>);

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
        let groups = self.group(connections.iter().map(|connection| &connection.player_id));
        let append = |command: &mut Cmd, (shard, places): &Group| {
            let entries = places.iter().map(|place| &connections[*place]);
            self.append_call(
                command,
                *shard,
                entries.clone().map(|entry| &entry.player_id),
                trace,
            );
            self.append(command, mutation, entries);
        };
        let answers = self.run_groups(mutation.script(), &groups, append).await;
        // Puts the outcome of each call's entries in their places. A failed call fails its own
        // entries only.
        let mut batch = AppliedBatch {
            outcomes: vec![None; connections.len()],
            ..AppliedBatch::default()
        };
        for ((shard, places), answer) in groups.iter().zip(answers) {
            match answer.and_then(|answer| Reply::parse(answer, places.len(), *shard, trace)) {
                Ok(reply) => {
                    for (place, outcome) in places.iter().zip(reply.outcomes) {
                        batch.outcomes[*place] = outcome;
                        if outcome.is_none() {
                            batch.failure = Some(OTHER_TYPE);
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
