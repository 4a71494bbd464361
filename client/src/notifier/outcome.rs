//! Outcome of a call, for each of its entries.

use std::collections::HashMap;

use super::call::{Call, CallResponse, Connection, Task};
use crate::{CallError, PlayerId, Problem};

/// Outcome of a call for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryOutcome {
    /// The task took effect, or had done so before.
    Applied,
    /// The task took effect, and the service had lost the connection before.
    Restored,
    /// The connection is closed and cannot be opened again.
    Closed,
    /// The task has to be sent again.
    Retry,
    /// The service does not allow the transition (409).
    NotAllowed,
    /// The call was refused and would be refused again, or the task is given up.
    Refused,
    /// The service refuses this task in any call: its player id or connection id is invalid.
    Invalid,
}

/// Outcome of a call.
#[derive(Debug)]
pub(super) struct CallOutcome {
    default: EntryOutcome,
    exceptions: HashMap<Connection, EntryOutcome>,
    /// The call had more tasks than the service accepts in one call.
    pub(super) was_too_large: bool,
    /// The service does not accept calls with a gateway id.
    pub(super) was_gateway_id_refused: bool,
}

impl CallOutcome {
    pub(super) fn new(call: &Call, result: &Result<CallResponse, CallError>) -> Self {
        match result {
            Ok(response) => Self::from_response(response),
            Err(CallError::Problem(problem)) if is_final(problem) => {
                Self::from_problem(call, problem)
            }
            Err(_) => Self::all(EntryOutcome::Retry),
        }
    }

    /// The outcome for one task of the call.
    pub(super) fn entry(&self, player: &PlayerId, task: &Task) -> EntryOutcome {
        // Without exceptions, no connection has to be built to look one up.
        if self.exceptions.is_empty() {
            return self.default;
        }
        let exception = task
            .connection(player)
            .and_then(|connection| self.exceptions.get(&connection));
        exception.copied().unwrap_or(self.default)
    }

    fn all(outcome: EntryOutcome) -> Self {
        Self {
            default: outcome,
            exceptions: HashMap::new(),
            was_too_large: false,
            was_gateway_id_refused: false,
        }
    }

    fn too_large() -> Self {
        Self {
            was_too_large: true,
            ..Self::all(EntryOutcome::Retry)
        }
    }

    fn from_response(response: &CallResponse) -> Self {
        let closed = response
            .closed
            .iter()
            .map(|connection| (connection.clone(), EntryOutcome::Closed));
        let failed = response
            .failed
            .iter()
            .map(|connection| (connection.clone(), EntryOutcome::Retry));
        let restored = response
            .restored
            .iter()
            .map(|connection| (connection.clone(), EntryOutcome::Restored));
        Self {
            exceptions: closed.chain(failed).chain(restored).collect(),
            ..Self::all(EntryOutcome::Applied)
        }
    }

    /// The outcome of a call that the service refused. If one entry is invalid, or the batch is
    /// longer than the service accepts, the other entries are sent again.
    fn from_problem(call: &Call, problem: &Problem) -> Self {
        let field = problem.field.as_deref().unwrap_or_default();
        let is_batch = call.tasks.len() > 1;
        match (problem.status, invalid_entry(call, field)) {
            (400, _) if call.gateway.is_some() && field == "gateway_id" => Self {
                was_gateway_id_refused: true,
                ..Self::all(EntryOutcome::Retry)
            },
            (409, _) => Self::all(EntryOutcome::NotAllowed),
            (410, _) => Self::all(EntryOutcome::Closed),
            (400, Some(entry)) if is_batch => {
                let exceptions = HashMap::from([(entry, EntryOutcome::Invalid)]);
                Self {
                    exceptions,
                    ..Self::all(EntryOutcome::Retry)
                }
            }
            (400, Some(_)) => Self::all(EntryOutcome::Invalid),
            (400, None) if is_batch && field == "connections" => Self::too_large(),
            (413, _) if is_batch => Self::too_large(),
            _ => Self::all(EntryOutcome::Refused),
        }
    }
}

/// Whether a problem concerns the content of the call, so that the same call would fail again. Any
/// other problem (a token that is not accepted, a path that a load balancer does not know yet, a
/// service that is down) concerns the way to the service: the call is sent again.
pub(super) fn is_final(problem: &Problem) -> bool {
    matches!(problem.status, 400 | 409 | 410 | 413)
}

/// The entry that the problem's field names: `player_id` is in the only entry,
/// `connections[3].player_id` in the fourth.
fn invalid_entry(call: &Call, field: &str) -> Option<Connection> {
    let index = match field {
        "player_id" | "connection_id" => 0,
        _ => field
            .strip_prefix("connections[")?
            .split_once(']')?
            .0
            .parse::<usize>()
            .ok()?,
    };
    let (player, task) = call.tasks.get(index)?;
    task.connection(player)
}
