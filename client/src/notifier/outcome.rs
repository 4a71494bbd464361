//! What an answer means for each task of its call.

use std::collections::HashMap;

use super::call::{Answer, Call, Connection, Task};
use crate::{CallError, PlayerId, Problem};

/// What an answer means for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It took effect, or was already so.
    Done,
    /// It took effect, and the service had lost the connection before.
    Restored,
    /// Its connection is closed, and stays so.
    Closed,
    /// It is to be sent again.
    Again,
    /// The service does not allow the transition.
    Rejected,
    /// The call was refused, and would be again.
    Refused,
    /// The task was refused, and would be in any call.
    Invalid,
}

/// What an answer means for all tasks of its call.
#[derive(Debug)]
pub(super) struct Outcome {
    most: Verdict,
    others: HashMap<Connection, Verdict>,
    /// The call had more tasks than the service takes at a time.
    pub(super) was_too_large: bool,
    /// The service does not take calls that name a gateway.
    pub(super) was_name_refused: bool,
}

impl Outcome {
    pub(super) fn of(call: &Call, result: &Result<Answer, CallError>) -> Self {
        match result {
            Ok(answer) => Self::of_answer(answer),
            Err(CallError::Problem(problem)) if is_final(problem) => Self::of_problem(call, problem),
            Err(_) => Self::all(Verdict::Again),
        }
    }

    pub(super) fn verdict(&self, player: &PlayerId, task: &Task) -> Verdict {
        if self.others.is_empty() {
            return self.most;
        }
        let other = task.connection(player).and_then(|connection| self.others.get(&connection));
        other.copied().unwrap_or(self.most)
    }

    fn all(verdict: Verdict) -> Self {
        Self { most: verdict, others: HashMap::new(), was_too_large: false, was_name_refused: false }
    }

    fn too_large() -> Self {
        Self { was_too_large: true, ..Self::all(Verdict::Again) }
    }

    fn of_answer(answer: &Answer) -> Self {
        let closed = answer.closed.iter().map(|connection| (connection.clone(), Verdict::Closed));
        let failed = answer.failed.iter().map(|connection| (connection.clone(), Verdict::Again));
        let restored = answer.restored.iter().map(|connection| (connection.clone(), Verdict::Restored));
        Self { others: closed.chain(failed).chain(restored).collect(), ..Self::all(Verdict::Done) }
    }

    /// One entry at fault does not fail the others for ever, nor does a batch that is longer than the service takes.
    fn of_problem(call: &Call, problem: &Problem) -> Self {
        let field = problem.field.as_deref().unwrap_or_default();
        let has_many = call.tasks.len() > 1;
        match (problem.status, culprit(call, field)) {
            (400, _) if call.gateway.is_some() && field == "gateway_id" => {
                Self { was_name_refused: true, ..Self::all(Verdict::Again) }
            }
            (409, _) => Self::all(Verdict::Rejected),
            (410, _) => Self::all(Verdict::Closed),
            (400, Some(culprit)) if has_many => {
                Self { others: HashMap::from([(culprit, Verdict::Invalid)]), ..Self::all(Verdict::Again) }
            }
            (400, Some(_)) => Self::all(Verdict::Invalid),
            (400, None) if has_many && field == "connections" => Self::too_large(),
            (413, _) if has_many => Self::too_large(),
            _ => Self::all(Verdict::Refused),
        }
    }
}

/// Whether a problem is about what the call says. Any other (a token that is not accepted, a path that a load balancer
/// does not know yet, a service that is down) is about how the service is reached: the call is sent again.
pub(super) fn is_final(problem: &Problem) -> bool {
    matches!(problem.status, 400 | 409 | 410 | 413)
}

/// The entry that is at fault: `player_id` is about the only one, `connections[3].player_id` about the fourth.
fn culprit(call: &Call, field: &str) -> Option<Connection> {
    let index = match field {
        "player_id" | "connection_id" => 0,
        _ => field.strip_prefix("connections[")?.split_once(']')?.0.parse::<usize>().ok()?,
    };
    let (player, task) = call.tasks.get(index)?;
    task.connection(player)
}
