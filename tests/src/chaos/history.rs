//! What a run leaves behind: all that was seen from outside of the system, with the time at which it was seen.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use presence::model::EventReason;
pub(crate) use presence::model::{GatewayStatus, State};
use serde::{Deserialize, Serialize};

use crate::partition_slot;

/// Unix milliseconds. All processes share the machine's clock, so Redis's is the same.
pub(super) type Millis = u64;

/// The present time.
pub(super) fn now() -> Millis {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as Millis)
}

/// All that was seen in one run.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct History {
    /// What the service was configured with.
    pub pace: Pace,
    /// What was done to the processes.
    pub troubles: Vec<Trouble>,
    /// What gateways told the service, entry by entry, each time that it reached a server.
    pub calls: Vec<Call>,
    /// The gateways' calls about their own leases, each time that one reached a server.
    #[serde(default)]
    pub lease_calls: Vec<LeaseCall>,
    /// What the service answered to an observer.
    pub reads: Vec<Read>,
    /// The observer's attempts, those that failed among them.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// The event stream, in its order.
    pub events: Vec<Event>,
    /// The truth: which sockets were open when.
    pub sockets: Vec<Socket>,
    /// The streams of watchers, in the order of their opening.
    #[serde(default)]
    pub streams: Vec<WatchStream>,
    /// What watchers were sent, in its order.
    #[serde(default)]
    pub sights: Vec<Sight>,
    /// What was found wrong while the run went on.
    pub mishaps: Vec<String>,
    /// Moments at which the observer found that all answers agreed with the sockets.
    pub agreements: Vec<Millis>,
}

/// The service's times, in milliseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
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

/// A process that something is done to.
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
    /// The machine, which did not run the chaos test itself for a while. Nobody plans that.
    Machine,
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// SIGSTOP, and later SIGCONT.
    Freeze,
    /// kill -9, and a start later on.
    Kill,
    /// SIGTERM, and a start later on.
    Terminate,
    /// All keys are deleted. Redis only.
    Flush,
    /// The primary becomes a replica, its connections stay open, and the endpoint moves to the new primary.
    Demote,
    /// SIGSTOP, the endpoint moves to the replica, SIGCONT as a replica. Of NATS, one of two addresses: connections to it
    /// are silent from then on, new ones until the fault is over.
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

/// A fault, from its beginning until the part works again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What it was done to.
    pub part: Part,
    /// What was done.
    pub kind: Kind,
    /// The hash slots concerned, first and last of each range; empty for all.
    pub slots: Vec<(u16, u16)>,
    /// What it cost.
    pub loss: Loss,
    /// Its beginning.
    pub from: Millis,
    /// When the part worked again: for an endpoint that moves, when it led to the new primary.
    pub to: Millis,
}

/// One attempt to read all players.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Attempt {
    /// The server that was asked.
    pub server: usize,
    /// When it was asked.
    pub sent: Millis,
    /// When it answered or was given up.
    pub ended: Millis,
    /// Whether it answered with success.
    pub is_answered: bool,
}

/// A state, or what a connection does.
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
    /// A state that is set.
    SetState(State),
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It took effect, between the call's beginning and its end.
    Accepted,
    /// Its connection was closed before.
    Closed,
    /// Its transition was rejected.
    Rejected,
    /// Nobody knows: the call failed, or was never answered.
    Unknown,
}

/// One entry of one call, as it reached a server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The number of the player.
    pub player: u32,
    /// The connection; of a state that is set, none.
    pub connection: Option<Arc<str>>,
    /// What was asked.
    pub verb: Verb,
    /// The gateway that asked.
    pub gateway: usize,
    /// The `gateway_id` that the connection belongs to from then on, if the call names one.
    #[serde(default)]
    pub owner: Option<Arc<str>>,
    /// The server that was asked.
    #[serde(default)]
    pub server: usize,
    /// When the gateway asked; copies of a call come later.
    pub asked: Millis,
    /// Just before it was sent to the server.
    pub sent: Millis,
    /// When the answer was there, or the socket broken.
    pub ended: Millis,
    /// What became of it.
    pub outcome: Outcome,
    /// The state and the version of the answer, where it has them.
    pub seen: Option<(State, u64)>,
}

/// A gateway's call about its own lease, as it reached a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseCall {
    /// The number of the gateway.
    pub gateway: usize,
    /// Its `gateway_id`, which is another one after each start.
    pub id: Arc<str>,
    /// Whether it ends the lease, for a planned restart; else it renews the lease.
    pub is_leaving: bool,
    /// The server that was asked.
    pub server: usize,
    /// Just before it was sent to the server.
    pub sent: Millis,
    /// When the response arrived, or the socket broke.
    pub ended: Millis,
    /// The response; `None` if the call failed, or was never answered.
    pub status: Option<GatewayStatus>,
}

/// One player's presence, as an observer was told.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Read {
    /// The number of the player.
    pub player: u32,
    /// `as_of`: it was read then, or a little later.
    pub as_of: Millis,
    /// When the answer was there.
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
    /// Whether the watcher holds nothing from streams before.
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
    /// The number behind the last player.
    pub end: u32,
    /// When the request was sent.
    pub sent: Millis,
    /// When its reply arrived.
    pub completed: Millis,
}

/// One player's presence, as a watcher was sent it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sight {
    /// The stream's place in the history.
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
    /// When the stream got it.
    pub published: Millis,
    /// Its place in the stream.
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

/// A history that is being written, by all who see something.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes(Arc<Mutex<History>>);

impl Notes {
    /// An empty history.
    pub(super) fn new(pace: Pace) -> Self {
        Self(Arc::new(Mutex::new(History { pace, ..History::default() })))
    }

    /// The history so far. Never held while anything is awaited.
    pub(super) fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history so far, to keep: somebody may still be writing.
    pub(super) fn copy(&self) -> History {
        self.lock().clone()
    }

    /// Something is wrong that no later look at the history would show.
    pub(super) fn mishap(&self, text: String) {
        self.lock().mishaps.push(text);
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
}

impl Trouble {
    /// A fault that lost nothing, is over now and is about all players.
    pub(super) fn over(part: Part, kind: Kind, from: Millis) -> Self {
        Self { part, kind, slots: Vec::new(), loss: Loss::Nothing, from, to: now() }
    }

    /// Whether it is about the player's hash slot.
    pub(super) fn concerns(&self, player: u32) -> bool {
        self.concerns_slot(slot(player))
    }

    /// Whether it is about the hash slot of the gateways' leases.
    pub(super) fn concerns_gateways(&self) -> bool {
        self.concerns_slot(GATEWAYS_SLOT)
    }

    fn concerns_slot(&self, slot: u16) -> bool {
        self.slots.is_empty() || self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// Keys that exist once are in the first partition, which begins with the first hash slot.
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
