//! What is told to the service, and what it answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Activity, ConnectionId, GatewayId, PlayerId, Reason, State};

/// One thing to tell about one player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Connect(ConnectionId),
    Beat(ConnectionId),
    SetState(State),
    SetActivity(Option<Activity>),
    Disconnect(ConnectionId, Reason),
}

/// Tasks of one kind can share a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Quit,
    Lost,
    Moving,
    Connect,
    SetState,
    SetActivity,
    Beat,
}

/// Tasks of one kind, each of another player or connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: Kind,
    pub(super) tasks: Vec<(PlayerId, Task)>,
    /// The gateway that the connections belong to, if the call says so.
    pub(super) gateway: Option<GatewayId>,
    pub(super) sent_at: Instant,
}

/// What the gateway is notified of after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The service closed a connection that the gateway has open.
    Closed(Connection),
    /// The service had lost a connection that the gateway has open, and has it again.
    Restored(Connection),
}

/// One open socket of one player.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) player_id: PlayerId,
    pub(super) connection_id: ConnectionId,
}

/// A successful answer: to a batch what became of its entries, to one connect when to beat.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) restored: Vec<Connection>,
    pub(super) closed: Vec<Connection>,
    pub(super) failed: Vec<Connection>,
    pub(super) heartbeat_interval_ms: Option<u64>,
    pub(super) ttl_ms: Option<u64>,
}

/// A call's JSON.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    #[serde(flatten)]
    content: Content,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_id: Option<GatewayId>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content {
    One(Connection),
    Many { connections: Vec<Connection> },
    State { player_id: PlayerId, state: State },
    Activity { player_id: PlayerId, activity: Option<Activity> },
}

impl Connection {
    pub(super) fn new(player: &PlayerId, id: &ConnectionId) -> Self {
        Self { player_id: player.clone(), connection_id: id.clone() }
    }
}

impl Task {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Connect(_) => Kind::Connect,
            Self::Beat(_) => Kind::Beat,
            Self::SetState(_) => Kind::SetState,
            Self::SetActivity(_) => Kind::SetActivity,
            Self::Disconnect(_, Reason::Quit) => Kind::Quit,
            Self::Disconnect(_, Reason::Lost) => Kind::Lost,
            Self::Disconnect(_, Reason::Moving) => Kind::Moving,
        }
    }

    /// The connection that the task of this player is about.
    pub(super) fn connection(&self, player: &PlayerId) -> Option<Connection> {
        match self {
            Self::Connect(id) | Self::Beat(id) | Self::Disconnect(id, _) => Some(Connection::new(player, id)),
            Self::SetState(_) | Self::SetActivity(_) => None,
        }
    }
}

impl Kind {
    /// Of several calls that may be made, the first is made first.
    pub(super) const ALL: [Self; 7] =
        [Self::Quit, Self::Lost, Self::Moving, Self::Connect, Self::SetState, Self::SetActivity, Self::Beat];

    /// How many calls of the kind are under way at most.
    pub(super) fn width(self) -> usize {
        if self.has_batches() { 4 } else { 32 }
    }

    /// Whether a call may name the gateway that its connections belong to.
    pub(super) fn names_gateway(self) -> bool {
        matches!(self, Self::Connect | Self::Beat)
    }

    /// Whether a call can carry several tasks.
    pub(super) fn has_batches(self) -> bool {
        !matches!(self, Self::SetState | Self::SetActivity)
    }
}

impl Call {
    pub(super) fn path(&self) -> &'static str {
        match self.kind {
            Kind::Quit | Kind::Lost | Kind::Moving => "/presence/disconnect",
            Kind::Connect => "/presence/connect",
            Kind::SetState | Kind::SetActivity => "/presence/state",
            Kind::Beat => "/presence/heartbeat",
        }
    }

    /// A connect that is alone is told as one, as only the answer to that says how often to beat. All else is told as a
    /// batch, whose answer says what became of the entries.
    pub(super) fn body(&self) -> Body {
        let reason = match self.kind {
            Kind::Quit => Some(Reason::Quit),
            Kind::Lost => Some(Reason::Lost),
            Kind::Moving => Some(Reason::Moving),
            Kind::Connect | Kind::SetState | Kind::SetActivity | Kind::Beat => None,
        };
        let content = match &self.tasks[..] {
            [(player, Task::SetState(state))] => Content::State { player_id: player.clone(), state: *state },
            [(player, Task::SetActivity(activity))] => {
                Content::Activity { player_id: player.clone(), activity: activity.clone() }
            }
            [(player, Task::Connect(id))] => Content::One(Connection::new(player, id)),
            tasks => {
                let connections = tasks.iter().filter_map(|(player, task)| task.connection(player)).collect();
                Content::Many { connections }
            }
        };
        Body { content, reason, gateway_id: self.gateway.clone() }
    }
}

impl Answer {
    /// How often the service wants to be told of an open connection.
    pub(super) fn heartbeat_interval(&self) -> Option<Duration> {
        self.heartbeat_interval_ms.map(Duration::from_millis)
    }

    /// How long a lease lasts.
    pub(super) fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }
}
