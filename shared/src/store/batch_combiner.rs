//! Batch combiner: batches of heartbeats for the same node of a cluster share script calls.
//!
//! A batch of 1,000 has about four players in each of 256 partitions, and a script call by itself
//! costs Redis as much as a heartbeat. So batches that arrive while a call of others is in flight
//! to the same node wait for its end, and are sent together. Their callers then send the next ones
//! soon after the responses, but not at the same instant: while batches of several callers arrive,
//! each call lingers for [`LINGER`], unless it is full. Nothing waits for a slow node: after
//! [`MAX_WAIT`] all batches are sent as well. A batch that meets no other is sent at once.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{AppliedBatch, Mutation, Store, batch::Batch};
use crate::{
    model::{Connection, GatewayId},
    redis::{Address, StoreError},
    telemetry::TraceContext,
};

/// The most heartbeats of several batches that are sent to a node together: the default of
/// `PRESENCE_MAX_BATCH`. If the node's in-flight limit is lower, fewer are sent, as a larger call
/// would be sent alone and block the work behind it.
const MAX_ENTRIES: usize = 2_000;

/// The most of them that are sent whatever the limit: a node that is slow must not get more script
/// calls for the same heartbeats.
const MAX_ENTRIES_OF_SLOW_NODE: usize = 1_000;

/// The longest time that batches wait for the call before theirs: the time that round trips aim at.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// How long a call lingers for further batches: callers in the same network usually need less for
/// their next requests.
const LINGER: Duration = Duration::from_millis(10);

/// The heartbeats of one batch for one node.
#[derive(Debug)]
struct WaitingBatch {
    connections: Vec<Connection>,
    gateway: Option<GatewayId>,
    trace: TraceContext,
    result: oneshot::Sender<AppliedBatch>,
}

/// The nodes that a task sends batches to, with the batches that wait for its next call.
#[derive(Debug, Clone, Default)]
pub(super) struct BatchCombiner(Arc<Mutex<HashMap<Address, VecDeque<WaitingBatch>>>>);

/// The task that sends batches to a node. If it is dropped before its end, as its runtime ends, the
/// batches that wait for it fail, and the next batch starts a new task.
#[derive(Debug)]
struct NodeTask {
    combiner: BatchCombiner,
    node: Address,
    has_ended: bool,
}

impl WaitingBatch {
    fn batch(&self) -> Batch<'_> {
        Batch {
            mutation: Mutation::Heartbeat(self.gateway.as_ref()),
            connections: &self.connections,
            trace: &self.trace,
        }
    }
}

impl BatchCombiner {
    /// Adds a batch. Returns the node's task if none is running: the caller has to run it.
    fn push(&self, node: Address, batch: WaitingBatch) -> Option<NodeTask> {
        match self.lock().entry(node.clone()) {
            hash_map::Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(batch);
                None
            }
            hash_map::Entry::Vacant(idle) => {
                idle.insert(VecDeque::from([batch]));
                Some(NodeTask {
                    combiner: self.clone(),
                    node,
                    has_ended: false,
                })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, VecDeque<WaitingBatch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NodeTask {
    /// Calls `send` with batches that wait, when the call before has ended, until no batch waits. A
    /// call lingers if the one before had several batches, or if others have waited for its end.
    /// After a call that takes longer than [`MAX_WAIT`], all that wait are sent. `in_flight_limit`
    /// returns the present in-flight limit of a node.
    async fn run<F>(
        mut self,
        in_flight_limit: impl Fn(&Address) -> usize,
        send: impl Fn(Vec<WaitingBatch>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut max_wait = MAX_WAIT;
        while let Some(batches) = self.next_batches(in_flight_limit(&self.node)) {
            let is_shared = batches.len() > 1;
            // In a task of its own, the call goes on if this one no longer waits for it.
            let call = tokio::spawn(send(batches));
            if timeout(max_wait, call).await.is_err() {
                // The node is slow. Its in-flight limit decides how long all others wait for it.
                max_wait = Duration::ZERO;
                continue;
            }
            let waiting = self.waiting_entries();
            let is_full = waiting >= max_entries(in_flight_limit(&self.node));
            if (is_shared || waiting > 0) && !is_full {
                sleep(LINGER).await;
            }
        }
    }

    /// The number of heartbeats in the batches that wait.
    fn waiting_entries(&self) -> usize {
        let nodes = self.combiner.lock();
        let waiting = nodes.get(&self.node).into_iter().flatten();
        waiting.map(|batch| batch.connections.len()).sum()
    }

    /// Takes the batches of the next call in order of arrival: one, and further ones as long as they
    /// fit into one call. Batches whose callers have left are dropped. `None` ends the task.
    fn next_batches(&mut self, in_flight_limit: usize) -> Option<Vec<WaitingBatch>> {
        let mut nodes = self.combiner.lock();
        let waiting = nodes.get_mut(&self.node)?;
        waiting.retain(|batch| !batch.result.is_closed());
        let mut entries = 0;
        let fits = |batch: &&WaitingBatch| {
            entries += batch.connections.len();
            entries <= max_entries(in_flight_limit)
        };
        let count = waiting.iter().take_while(fits).count();
        let batches: Vec<_> = waiting.drain(..count.max(1).min(waiting.len())).collect();
        if batches.is_empty() {
            nodes.remove(&self.node);
            self.has_ended = true;
            return None;
        }
        Some(batches)
    }
}

/// The most heartbeats of several batches in one call to a node with this in-flight limit.
fn max_entries(in_flight_limit: usize) -> usize {
    // Script calls have arguments of their own, which the limit counts as about a fifth.
    (in_flight_limit / 5 * 4).clamp(MAX_ENTRIES_OF_SLOW_NODE, MAX_ENTRIES)
}

impl Drop for NodeTask {
    fn drop(&mut self) {
        if !self.has_ended {
            self.combiner.lock().remove(&self.node);
        }
    }
}

impl Store {
    /// Renews or restores the leases of a batch in a cluster, together with those of other batches.
    /// Nodes do not wait for each other.
    pub(super) async fn renew_combined(
        &self,
        gateway: Option<&GatewayId>,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> AppliedBatch {
        let find_shard = |position: &usize| self.keys.shard(&connections[*position].player_id);
        let positions = (0..connections.len()).collect();
        let nodes = self.redis.group_by_known_master(positions, find_shard);
        let renewals = nodes.into_iter().map(async |(node, positions)| {
            let of_node: Vec<_> = positions
                .iter()
                .map(|position| connections[*position].clone())
                .collect();
            let applied = match node {
                Some(node) => self.renew_on_node(node, gateway, of_node, trace).await,
                None => {
                    let batch = Batch {
                        mutation: Mutation::Heartbeat(gateway),
                        connections: &of_node,
                        trace,
                    };
                    self.apply_alone(batch).await
                }
            };
            (positions, applied)
        });
        let mut applied = AppliedBatch::without_outcomes(connections.len());
        for (positions, on_node) in join_all(renewals).await {
            for (position, outcome) in positions.into_iter().zip(on_node.outcomes) {
                applied.outcomes[position] = outcome;
            }
            applied.events.extend(on_node.events);
            applied.failure = on_node.failure.or(applied.failure);
        }
        applied
    }

    async fn renew_on_node(
        &self,
        node: Address,
        gateway: Option<&GatewayId>,
        connections: Vec<Connection>,
        trace: &TraceContext,
    ) -> AppliedBatch {
        let length = connections.len();
        let (result, applied) = oneshot::channel();
        let batch = WaitingBatch {
            connections,
            gateway: gateway.cloned(),
            trace: trace.clone(),
            result,
        };
        if let Some(task) = self.combiner.push(node, batch) {
            let redis = self.redis.clone();
            let in_flight_limit = move |node: &Address| redis.in_flight_limit(node);
            let store = self.clone();
            let send = move |batches| store.clone().renew_together(batches);
            tokio::spawn(task.run(in_flight_limit, send));
        }
        applied.await.unwrap_or_else(|_| AppliedBatch {
            failure: Some(StoreError::Unexpected("the end of a task")),
            ..AppliedBatch::without_outcomes(length)
        })
    }

    async fn renew_together(self, waiting: Vec<WaitingBatch>) {
        let batches: Vec<_> = waiting.iter().map(WaitingBatch::batch).collect();
        let applied = self.apply_together(&batches).await;
        for (batch, applied) in waiting.into_iter().zip(applied) {
            let _ = batch.result.send(applied); // the caller may have left
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        time::Instant,
    };

    use super::*;

    type Receiver = oneshot::Receiver<AppliedBatch>;

    /// Adds a batch of this length. Returns the receiver of its result.
    fn push(combiner: &BatchCombiner, length: usize) -> (Option<NodeTask>, Receiver) {
        let connection = Connection {
            player_id: "player".parse().unwrap(),
            connection_id: "connection".parse().unwrap(),
        };
        let (result, receiver) = oneshot::channel();
        let batch = WaitingBatch {
            connections: vec![connection; length],
            gateway: None,
            trace: TraceContext::new_root(),
            result,
        };
        let task = combiner.push(("node".to_owned(), 6379), batch);
        (task, receiver)
    }

    /// The in-flight limit of a node that never shortens a call.
    fn unlimited(_node: &Address) -> usize {
        usize::MAX
    }

    fn lengths(batches: &[WaitingBatch]) -> Vec<usize> {
        let lengths = batches.iter().map(|batch| batch.connections.len());
        lengths.collect()
    }

    /// Runs a task whose calls take this long, and returns the lengths of the batches of each call.
    fn run(task: NodeTask, duration: Duration) -> UnboundedReceiver<Vec<usize>> {
        let (calls, sent): (UnboundedSender<_>, _) = unbounded_channel();
        tokio::spawn(task.run(unlimited, move |batches| {
            calls.send(lengths(&batches)).unwrap();
            async move {
                sleep(duration).await;
                for batch in batches {
                    let _ = batch.result.send(AppliedBatch::default());
                }
            }
        }));
        sent
    }

    #[test]
    fn batches_that_wait_are_sent_together_up_to_a_limit() {
        let combiner = BatchCombiner::default();
        let (task, _first) = push(&combiner, MAX_ENTRIES + 1);
        let mut task = task.expect("no task is running");
        let others = [MAX_ENTRIES - 10, 10, 1].map(|length| push(&combiner, length));
        assert!(others.iter().all(|(task, _)| task.is_none()));
        let mut take_lengths = || {
            let batches = task.next_batches(usize::MAX);
            batches.map(|batches| lengths(&batches))
        };
        assert_eq!(take_lengths(), Some(vec![MAX_ENTRIES + 1]));
        assert_eq!(take_lengths(), Some(vec![MAX_ENTRIES - 10, 10]));
        assert_eq!(take_lengths(), Some(vec![1]));
        assert_eq!(take_lengths(), None);
        let (second_task, _) = push(&combiner, 1);
        drop(task);
        assert!(second_task.is_some() && push(&combiner, 1).0.is_none());
    }

    #[test]
    fn a_call_leaves_room_in_the_in_flight_limit_of_the_node_unless_that_is_slow() {
        for (in_flight_limit, together) in [(2_500, 4), (2_000, 3), (1_000, 2), (50, 2), (0, 2)] {
            let combiner = BatchCombiner::default();
            let (task, _first) = push(&combiner, 500);
            let _others = [500; 3].map(|length| push(&combiner, length));
            let batches = task.unwrap().next_batches(in_flight_limit).unwrap();
            assert_eq!(batches.len(), together, "{in_flight_limit}");
        }
    }

    #[test]
    fn the_batch_of_a_caller_that_left_is_not_sent() {
        let combiner = BatchCombiner::default();
        let (task, receiver) = push(&combiner, 1);
        drop(receiver);
        let (_, _receiver) = push(&combiner, 2);
        let batches = task.unwrap().next_batches(usize::MAX).unwrap();
        assert_eq!(lengths(&batches), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn batches_wait_for_the_call_before_theirs_but_not_for_a_slow_one() {
        let combiner = BatchCombiner::default();
        let (task, _first) = push(&combiner, 1);
        let mut sent = run(task.unwrap(), Duration::MAX);
        assert_eq!(sent.recv().await, Some(vec![1]));
        let begin = Instant::now();
        let _others = [2, 3, MAX_ENTRIES, MAX_ENTRIES].map(|length| push(&combiner, length));
        assert_eq!(sent.recv().await, Some(vec![2, 3]));
        assert_eq!(sent.recv().await, Some(vec![MAX_ENTRIES]));
        assert_eq!(sent.recv().await, Some(vec![MAX_ENTRIES]));
        assert_eq!(begin.elapsed(), MAX_WAIT, "on tokio's clock");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_linger_while_batches_of_several_callers_arrive_unless_they_are_full() {
        let duration = MAX_WAIT / 2;
        let combiner = BatchCombiner::default();
        let (task, _first) = push(&combiner, 1);
        let mut sent = run(task.unwrap(), duration);
        let begin = Instant::now();
        assert_eq!(sent.recv().await, Some(vec![1]));
        assert_eq!(begin.elapsed(), Duration::ZERO, "it met no other");

        let _second = push(&combiner, 2);
        sleep(duration + LINGER / 2).await;
        let _third = push(&combiner, 3);
        assert_eq!(sent.recv().await, Some(vec![2, 3]));
        assert_eq!(begin.elapsed(), duration + LINGER, "the second waited");

        sleep(duration + LINGER / 2).await;
        let (task, _fourth) = push(&combiner, 4);
        assert!(task.is_none(), "the task lingers");
        assert_eq!(sent.recv().await, Some(vec![4]));
        assert_eq!(begin.elapsed(), 2 * (duration + LINGER), "a shared call");

        let _full = push(&combiner, MAX_ENTRIES);
        assert_eq!(sent.recv().await, Some(vec![MAX_ENTRIES]));
        assert_eq!(begin.elapsed(), 3 * duration + 2 * LINGER);

        sleep(2 * duration).await;
        let (task, _next) = push(&combiner, 1);
        assert!(task.is_some(), "nothing waited, so the task has ended");
    }

    #[tokio::test]
    async fn a_caller_that_leaves_does_not_end_the_call_of_others() {
        let combiner = BatchCombiner::default();
        let (task, first) = push(&combiner, 1);
        let (_, second) = push(&combiner, 2);
        let (begin, begun) = oneshot::channel::<()>();
        let begun = Mutex::new(Some(begun));
        let send = move |batches: Vec<WaitingBatch>| {
            let begun = begun.lock().unwrap().take();
            async move {
                begun.unwrap().await.unwrap();
                for batch in batches {
                    let _ = batch.result.send(AppliedBatch::default());
                }
            }
        };
        tokio::spawn(task.unwrap().run(unlimited, send));
        tokio::task::yield_now().await;
        drop(first);
        begin.send(()).unwrap();
        second.await.unwrap();
    }

    #[test]
    fn batches_fail_if_the_runtime_drops_their_task() {
        let combiner = BatchCombiner::default();
        let (task, mut left) = push(&combiner, 1);
        drop(task);
        assert!(
            left.try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(push(&combiner, 1).0.is_some(), "the next one starts a task");
    }
}
