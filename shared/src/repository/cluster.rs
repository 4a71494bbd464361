//! Redis Cluster: each command goes to the master that holds its slot, and follows the slot where it moves.
//!
//! A node that is away costs its own commands and nobody else's.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use redis::{Cmd, ConnectionInfo, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    StoreError,
    keys::Shard,
    node::{Clock, Slots, Timed, is_dead_socket},
    slot_map::{Address, SlotMap, parse_address},
    topology::Topology,
};

/// The number of commands sent to a node in one go: few enough not to hold up other clients for long.
const COMMANDS_PER_PIPELINE: usize = 1_024;

/// How often a command follows redirections, or waits for keys that are being moved, before it is given up.
const ATTEMPTS: u32 = 16;

/// How often a command is sent that meets a dead socket: the second time to the slot's master in a new map, the third
/// time where the connection to that one was dead as well.
const ATTEMPTS_ON_DEAD_SOCKETS: u32 = 3;

/// The wait before a command is sent again whose keys are being moved; it doubles from attempt to attempt.
const WAIT: Duration = Duration::from_millis(1);

/// The longest of these waits.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// A Redis Cluster.
#[derive(Clone)]
pub(super) struct Cluster {
    topology: Arc<Topology>,
    limit: Duration,
}

/// Where a command goes.
enum Route {
    /// To the master of its slot.
    Master,
    /// To the node that the last one named.
    Redirected(Address, Slots),
}

/// What comes before a command is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pause {
    None,
    /// Keys of the command are being moved, some are here and some there: wait until all are there.
    Wait,
    /// The slot map is old: ask for a new one.
    NewMap,
}

/// A command's answer, and the node that gave it.
struct Answered {
    place: usize,
    by: Address,
    answer: Result<Timed, StoreError>,
}

impl Cluster {
    /// A cluster that is reached by `seeds`. Nothing is sent before the first query.
    pub(super) fn new(seeds: Vec<ConnectionInfo>, limit: Duration) -> Self {
        Self { topology: Arc::new(Topology::new(seeds, limit)), limit }
    }

    /// Sends one command to the master that holds `shard`.
    pub(super) async fn query(&self, shard: Shard, command: &Cmd) -> Result<Value, StoreError> {
        let answer = self.query_all(Clock::Unread, &[(shard, command.clone())]).await.pop();
        answer.unwrap_or(Err(StoreError::Unexpected("no answer"))).map(|(value, _)| value)
    }

    /// Sends commands, each to the master that holds its shard, in one round trip to each of them.
    pub(super) async fn query_all(&self, clock: Clock, commands: &[(Shard, Cmd)]) -> Vec<Result<Timed, StoreError>> {
        let deadline = Instant::now() + self.limit;
        let mut answers = vec![Err(StoreError::Timeout(self.limit)); commands.len()];
        let _ = timeout_at(deadline, self.follow(clock, commands, deadline, &mut answers)).await;
        if answers.iter().any(|answer| answer.as_ref().is_err_and(tells_of_change)) {
            let topology = Arc::clone(&self.topology);
            tokio::spawn(async move { topology.refresh().await });
        }
        answers
    }

    /// Sends a command to each master.
    pub(super) async fn query_masters(&self, command: &Cmd) -> Vec<Result<Value, StoreError>> {
        let slots = match timeout(self.limit, self.topology.slots()).await {
            Ok(Ok(slots)) => slots,
            Ok(Err(error)) => return vec![Err(error)],
            Err(_) => return vec![Err(StoreError::Timeout(self.limit))],
        };
        let query = async |address| {
            let node = self.topology.node(address)?;
            let query = node.query_twice(command);
            Ok(timeout(self.limit, query).await.map_err(|_| StoreError::Timeout(self.limit))??)
        };
        join_all(slots.masters.iter().map(query)).await
    }

    /// Sends commands until each has its answer.
    async fn follow(
        &self,
        clock: Clock,
        commands: &[(Shard, Cmd)],
        deadline: Instant,
        answers: &mut [Result<Timed, StoreError>],
    ) {
        let mut pending: Vec<_> = (0..commands.len()).map(|place| (place, Route::Master)).collect();
        for attempt in 1..=ATTEMPTS {
            let slots = match self.topology.slots().await {
                Ok(slots) => slots,
                Err(error) => return pending.iter().for_each(|(place, _)| answers[*place] = Err(error.clone())),
            };
            let mut again = Vec::new();
            let mut pause = Pause::None;
            for Answered { place, by, answer } in self.send(clock, commands, pending, &slots, deadline).await {
                if let Err(StoreError::Redis(error)) = &answer
                    && let Some((route, before)) = next(error, &by, attempt)
                {
                    again.push((place, route));
                    pause = pause.max(before);
                }
                answers[place] = answer;
            }
            match pause {
                Pause::None if again.is_empty() => return,
                Pause::None => {}
                Pause::Wait => sleep(MAX_WAIT.min(WAIT * 2_u32.pow(attempt - 1))).await,
                Pause::NewMap => drop(self.topology.refresh().await),
            }
            pending = again;
        }
    }

    /// Sends commands to their nodes, each node's in one go.
    async fn send(
        &self,
        clock: Clock,
        commands: &[(Shard, Cmd)],
        pending: Vec<(usize, Route)>,
        slots: &SlotMap,
        deadline: Instant,
    ) -> Vec<Answered> {
        let mut nodes = HashMap::<(Address, Slots), Vec<usize>>::new();
        let mut answered = Vec::with_capacity(pending.len());
        for (place, route) in pending {
            let node = match route {
                Route::Master => slots.master(commands[place].0).map(|address| (address.clone(), Slots::Held)),
                Route::Redirected(address, slots) => Some((address, slots)),
            };
            match node {
                Some(node) => nodes.entry(node).or_default().push(place),
                None => answered.push(Answered { place, by: Address::default(), answer: Err(UNHELD) }),
            }
        }
        let chunks = nodes
            .iter()
            .flat_map(|(node, places)| places.chunks(COMMANDS_PER_PIPELINE).map(move |chunk| (node, chunk)));
        let pipelines = chunks.map(async |((address, slots), places)| {
            let commands = places.iter().map(|place| &commands[*place].1);
            let pipeline = async { self.topology.node(address)?.query_all(clock, *slots, commands).await };
            let answers = match timeout_at(deadline, pipeline).await.unwrap_or(Err(StoreError::Timeout(self.limit))) {
                Ok(answers) => answers.timed().collect(),
                Err(error) => vec![Err(error); places.len()],
            };
            let answered = |(place, answer): (&usize, _)| Answered { place: *place, by: address.clone(), answer };
            places.iter().zip(answers).map(answered).collect::<Vec<_>>()
        });
        answered.extend(join_all(pipelines).await.into_iter().flatten());
        answered
    }
}

const UNHELD: StoreError = StoreError::Unexpected("a hash slot that no node holds");

/// Where a command goes next that met `error` at the node `by`; `None` where the error is its answer.
fn next(error: &RedisError, by: &Address, attempt: u32) -> Option<(Route, Pause)> {
    let target = error.redirect_node().and_then(|(target, _)| parse_address(target, &by.0));
    match (error.kind(), target) {
        (ErrorKind::Server(ServerErrorKind::Moved), Some(target)) => {
            Some((Route::Redirected(target, Slots::Held), Pause::NewMap))
        }
        (ErrorKind::Server(ServerErrorKind::Ask), Some(target)) => {
            Some((Route::Redirected(target, Slots::Importing), Pause::None))
        }
        (ErrorKind::Server(ServerErrorKind::TryAgain), _) => Some((Route::Master, Pause::Wait)),
        _ if is_dead_socket(error) && attempt < ATTEMPTS_ON_DEAD_SOCKETS => Some((Route::Master, Pause::NewMap)),
        _ => None,
    }
}

/// Whether another node may hold the slot by now.
fn tells_of_change(error: &StoreError) -> bool {
    match error {
        StoreError::Timeout(_) | StoreError::Unexpected(_) => true,
        StoreError::Redis(error) => {
            is_dead_socket(error) || error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown)
        }
        StoreError::Type(_) => false,
    }
}
