//! Log lines for calls that fail: one per episode and cause.

use std::error::Error;

use super::{call::Kind, outcome::is_final};
use crate::CallError;

/// A time in which calls fail, until all kinds of calls succeed again. What was logged in it is not logged again above
/// the level `debug`.
#[derive(Debug, Default)]
pub(super) struct Episode {
    logged: Vec<Cause>,
    /// The lines of all episodes.
    #[cfg(test)]
    pub(super) lines: Vec<&'static str>,
}

/// Causes that ask for different actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The service, or what is before it, does not answer or fails.
    Unavailable,
    /// The service does not accept the token, or has no such call.
    Unauthorized,
    /// The service refuses what a call says.
    Invalid,
}

impl Episode {
    /// A call failed, or was refused.
    pub(super) fn note(&mut self, kind: Kind, error: &CallError) {
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
        tracing::warn!(?kind, error = error as &dyn Error, "{line}");
        #[cfg(test)]
        self.lines.push(line);
    }

    /// All kinds of calls succeed.
    pub(super) fn end(&mut self) {
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
