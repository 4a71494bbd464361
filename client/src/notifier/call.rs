//! Calls to the service and their responses.

use std::time::Duration;

pub(super) use presence_types::Connection;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{Activity, ConnectionId, GatewayId, PlayerId, Reason, State};

/// One thing to report about one player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Connect(ConnectionId),
    Heartbeat(ConnectionId),
    SetState(State),
    SetActivity(Option<Activity>),
    Disconnect(ConnectionId, Reason),
}

/// The kind of a call. Tasks of one kind can share a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskKind {
    Quit,
    Lost,
    Moving,
    Connect,
    SetState,
    SetActivity,
    Heartbeat,
}

/// A call with tasks of one kind, each of another player or connection.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) kind: TaskKind,
    pub(super) tasks: Vec<(PlayerId, Task)>,
    /// The gateway that the connections belong to, if the call names it.
    pub(super) gateway: Option<GatewayId>,
    /// When the oldest task was due.
    pub(super) due_at: Instant,
    pub(super) sent_at: Instant,
}

/// A notification for the gateway, after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The service closed a connection that the gateway has open.
    Closed(Connection),
    /// The service had lost a connection that the gateway has open, and has restored it.
    Restored(Connection),
}

/// A successful response: the outcome of the entries of a batch, and when to send heartbeats.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallResponse {
    pub(super) restored: Vec<Connection>,
    pub(super) closed: Vec<Connection>,
    pub(super) failed: Vec<Connection>,
    pub(super) heartbeat_interval_ms: Option<u64>,
    pub(super) ttl_ms: Option<u64>,
}

/// The JSON body of a call.
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
    Single(Connection),
    Batch {
        connections: Vec<Connection>,
    },
    State {
        player_id: PlayerId,
        state: State,
    },
    Activity {
        player_id: PlayerId,
        activity: Option<Activity>,
    },
}

impl Task {
    pub(super) fn kind(&self) -> TaskKind {
        match self {
            Self::Connect(_) => TaskKind::Connect,
            Self::Heartbeat(_) => TaskKind::Heartbeat,
            Self::SetState(_) => TaskKind::SetState,
            Self::SetActivity(_) => TaskKind::SetActivity,
            Self::Disconnect(_, Reason::Quit) => TaskKind::Quit,
            Self::Disconnect(_, Reason::Lost) => TaskKind::Lost,
            Self::Disconnect(_, Reason::Moving) => TaskKind::Moving,
        }
    }

    /// The connection that this task of `player` concerns. `None` if it concerns the player's state
    /// or activity.
    pub(super) fn connection(&self, player: &PlayerId) -> Option<Connection> {
        match self {
            Self::Connect(id) | Self::Heartbeat(id) | Self::Disconnect(id, _) => {
                Some(Connection::new(player, id))
            }
            Self::SetState(_) | Self::SetActivity(_) => None,
        }
    }
}

impl TaskKind {
    /// All kinds in the order of their priority: of several calls that may be made, the first one
    /// is made first.
    pub(super) const ALL: [Self; 7] = [
        Self::Quit,
        Self::Lost,
        Self::Moving,
        Self::Connect,
        Self::SetState,
        Self::SetActivity,
        Self::Heartbeat,
    ];

    /// How many calls of the kind may be in flight at a time.
    pub(super) fn max_in_flight(self) -> usize {
        if self.is_batched() { 4 } else { 32 }
    }

    /// Whether a call of the kind may name the gateway that its connections belong to.
    pub(super) fn may_name_gateway(self) -> bool {
        matches!(self, Self::Connect | Self::Heartbeat)
    }

    /// Whether a call of the kind can carry several tasks.
    pub(super) fn is_batched(self) -> bool {
        !matches!(self, Self::SetState | Self::SetActivity)
    }
}

impl Call {
    pub(super) fn path(&self) -> &'static str {
        match self.kind {
            TaskKind::Quit | TaskKind::Lost | TaskKind::Moving => "/presence/disconnect",
            TaskKind::Connect => "/presence/connect",
            TaskKind::SetState | TaskKind::SetActivity => "/presence/state",
            TaskKind::Heartbeat => "/presence/heartbeat",
        }
    }

    /// The body. A single connect is not sent as a batch, since older services return the heartbeat
    /// interval for single connects only. Other calls about connections are batches even with one
    /// entry, since the response to a batch has the outcome of each entry.
    pub(super) fn body(&self) -> Body {
        let reason = match self.kind {
            TaskKind::Quit => Some(Reason::Quit),
            TaskKind::Lost => Some(Reason::Lost),
            TaskKind::Moving => Some(Reason::Moving),
            TaskKind::Connect
            | TaskKind::SetState
            | TaskKind::SetActivity
            | TaskKind::Heartbeat => None,
        };
        let content = match &self.tasks[..] {
            [(player, Task::SetState(state))] => Content::State {
                player_id: player.clone(),
                state: *state,
            },
            [(player, Task::SetActivity(activity))] => Content::Activity {
                player_id: player.clone(),
                activity: activity.clone(),
            },
            [(player, Task::Connect(id))] => Content::Single(Connection::new(player, id)),
            tasks => {
                let connections = tasks
                    .iter()
                    .filter_map(|(player, task)| task.connection(player))
                    .collect();
                Content::Batch { connections }
            }
        };
        Body {
            content,
            reason,
            gateway_id: self.gateway.clone(),
        }
    }
}

impl CallResponse {
    /// The interval at which the service expects heartbeats of an open connection.
    pub(super) fn heartbeat_interval(&self) -> Option<Duration> {
        self.heartbeat_interval_ms.map(Duration::from_millis)
    }

    /// How long the lease of a connection lasts.
    pub(super) fn ttl(&self) -> Option<Duration> {
        self.ttl_ms.map(Duration::from_millis)
    }
}
