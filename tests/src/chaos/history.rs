//! History of a run: everything that was seen from outside of the system, with times.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use presence::model::EventReason;
pub(crate) use presence::model::{GatewayStatus, State};
use serde::{Deserialize, Serialize};

use super::plan::GATEWAYS;
use crate::partition_slot;

/// Unix milliseconds. All processes share the machine's clock, so Redis's is the same.
pub(super) type Millis = u64;

/// The present time.
pub(super) fn now() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_millis() as Millis)
}

/// Everything that was seen in one run.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct History {
    /// The times that the service was configured with.
    pub timing: Timing,
    /// The faults.
    pub faults: Vec<Fault>,
    /// The calls of gateways, entry by entry, each time that one reached a server.
    pub calls: Vec<Call>,
    /// The gateways' calls about their own leases, each time that one reached a server.
    #[serde(default)]
    pub lease_calls: Vec<LeaseCall>,
    /// The responses to the observer.
    pub reads: Vec<Read>,
    /// The observer's calls, including those that failed.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// The event stream, in its order.
    pub events: Vec<Event>,
    /// Which sockets were open when.
    pub sockets: Vec<Socket>,
    /// The streams of watchers, in the order of their opening.
    #[serde(default)]
    pub streams: Vec<WatchStream>,
    /// What watchers were sent, in order.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
    /// Anomalies that were found during the run.
    pub anomalies: Vec<String>,
    /// Times at which the observer found that all responses agreed with the sockets.
    pub agreements: Vec<Millis>,
}

/// The service's times, in milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// `PRESENCE_TTL`.
    pub ttl: Millis,
    /// `PRESENCE_HEARTBEAT_INTERVAL`.
    pub heartbeat: Millis,
    /// `PRESENCE_SWEEP_INTERVAL`.
    pub sweep: Millis,
    /// `PRESENCE_GATEWAY_TTL`; 0 if gateways hold no leases.
    #[serde(default)]
    pub gateway_ttl: Millis,
    /// `PRESENCE_MOVE_GRACE`.
    #[serde(default)]
    pub move_grace: Millis,
}

/// The target of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Redis, or a master of the cluster.
    Redis,
    /// NATS.
    Nats,
    /// One of the presence servers.
    Server(usize),
    /// One of the gateways.
    Gateway(usize),
    /// One of the watchers.
    Watcher(usize),
    /// The machine, which did not run the chaos test itself for a while. Such a fault is not
    /// planned.
    Machine,
}

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// SIGSTOP, and later SIGCONT.
    Freeze,
    /// kill -9, and a start later.
    Kill,
    /// SIGTERM, and a start later.
    Terminate,
    /// All keys are deleted. Redis only.
    Flush,
    /// The primary becomes a replica, its connections stay open, and the endpoint moves to the new
    /// primary.
    Demote,
    /// SIGSTOP, the endpoint moves to the replica, SIGCONT as a replica. For NATS, one of two
    /// addresses falls silent: open connections for good, new ones until the fault is over.
    Hang,
    /// The network loses every byte of open connections, and the endpoint moves to the replica.
    Isolate,
}

/// What Redis lost in a fault.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Loss {
    /// No key, and no write that was acknowledged.
    #[default]
    Nothing,
    /// All keys.
    Everything,
    /// What was written between two moments: it had not reached the replica that was promoted.
    Writes(Vec<(Millis, Millis)>),
}

/// A fault, from its beginning until the target works again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The target.
    pub part: Part,
    /// The kind.
    pub kind: FaultKind,
    /// The hash slots affected, first and last of each range; empty for all.
    pub slots: Vec<(u16, u16)>,
    /// What Redis lost.
    pub loss: Loss,
    /// The beginning.
    pub from: Millis,
    /// When the target worked again: for an endpoint that moves, when it led to the new primary.
    pub to: Millis,
}

/// One attempt to read all players.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Attempt {
    /// The server.
    pub server: usize,
    /// When the call was sent.
    pub sent: Millis,
    /// When the response arrived or the call was given up.
    pub ended: Millis,
    /// Whether the call succeeded.
    pub is_answered: bool,
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// A connect.
    Connect,
    /// A heartbeat.
    Heartbeat,
    /// A disconnect with the reason `quit`.
    Quit,
    /// A disconnect with the reason `lost`.
    Lost,
    /// A disconnect with the reason `moving`.
    Moving,
    /// A call that sets a state.
    SetState(State),
}

/// The outcome of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect, between the call's beginning and its end.
    Accepted,
    /// Its connection was closed before.
    Closed,
    /// Its transition was rejected.
    Rejected,
    /// Unknown: the call failed, or had no response.
    Unknown,
}

/// One entry of one call, as it reached a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The number of the player.
    pub player: u32,
    /// The connection; `None` for a state.
    pub connection: Option<Arc<str>>,
    /// The kind of the call.
    pub verb: Verb,
    /// The gateway that sent the call.
    pub gateway: usize,
    /// The `gateway_id` that the connection belongs to from then on, if the call names one.
    #[serde(default)]
    pub owner: Option<Arc<str>>,
    /// The server.
    #[serde(default)]
    pub server: usize,
    /// When the gateway sent the call; copies of it are sent later.
    pub asked: Millis,
    /// Just before it was sent to the server.
    pub sent: Millis,
    /// When the response arrived, or the socket broke.
    pub ended: Millis,
    /// The outcome.
    pub outcome: Outcome,
    /// The state and version in the response, if it has them.
    pub seen: Option<(State, u64)>,
}

/// A gateway's call about its own lease, as it reached a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseCall {
    /// The number of the gateway.
    pub gateway: usize,
    /// Its `gateway_id`, which is new at each start.
    pub id: Arc<str>,
    /// Whether it ends the lease, for a planned restart; otherwise it renews the lease.
    pub is_leaving: bool,
    /// The server.
    pub server: usize,
    /// Just before it was sent to the server.
    pub sent: Millis,
    /// When the response arrived, or the socket broke.
    pub ended: Millis,
    /// The status in the response; `None` if the call failed, or had no response.
    pub status: Option<GatewayStatus>,
}

/// One player's presence in a response to the observer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Read {
    /// The number of the player.
    pub player: u32,
    /// `as_of`: it was read then, or a little later.
    pub as_of: Millis,
    /// When the response arrived.
    pub ended: Millis,
    /// Its state.
    pub state: State,
    /// Its `connection_count`.
    pub count: u32,
    /// Its `version`.
    pub version: Option<u64>,
}

/// A watcher's stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WatchStream {
    /// The number of the watcher.
    pub watcher: usize,
    /// The server that it leads to.
    pub server: usize,
    /// When the handshake was complete.
    pub opened: Millis,
    /// Whether the watcher holds nothing from earlier streams.
    pub knows_nothing: bool,
    /// Its requests that are complete.
    pub snapshots: Vec<Snapshot>,
    /// When it ended; `None` if it did not.
    pub ended: Option<Millis>,
}

/// A request to watch players that is complete.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Snapshot {
    /// The number of the first player.
    pub first: u32,
    /// One more than the number of the last player.
    pub end: u32,
    /// When the request was sent.
    pub sent: Millis,
    /// When its reply arrived.
    pub completed: Millis,
}

/// One player's presence, as a watcher was sent it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Delivery {
    /// The stream's index in the history.
    pub stream: usize,
    /// The number of the player.
    pub player: u32,
    /// When it arrived.
    pub at: Millis,
    /// Its `state`.
    pub state: State,
    /// Its `version`.
    pub version: Option<u64>,
}

/// One message of the stream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// The number of the player.
    pub player: u32,
    /// Its `id`.
    pub id: String,
    /// Its `Nats-Msg-Id`.
    pub message_id: String,
    /// Its `state`.
    pub state: State,
    /// Its `previous_state`.
    pub previous_state: State,
    /// Its `reason`.
    pub reason: EventReason,
    /// Its `version`.
    pub version: u64,
    /// Its `last_seen`.
    pub last_seen: Millis,
    /// Its `occurred_at`.
    pub occurred_at: Millis,
    /// When the stream stored it.
    pub published: Millis,
    /// Its sequence number in the stream.
    #[serde(default)]
    pub sequence: u64,
}

/// A player's socket to a gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Socket {
    /// The number of the player.
    pub player: u32,
    /// The gateway's id for it.
    pub connection: Arc<str>,
    /// The gateway.
    pub gateway: usize,
    /// When it was open.
    pub opened: Millis,
    /// When it was closed.
    pub closed: Option<Millis>,
}

/// Records a history. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    /// An empty history.
    pub(super) fn new(timing: Timing) -> Self {
        Self(Arc::new(Mutex::new(History {
            timing,
            ..History::default()
        })))
    }

    /// The history so far. The lock must not be held across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of the history so far.
    pub(super) fn copy(&self) -> History {
        self.lock().clone()
    }

    /// Records an anomaly that the checker could not find in the history.
    pub(super) fn record_anomaly(&self, text: String) {
        self.lock().anomalies.push(text);
    }
}

impl History {
    /// The number of sockets that each player has open at present.
    pub(super) fn open_sockets(&self) -> BTreeMap<u32, u32> {
        let mut open = BTreeMap::new();
        for socket in self.sockets.iter().filter(|socket| socket.closed.is_none()) {
            *open.entry(socket.player).or_default() += 1;
        }
        open
    }

    /// The number of gateways and of open sockets whose leases were not renewed from `since` on.
    pub(super) fn not_renewed_since(&self, since: Millis) -> usize {
        let lease_calls = self
            .lease_calls
            .iter()
            .filter(|call| call.sent >= since && !call.is_leaving);
        let gateways: HashSet<_> = lease_calls
            .filter(|call| call.status.is_some())
            .map(|call| call.gateway)
            .collect();
        // Calls are in the order in which they ended.
        let calls = self
            .calls
            .iter()
            .rev()
            .take_while(|call| call.ended >= since)
            .filter(|call| call.sent >= since);
        let renewals = calls.filter(|call| {
            matches!(call.verb, Verb::Connect | Verb::Heartbeat)
                && call.outcome == Outcome::Accepted
        });
        let connections: HashSet<_> = renewals
            .filter_map(|call| call.connection.as_ref())
            .collect();
        let open = self.sockets.iter().filter(|socket| socket.closed.is_none());
        let missing = open
            .filter(|socket| !connections.contains(&socket.connection))
            .count();
        GATEWAYS - gateways.len() + missing
    }
}

impl Fault {
    /// A fault that is over now, lost nothing and affects all players.
    pub(super) fn over(part: Part, kind: FaultKind, from: Millis) -> Self {
        Self {
            part,
            kind,
            slots: Vec::new(),
            loss: Loss::Nothing,
            from,
            to: now(),
        }
    }

    /// Whether it affects the player's hash slot.
    pub(super) fn concerns(&self, player: u32) -> bool {
        self.concerns_slot(slot(player))
    }

    /// Whether it affects the hash slot of the gateways' leases.
    pub(super) fn concerns_gateways(&self) -> bool {
        self.concerns_slot(GATEWAYS_SLOT)
    }

    fn concerns_slot(&self, slot: u16) -> bool {
        self.slots.is_empty()
            || self
                .slots
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// The hash slot of keys that exist once: they are in the first partition, which begins with the
/// first hash slot.
const GATEWAYS_SLOT: u16 = 0;

/// The id of a player.
pub(super) fn player_id(number: u32) -> String {
    format!("p{number:05}")
}

/// The number of a player.
pub(super) fn player_number(id: &str) -> Option<u32> {
    id.strip_prefix('p')?.parse().ok()
}

/// The hash slot of a player's keys.
fn slot(player: u32) -> u16 {
    partition_slot(&player_id(player))
}
