//! Errors of commands, and exit statuses.

use std::{error::Error, io, process::ExitCode};

/// The exit status of a command. They are documented in docs/cli.md and in the program's help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Success.
    Done = 0,
    /// The service was unreachable, or could not execute the command now.
    Failed = 1,
    /// Invalid arguments, or no confirmation.
    Usage = 2,
    /// The service refused the call.
    Refused = 3,
    /// The service does not support the command.
    NotOffered = 4,
    /// A component of the service is late or unavailable, or a bar is not met.
    Degraded = 5,
    /// A signal ended a load, after its players were removed.
    Interrupted = 130,
}

/// Why a command failed, and what the user can do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    what: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(status: Status, what: impl Into<String>) -> Self {
        Self {
            status,
            what: what.into(),
            hint: None,
        }
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints the message and the hint, if there are any.
    pub(crate) fn report(&self) -> ExitCode {
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
    /// A reader that closes the pipe, as `head` does, is not a failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Status::Done, ""),
            _ => Self::new(Status::Failed, error.to_string()),
        }
    }
}

/// The last source of an error: "Connection refused" of "client error", "connect error",
/// "Connection refused".
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    std::iter::successors(Some(error), |error| (*error).source())
        .last()
        .unwrap_or(error)
}
