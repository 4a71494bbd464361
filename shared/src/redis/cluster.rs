//! Client of a Redis Cluster: each command goes to the master that holds its slot, and follows the
//! slot when that moves.
//!
//! A node that is down affects its own commands only.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use redis::{Cmd, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    StoreError,
    in_flight::Urgency,
    link::{Address, Repeat, is_lost_socket},
    node::{Clock, Sending, Slots, Timed},
    policy::{KeysApart, Policy},
    shard::Shard,
    slot_map::{SlotMap, parse_address},
    topology::Topology,
};
use crate::aws::IamAuthToken;

/// The most commands per pipeline to a node: few enough not to delay other clients for long.
const COMMANDS_PER_PIPELINE: usize = 1_024;

/// How often a command follows redirections, or waits for keys that are being moved, before it
/// fails.
const ATTEMPTS: u32 = 16;

/// How often a command that meets a dead socket is sent: the second time to the slot's master in a
/// new map, the third time if the connection to that master was dead as well.
const ATTEMPTS_ON_DEAD_SOCKETS: u32 = 3;

/// Redirections followed without delay. Later ones back off, so that nodes that disagree on slot
/// ownership cannot bounce a command forever.
const PROMPT_REDIRECTIONS: u32 = 3;

/// The first pause before a command is sent again because its keys are being moved. It doubles with
/// each attempt.
const MIN_BACKOFF: Duration = Duration::from_millis(1);

/// The longest pause before a command is sent again because its keys are being moved.
const MAX_BACKOFF: Duration = Duration::from_millis(50);

/// A Redis Cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    topology: Arc<Topology>,
    timeout: Duration,
}

/// Commands that are sent together, and their deadline.
#[derive(Clone, Copy)]
struct Call<'a> {
    clock: Clock,
    policy: Policy,
    commands: &'a [(Shard, Cmd)],
    deadline: Instant,
}

/// The target of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    /// The master of its slot.
    Master,
    /// The node to which the last one redirected it.
    Redirected(Address, Slots),
}

/// The pause before a command is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pause {
    None,
    /// The command's keys are being moved and are on two nodes. Wait until they have all moved.
    Wait,
    /// The slot map is outdated. Wait for a new one.
    NewMap,
}

/// A command's position in its call, and its reply.
type IndexedReply = (usize, Result<Timed, StoreError>);

impl Cluster {
    /// Creates a client of the cluster that is reached by `seeds`. Nothing is sent before the first
    /// query.
    pub(super) fn new(
        seeds: Vec<ConnectionInfo>,
        tokens: Option<IamAuthToken>,
        timeout: Duration,
    ) -> Self {
        Self {
            topology: Arc::new(Topology::new(seeds, tokens, timeout)),
            timeout,
        }
    }

    /// Sends one command to the master that holds `shard`.
    pub(super) async fn query(
        &self,
        policy: Policy,
        shard: Shard,
        command: &Cmd,
    ) -> Result<Value, StoreError> {
        let reply = self
            .query_all(Clock::Unread, policy, &[(shard, command.clone())])
            .await
            .pop();
        reply
            .unwrap_or(Err(StoreError::Unexpected("no reply")))
            .map(|(value, _)| value)
    }

    /// Sends commands, each to the master that holds its shard, in one round trip to each of them.
    pub(super) async fn query_all(
        &self,
        clock: Clock,
        policy: Policy,
        commands: &[(Shard, Cmd)],
    ) -> Vec<Result<Timed, StoreError>> {
        let call = Call {
            clock,
            policy,
            commands,
            deadline: Instant::now() + self.timeout,
        };
        let routes = (0..commands.len())
            .map(|position| (position, Route::Master))
            .collect();
        let mut replies = vec![Err(StoreError::Unexpected("no reply")); commands.len()];
        for (position, reply) in self.deliver(&call, routes, 1).await {
            replies[position] = reply;
        }
        if replies
            .iter()
            .any(|reply| reply.as_ref().is_err_and(suggests_new_map))
        {
            self.topology.refresh_in_background();
        }
        replies
    }

    /// Sends a command to each master.
    pub(super) async fn query_masters(&self, command: &Cmd) -> Vec<Result<Value, StoreError>> {
        let deadline = Instant::now() + self.timeout;
        let slots = match timeout_at(deadline, self.topology.slots()).await {
            Ok(Ok(slots)) => slots,
            Ok(Err(error)) => return vec![Err(error)],
            Err(_) => return vec![Err(StoreError::Timeout(self.timeout))],
        };
        let query = async |address| {
            self.topology
                .node(address)?
                .query_optional(command, deadline)
                .await
        };
        join_all(slots.masters.iter().map(query)).await
    }

    /// One of `shards` for each master that holds any of them.
    pub(super) async fn shard_of_each_master(
        &self,
        shards: impl Iterator<Item = Shard>,
    ) -> Result<Vec<Shard>, StoreError> {
        let slots = timeout(self.timeout, self.topology.slots()).await;
        Ok(slots
            .unwrap_or(Err(StoreError::Timeout(self.timeout)))?
            .shard_of_each_master(shards))
    }

    /// Groups items by the master that holds their shard, as far as that is known. Items without a
    /// known master form one group.
    pub(super) async fn group_by_master<T>(
        &self,
        items: Vec<T>,
        shard: impl Fn(&T) -> Shard,
    ) -> Vec<Vec<T>> {
        let Ok(Ok(slots)) = timeout(self.timeout, self.topology.slots()).await else {
            return vec![items];
        };
        group_by_master(&slots, items, shard)
            .into_values()
            .collect()
    }

    /// Groups items by the master that holds their shard, without asking for the slot map: items
    /// without a known master have `None`.
    pub(super) fn group_by_known_master<T>(
        &self,
        items: Vec<T>,
        shard: impl Fn(&T) -> Shard,
    ) -> Vec<(Option<Address>, Vec<T>)> {
        let Some(slots) = self.topology.known_slots() else {
            return vec![(None, items)];
        };
        let groups = group_by_master(&slots, items, shard);
        let clone_address = |(master, items): (Option<&Address>, _)| (master.cloned(), items);
        groups.into_iter().map(clone_address).collect()
    }

    /// The number of entries that may be in flight to a master at present; zero if nothing was sent
    /// to it.
    pub(super) fn in_flight_limit(&self, master: &Address) -> usize {
        let node = self.topology.known_node(master);
        node.map_or(0, |node| node.in_flight.max_entries())
    }

    /// Sends commands on their routes, repeatedly until each has its reply. Commands to one node do
    /// not wait for those to another.
    fn deliver<'a>(
        &'a self,
        call: &'a Call<'_>,
        routes: Vec<(usize, Route)>,
        attempt: u32,
    ) -> BoxFuture<'a, Vec<IndexedReply>> {
        Box::pin(async move {
            let slots = match self.in_time(call, self.topology.slots()).await {
                Ok(slots) => slots,
                Err(error) => {
                    return routes
                        .into_iter()
                        .map(|(position, _)| (position, Err(error.clone())))
                        .collect();
                }
            };
            let mut nodes = HashMap::<(Address, Slots), Vec<usize>>::new();
            let mut replied = Vec::with_capacity(routes.len());
            for (position, route) in routes {
                match self.node_on(route, call.commands[position].0, &slots) {
                    Some(node) => nodes.entry(node).or_default().push(position),
                    None => replied.push((position, Err(UNASSIGNED))),
                }
            }
            let pipelines = nodes.iter().flat_map(|((address, slots), positions)| {
                let chunks = positions.chunks(COMMANDS_PER_PIPELINE);
                chunks.map(|positions| {
                    self.deliver_to_node(call, address, *slots, positions, attempt)
                })
            });
            replied.extend(join_all(pipelines).await.into_iter().flatten());
            replied
        })
    }

    /// Sends commands to one node in one pipeline, and delivers those again that it redirects.
    async fn deliver_to_node(
        &self,
        call: &Call<'_>,
        address: &Address,
        slots: Slots,
        positions: &[usize],
        attempt: u32,
    ) -> Vec<IndexedReply> {
        let (deadline, result) = self
            .send_to_node(call, address, slots, positions, attempt)
            .await;
        let call = &Call { deadline, ..*call };
        let replies = result.unwrap_or_else(|error| vec![Err(error); positions.len()]);
        let mut replied = Vec::with_capacity(positions.len());
        let mut again = Vec::new();
        let mut pause = Pause::None;
        for (position, reply) in positions.iter().copied().zip(replies) {
            let may_wait = call.policy.keys_apart == KeysApart::Wait;
            let error = reply
                .as_ref()
                .err()
                .filter(|error| may_wait || !error.is_keys_apart());
            match error.and_then(|error| next(error, address, call.policy.repeat, attempt)) {
                Some((route, before)) => {
                    again.push((position, route));
                    pause = pause.max(before);
                }
                None => replied.push((position, reply)),
            }
        }
        if again
            .iter()
            .any(|(_, route)| matches!(route, Route::Redirected(_, Slots::Held)))
        {
            self.topology.refresh_in_background();
        }
        if !again.is_empty() {
            self.wait(call, pause, attempt).await;
            replied.extend(self.deliver(call, again, attempt + 1).await);
        }
        replied
    }

    /// Sends commands to one node after their admission. Also returns the new deadline of the call,
    /// as the wait for admission does not count.
    async fn send_to_node(
        &self,
        call: &Call<'_>,
        address: &Address,
        slots: Slots,
        positions: &[usize],
        attempt: u32,
    ) -> (Instant, Result<Vec<Result<Timed, StoreError>>, StoreError>) {
        let node = match self.topology.node(address) {
            Ok(node) => node,
            Err(error) => return (call.deadline, Err(error.into())),
        };
        let commands = positions.iter().map(|position| &call.commands[*position].1);
        // Commands that follow a redirection were admitted before.
        let urgency = if attempt == 1 {
            call.policy.urgency
        } else {
            Urgency::Exempt
        };
        let permit = match node.in_flight.admit(urgency, commands.clone()).await {
            Ok(permit) => permit,
            Err(error) => return (call.deadline, Err(error)),
        };
        let deadline = if attempt == 1 {
            Instant::now() + self.timeout
        } else {
            call.deadline
        };
        let sending = Sending {
            clock: call.clock,
            slots,
            repeat: call.policy.repeat,
            deadline,
        };
        let result = node.query_all(&sending, commands.cloned()).await;
        if let Some(permit) = permit {
            permit.finish(&result);
        }
        (
            deadline,
            result.map(|replies| node.timed(replies).collect()),
        )
    }

    /// The node to which a command for `shard` goes. `None` if its slot is unassigned.
    fn node_on(&self, route: Route, shard: Shard, slots: &SlotMap) -> Option<(Address, Slots)> {
        match route {
            Route::Master => Some((slots.master(shard)?.clone(), Slots::Held)),
            Route::Redirected(address, slots) => Some((address, slots)),
        }
    }

    async fn wait(&self, call: &Call<'_>, pause: Pause, attempt: u32) {
        let pause = async {
            match pause {
                Pause::None => {}
                Pause::Wait => sleep(MAX_BACKOFF.min(MIN_BACKOFF * 2_u32.pow(attempt - 1))).await,
                Pause::NewMap => drop(self.topology.refresh().await),
            }
        };
        let _ = timeout_at(call.deadline, pause).await; // the next step reports the timeout
    }

    async fn in_time<T>(
        &self,
        call: &Call<'_>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        timeout_at(call.deadline, work)
            .await
            .unwrap_or(Err(StoreError::Timeout(self.timeout)))
    }
}

fn group_by_master<T>(
    slots: &SlotMap,
    items: Vec<T>,
    shard: impl Fn(&T) -> Shard,
) -> HashMap<Option<&Address>, Vec<T>> {
    let mut groups = HashMap::<_, Vec<T>>::with_capacity(slots.masters.len());
    for item in items {
        groups
            .entry(slots.master(shard(&item)))
            .or_default()
            .push(item);
    }
    groups
}

const UNASSIGNED: StoreError = StoreError::Unexpected("unassigned hash slot");

/// The next route of a command that failed with `error` at the node `by`. `None` if the error is
/// final.
fn next(error: &StoreError, by: &Address, repeat: Repeat, attempt: u32) -> Option<(Route, Pause)> {
    let error = match error {
        // Nothing was sent, as the node is no longer a master.
        StoreError::NotPrimary if attempt < ATTEMPTS_ON_DEAD_SOCKETS => {
            return Some((Route::Master, Pause::NewMap));
        }
        StoreError::Redis(error) if attempt < ATTEMPTS => error,
        _ => return None,
    };
    let pause = if attempt > PROMPT_REDIRECTIONS {
        Pause::Wait
    } else {
        Pause::None
    };
    let may_meet_dead_sockets = repeat == Repeat::Allowed && attempt < ATTEMPTS_ON_DEAD_SOCKETS;
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => Some(match target(error, by) {
            Some(target) => (Route::Redirected(target, Slots::Held), pause),
            None => (Route::Master, Pause::NewMap),
        }),
        ErrorKind::Server(ServerErrorKind::Ask) => Some((
            Route::Redirected(target(error, by)?, Slots::Importing),
            pause,
        )),
        ErrorKind::Server(ServerErrorKind::TryAgain) => Some((Route::Master, Pause::Wait)),
        _ if may_meet_dead_sockets && is_lost_socket(error) => Some((Route::Master, Pause::NewMap)),
        _ => None,
    }
}

/// The target of a redirection by the node `by`.
fn target(redirection: &RedisError, by: &Address) -> Option<Address> {
    parse_address(redirection.redirect_node()?.0, &by.0)
}

/// Whether an error suggests that the slot map is outdated.
fn suggests_new_map(error: &StoreError) -> bool {
    match error {
        StoreError::Timeout(_) | StoreError::NotPrimary | StoreError::Unexpected(_) => true,
        StoreError::Redis(error) => {
            use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
            let kinds = [BusyLoading, ClusterDown, MasterDown, ReadOnly];
            is_lost_socket(error)
                || kinds
                    .iter()
                    .any(|kind| error.kind() == ErrorKind::Server(*kind))
        }
        StoreError::Type(_) | StoreError::Overloaded { .. } | StoreError::Partitions { .. } => {
            false
        }
    }
}

#[cfg(test)]
mod tests;
