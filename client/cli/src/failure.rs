//! Why nothing came of a command.

use std::{error::Error, io, process::ExitCode};

/// A command's end, as its exit status. They are documented in docs/cli.md and in the program's help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It was done.
    Done = 0,
    /// The service could not be reached, or could not do it now.
    Failed = 1,
    /// The command line was wrong, or a question was not answered with yes.
    Usage = 2,
    /// The service refused.
    Refused = 3,
    /// The service does not have this call.
    NotOffered = 4,
    /// The service works, but something is late or away, or a bar was not met.
    Degraded = 5,
    /// A signal ended it, after it had removed what it made.
    Interrupted = 130,
}

/// Why nothing came of a command: what happened, and what one may do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    what: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: Status, what: impl Into<String>) -> Self {
        Self { status, what: what.into(), hint: None }
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it, where there is something to say.
    pub(crate) fn tell(&self) -> ExitCode {
        if !self.what.is_empty() {
            anstream::eprintln!("presence: {}", self.what);
        }
        if let Some(hint) = &self.hint {
            anstream::eprintln!("{hint}");
        }
        self.status.into()
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

impl From<io::Error> for Failure {
    /// Whoever reads no further, as `head` does, has what it wants: that is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Status::Done, ""),
            _ => Self::new(Status::Failed, error.to_string()),
        }
    }
}

/// What is at the bottom of an error: of "client error", "connect error", "Connection refused" the last.
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |error| (*error).source()).last().unwrap_or(error)
}
