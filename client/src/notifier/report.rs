//! Reports of calls, for a gateway's metrics.

use std::time::Duration;

use super::call::{self, Call, CallResponse};
use crate::CallError;

/// One call that an [`HttpNotifier`](crate::HttpNotifier) made.
///
/// [`waited`](Self::waited) and [`took`](Self::took) together are the time from when the gateway reported something, or a
/// heartbeat was due, until the service had it. So a service that is slow shows in every entry that it delays, also in those
/// that could not be sent yet.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CallReport<'a> {
    /// What was called.
    pub kind: CallKind,
    /// The number of connections, states or activities that the call carried; 1 for a gateway's lease.
    pub entries: usize,
    /// The entries of a call that succeeded which the service could not process: they are sent again.
    pub failed_entries: usize,
    /// The time that the entry which had been due longest waited for the call.
    pub waited: Duration,
    /// The time from the call to its answer.
    pub took: Duration,
    /// Why the call failed.
    pub error: Option<&'a CallError>,
}

/// What an [`HttpNotifier`](crate::HttpNotifier) calls the service for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CallKind {
    /// New connections.
    Connect,
    /// Heartbeats of open connections.
    Heartbeat,
    /// Connections that were closed.
    Disconnect,
    /// A player's state.
    State,
    /// A player's activity.
    Activity,
    /// The gateway's own lease.
    Gateway,
}

impl CallKind {
    fn of(kind: call::CallKind) -> Self {
        match kind {
            call::CallKind::Quit | call::CallKind::Lost | call::CallKind::Moving => Self::Disconnect,
            call::CallKind::Connect => Self::Connect,
            call::CallKind::SetState => Self::State,
            call::CallKind::SetActivity => Self::Activity,
            call::CallKind::Heartbeat => Self::Heartbeat,
        }
    }
}

impl<'a> CallReport<'a> {
    /// The report of a call about players that has just ended, and took so long.
    pub(super) fn new(call: &Call, result: &'a Result<CallResponse, CallError>, took: Duration) -> Self {
        Self {
            kind: CallKind::of(call.kind),
            entries: call.tasks.len(),
            failed_entries: result.as_ref().map_or(0, |response| response.failed.len()),
            waited: call.sent_at.saturating_duration_since(call.due_at),
            took,
            error: result.as_ref().err(),
        }
    }

    /// The report of a call about the gateway's lease.
    pub(super) fn of_lease<T>(result: &'a Result<T, CallError>, took: Duration) -> Self {
        Self {
            kind: CallKind::Gateway,
            entries: 1,
            failed_entries: 0,
            waited: Duration::ZERO,
            took,
            error: result.as_ref().err(),
        }
    }
}
