//! Topology of a Redis Cluster: its nodes, and the slot map.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures_util::StreamExt as _;
use rand::seq::SliceRandom as _;
use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError};
use tokio::time::Instant;

use super::{
    StoreError, StoreFailure,
    hedged::hedged,
    link::{Address, Endpoint, Repeat, Role, reached_like},
    node::Node,
    slot_map::SlotMap,
};
use crate::aws::IamAuthToken;

/// The shortest time between two refreshes of the slot map.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(50);

/// The nodes of a cluster, and the newest known slot map.
pub(super) struct Topology {
    seeds: Vec<ConnectionInfo>,
    tokens: Option<IamAuthToken>,
    timeout: Duration,
    nodes: Mutex<HashMap<Address, Node>>,
    slots: RwLock<Option<Arc<SlotMap>>>,
    /// Locked during a refresh: other callers wait for its outcome.
    asked: tokio::sync::Mutex<Option<Asked>>,
}

/// The last refresh of the slot map.
struct Asked {
    at: Instant,
    outcome: Result<(), StoreError>,
}

impl Topology {
    /// Creates the topology of a cluster that is reached by `seeds`. A node has `timeout` to
    /// connect.
    pub(super) fn new(
        seeds: Vec<ConnectionInfo>,
        tokens: Option<IamAuthToken>,
        timeout: Duration,
    ) -> Self {
        Self {
            seeds,
            tokens,
            timeout,
            nodes: Mutex::default(),
            slots: RwLock::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// The known slot map. It is fetched first if it is not known yet.
    pub(super) async fn slots(&self) -> Result<Arc<SlotMap>, StoreError> {
        if let Some(slots) = self.known_slots() {
            return Ok(slots);
        }
        self.refresh().await?;
        self.known_slots().ok_or(NO_SLOTS)
    }

    /// Fetches the slot map, unless another caller has just done so.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let mut asked = self.asked.lock().await;
        if let Some(asked) = asked
            .as_ref()
            .filter(|asked| asked.at.elapsed() < MIN_REFRESH_INTERVAL)
        {
            return asked.outcome.clone();
        }
        let outcome = self.ask().await.map(|slots| self.adopt(slots));
        *asked = Some(Asked {
            at: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    /// Refreshes the slot map in the background.
    pub(super) fn refresh_in_background(self: &Arc<Self>) {
        if self.asked.try_lock().is_ok() {
            let topology = Arc::clone(self);
            tokio::spawn(async move { topology.refresh().await });
        } // else a refresh is already in progress
    }

    /// The master at an address.
    pub(super) fn node(&self, address: &Address) -> Result<Node, RedisError> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Ok(node.clone());
        }
        let node = self.new_node(address, Role::Primary)?;
        nodes.insert(address.clone(), node.clone());
        Ok(node)
    }

    /// The master at an address, if commands were sent to it.
    pub(super) fn known_node(&self, address: &Address) -> Option<Node> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(address).cloned()
    }

    fn new_node(&self, address: &Address, role: Role) -> Result<Node, RedisError> {
        let seed = self
            .seeds
            .first()
            .ok_or((ErrorKind::InvalidClientConfig, "no Redis URL"))?;
        let info = seed.clone().set_addr(reached_like(seed.addr(), address));
        Ok(Node::new(
            Endpoint::fixed(info, self.tokens.as_ref())?,
            role,
            self.timeout,
        ))
    }

    pub(super) fn known_slots(&self) -> Option<Arc<SlotMap>> {
        self.slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks nodes until one responds. The next node is asked when one has failed, or has been
    /// silent for a while. The order is random, so that a node that is cut off from the others is
    /// not trusted indefinitely.
    async fn ask(&self) -> Result<SlotMap, StoreError> {
        let questions = self
            .candidates()
            .into_iter()
            .map(|address| self.ask_node(address))
            .collect();
        let mut replies = pin!(hedged(questions));
        let mut failure = NO_SLOTS;
        while let Some(reply) = replies.next().await {
            match reply {
                Ok(slots) => return Ok(slots),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn ask_node(&self, address: Address) -> Result<SlotMap, StoreError> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let deadline = Instant::now() + self.timeout;
        let reply = match self
            .node(&address)?
            .query(&command, Repeat::Allowed, deadline)
            .await
        {
            // A replica knows the slot map, too, and is asked on a connection that accepts any
            // role.
            Err(error) if error.failure() == StoreFailure::NotPrimary => {
                self.new_node(&address, Role::Any)?
                    .query(&command, Repeat::Allowed, deadline)
                    .await?
            }
            reply => reply?,
        };
        SlotMap::parse(&reply, &address.0).ok_or(NO_SLOTS)
    }

    /// The nodes to ask: the known masters, then the seeds.
    fn candidates(&self) -> Vec<Address> {
        let mut candidates = self
            .known_slots()
            .map(|slots| slots.masters.clone())
            .unwrap_or_default();
        let mut seeds: Vec<_> = self
            .seeds
            .iter()
            .filter_map(|seed| address_of(seed.addr()))
            .collect();
        seeds.retain(|seed| !candidates.contains(seed));
        candidates.shuffle(&mut rand::rng());
        seeds.shuffle(&mut rand::rng());
        candidates.extend(seeds);
        candidates
    }

    /// Stores a new map, and drops the connections to nodes that are not in it.
    fn adopt(&self, slots: SlotMap) {
        self.nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|node, _| slots.masters.contains(node));
        *self.slots.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(slots));
    }
}

const NO_SLOTS: StoreError =
    StoreError::Unexpected("CLUSTER SLOTS returned no slots: not a cluster, or not fully assigned");

fn address_of(address: &ConnectionAddr) -> Option<Address> {
    match address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}
