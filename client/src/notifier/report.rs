//! Reports of calls, for a gateway's metrics.

use std::time::Duration;

use super::call::{self, Call, CallResponse};
use crate::CallError;

/// One call that an [`HttpNotifier`](crate::HttpNotifier) made.
///
/// [`waited`](Self::waited) and [`took`](Self::took) together are the time from the gateway's
/// report, or from when a heartbeat was due, to the response. So they include the delays that a
/// slow service causes before a call can be sent.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct CallReport<'a> {
    /// What was called.
    pub kind: CallKind,
    /// The number of connections, states or activities that the call carried; 1 for a gateway's
    /// lease.
    pub entries: usize,
    /// The entries that failed although the call succeeded. They are sent again.
    pub failed_entries: usize,
    /// How long the oldest entry waited for the call.
    pub waited: Duration,
    /// The time from the call to its response.
    pub took: Duration,
    /// Why the call failed.
    pub error: Option<&'a CallError>,
}

/// A kind of call of an [`HttpNotifier`](crate::HttpNotifier).
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
    fn of(kind: call::TaskKind) -> Self {
        match kind {
            call::TaskKind::Quit | call::TaskKind::Lost | call::TaskKind::Moving => {
                Self::Disconnect
            }
            call::TaskKind::Connect => Self::Connect,
            call::TaskKind::SetState => Self::State,
            call::TaskKind::SetActivity => Self::Activity,
            call::TaskKind::Heartbeat => Self::Heartbeat,
        }
    }
}

impl<'a> CallReport<'a> {
    /// The report of a call about players.
    pub(super) fn new(
        call: &Call,
        result: &'a Result<CallResponse, CallError>,
        took: Duration,
    ) -> Self {
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
