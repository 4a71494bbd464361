//! Log lines for failed calls: one per episode and cause.

use super::{call::TaskKind, outcome::is_final};
use crate::{CallError, error::ErrorChain};

/// Logs an episode of failures, which lasts until all kinds of calls succeed again. Each cause is
/// logged once per episode; its repetitions are logged at the level `debug`.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    logged: Vec<Cause>,
    /// The lines of all episodes.
    #[cfg(test)]
    pub(super) lines: Vec<&'static str>,
}

/// Cause of a failure, distinguished by what an operator has to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The service, or the load balancer in front of it, does not respond or fails.
    Unavailable,
    /// The service does not accept the token, or does not have such a call.
    Unauthorized,
    /// The service refuses the content of a call.
    Invalid,
}

impl FailureLog {
    /// Logs that a call failed or was refused.
    pub(super) fn record_failure(&mut self, kind: TaskKind, error: &CallError) {
        // A rejected transition or a closed connection is not a failure of the service or of the
        // gateway.
        if matches!(error, CallError::Problem(problem) if matches!(problem.status, 409 | 410)) {
            tracing::debug!(?kind, %error, "presence call refused");
            return;
        }
        let cause = Cause::of(error);
        if self.logged.contains(&cause) {
            tracing::debug!(?kind, %error, "presence call failed again");
            return;
        }
        self.logged.push(cause);
        let line = match cause {
            Cause::Unavailable => "presence calls fail; they are repeated",
            Cause::Unauthorized => "presence calls are not accepted; they are repeated",
            Cause::Invalid => "presence call refused; it is not repeated as it is",
        };
        tracing::warn!(?kind, error = %ErrorChain(error), "{line}");
        #[cfg(test)]
        self.lines.push(line);
    }

    /// Ends the episode, if there is one: all kinds of calls succeed.
    pub(super) fn record_recovery(&mut self) {
        if self.logged.is_empty() {
            return;
        }
        self.logged.clear();
        tracing::info!("presence calls succeed again");
        #[cfg(test)]
        self.lines.push("presence calls succeed again");
    }
}

impl Cause {
    fn of(error: &CallError) -> Self {
        match error {
            CallError::Problem(problem) if is_final(problem) => Self::Invalid,
            CallError::Problem(_) if !error.is_transient() => Self::Unauthorized,
            _ => Self::Unavailable,
        }
    }
}
