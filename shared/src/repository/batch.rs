//! Batches: mutations of many connections, in one round trip to each Redis node involved.

use redis::{Cmd, Value};

use super::{
    OutboxEntry, Repository, StoreError,
    keys::Shard,
    mutate::{LeaseOutcome, Mutation, append_claim, is_unknown_script, lease_outcome},
    reply::{self, Reply},
    scripts::{self, Script},
};
use crate::{
    model::{Connection, GatewayId, PlayerId},
    trace::{Span, TraceContext},
};

/// The number of entries per script call: enough to make the call's own cost small, few enough not to delay other
/// clients for long.
pub(super) const ENTRIES_PER_CALL: usize = 50;

/// Entries for one script call: their shard, and their places in the list of connections.
type Group = (Shard, Vec<usize>);

/// The result of a mutation of many connections.
#[derive(Debug, Default)]
pub(crate) struct AppliedBatch {
    /// The outcome of each connection, in order. `None` if its Redis node did not answer, or its keys hold another
    /// type.
    pub(crate) outcomes: Vec<Option<LeaseOutcome>>,
    pub(crate) events: Vec<OutboxEntry>,
    /// One of the errors of failed entries.
    pub(crate) failure: Option<StoreError>,
}

impl Repository {
    /// Connects, renews or disconnects many connections, in one round trip to each Redis node involved. A second one
    /// follows if a heartbeat has more to do than to renew a known lease.
    pub(crate) async fn apply_batch(
        &self,
        mutation: Mutation<'_>,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> AppliedBatch {
        let span = Span::script(trace, mutation.script().name, connections.len());
        let mut batch = AppliedBatch { outcomes: vec![None; connections.len()], ..AppliedBatch::default() };
        let places = match mutation {
            Mutation::Heartbeat(gateway) => self.renew_known_batch(connections, gateway, &mut batch).await,
            Mutation::Connect(_) | Mutation::Disconnect(_) => (0..connections.len()).collect(),
        };
        self.apply_at(&places, mutation, connections, span.context(), &mut batch).await;
        span.end(batch.failure.as_ref().map(StoreError::kind));
        batch
    }

    /// Applies a mutation to the connections at `places`.
    async fn apply_at(
        &self,
        places: &[usize],
        mutation: Mutation<'_>,
        connections: &[Connection],
        trace: &TraceContext,
        batch: &mut AppliedBatch,
    ) {
        let mut groups = self.group(places.iter().map(|place| &connections[*place].player_id));
        for place in groups.iter_mut().flat_map(|(_, group)| group) {
            *place = places[*place];
        }
        let append = |command: &mut Cmd, (shard, places): &Group| {
            let entries = places.iter().map(|place| &connections[*place]);
            self.append_call(command, *shard, entries.clone().map(|entry| &entry.player_id), trace);
            self.append(command, mutation, entries);
        };
        let answers = self.run_groups(mutation.script(), &groups, append).await;
        for ((shard, places), answer) in groups.iter().zip(answers) {
            match answer.and_then(|answer| Reply::parse(answer, *shard, trace)) {
                Ok(reply) => {
                    for (place, outcome) in places.iter().zip(reply.outcomes) {
                        match lease_outcome(outcome) {
                            Ok(outcome) => batch.outcomes[*place] = Some(outcome),
                            Err(error) => batch.failure = Some(error),
                        }
                    }
                    batch.events.extend(reply.events);
                }
                Err(error) => batch.failure = Some(error), // a failed call fails its own entries only
            }
        }
    }

    /// Renews known leases, which is all that nearly every heartbeat needs. Returns the places of the others.
    async fn renew_known_batch(
        &self,
        connections: &[Connection],
        gateway: Option<&GatewayId>,
        batch: &mut AppliedBatch,
    ) -> Vec<usize> {
        let groups = self.group(connections.iter().map(|connection| &connection.player_id));
        let append = |command: &mut Cmd, (shard, places): &Group| {
            self.append_renewals(command, *shard, places.iter().map(|place| (&connections[*place], gateway)));
        };
        let answers = self.run_groups(&scripts::RENEW_KNOWN_BATCH, &groups, append).await;
        let mut others = Vec::new();
        for ((_, places), answer) in groups.iter().zip(answers) {
            match answer.and_then(|answer| reply::unknown_leases(answer, places.len())) {
                Ok(unknown) => {
                    for place in places {
                        batch.outcomes[*place] = Some(LeaseOutcome::Accepted);
                    }
                    others.extend(unknown.into_iter().map(|index| places[index]));
                }
                Err(error) => batch.failure = Some(error), // a failed call fails its own entries only
            }
        }
        for place in &others {
            batch.outcomes[*place] = None;
        }
        others
    }

    /// Appends the keys and arguments of a call that renews known leases.
    pub(super) fn append_renewals<'a>(
        &self,
        command: &mut Cmd,
        shard: Shard,
        heartbeats: impl ExactSizeIterator<Item = (&'a Connection, Option<&'a GatewayId>)> + Clone,
    ) {
        command.arg(2 * heartbeats.len());
        for (Connection { player_id, .. }, _) in heartbeats.clone() {
            command.arg(&[self.keys.record(shard, player_id), self.keys.past(shard, player_id)]);
        }
        command.arg(self.ttl);
        for (connection, gateway) in heartbeats {
            append_claim(command, connection, gateway);
        }
    }

    /// Groups players into script calls: each group is of one shard, and not too large. Players are represented by
    /// their places in the list.
    pub(super) fn group<'a>(&self, players: impl Iterator<Item = &'a PlayerId>) -> Vec<(Shard, Vec<usize>)> {
        let shards = self.keys.group_by_shard(players);
        let split = |(shard, places): (&Shard, &Vec<usize>)| {
            let shard = *shard;
            places.chunks(ENTRIES_PER_CALL).map(move |chunk| (shard, chunk.to_vec())).collect::<Vec<_>>()
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
        let by_hash: Vec<_> =
            groups.iter().map(|group| (group.0, script.call_by_hash(|command| append(command, group)))).collect();
        let mut answers = self.connection.query_all_with(script.policy, &by_hash).await;
        let is_unknown = |place: &usize| answers[*place].as_ref().is_err_and(is_unknown_script);
        let unknown: Vec<_> = (0..groups.len()).filter(is_unknown).collect();
        if unknown.is_empty() {
            return answers;
        }
        // Nodes that do not have the script cached get its source, in a second round trip.
        let send_source = |place: &usize| {
            let group = &groups[*place];
            (group.0, script.call_by_source(|command| append(command, group)))
        };
        let by_source: Vec<_> = unknown.iter().map(send_source).collect();
        let second_answers = self.connection.query_all_with(script.policy, &by_source).await;
        for (place, answer) in unknown.into_iter().zip(second_answers) {
            answers[place] = answer;
        }
        answers
    }
}
