//! Counts, latencies and errors of calls.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use presence_client::{CallError, CallKind, Problem};
use serde::Serialize;
use tokio::time::Instant;

/// Longer latencies are recorded as this one.
const MAX_LATENCY: Duration = Duration::from_secs(600);

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Call {
    Connect,
    Heartbeat,
    Disconnect,
    State,
    Gateway,
    Friends,
    /// Not a call: changes that a watching gateway received, with latencies from the change on.
    Watch,
}

/// Counts, latencies and errors of one phase.
#[derive(Debug)]
pub(super) struct Figures {
    /// When the phase began; `None` for the first phase.
    began_at: Option<Instant>,
    calls: BTreeMap<Call, CallFigures>,
    pub(super) errors: BTreeMap<(Call, String), u64>,
    /// Open connections that the service lost or closed.
    pub(super) lost_connections: u64,
    /// Reads that returned OFFLINE for a connected player.
    pub(super) false_offline: u64,
    /// Delays of the ticks: caused by this machine, not by the service.
    pub(super) own_delay: Latency,
    /// The longest time that a heartbeat waited for its call.
    pub(super) longest_heartbeat_wait: Duration,
    /// A refusal that applies to all calls.
    pub(super) refusal: Option<Problem>,
}

/// Counts and latencies of one kind of call.
#[derive(Debug, Default)]
pub(super) struct CallFigures {
    pub(super) calls: u64,
    /// Calls that failed.
    pub(super) failed: u64,
    /// Entries of the calls that succeeded.
    pub(super) entries: u64,
    pub(super) latency: Latency,
}

/// A distribution of times, in microseconds.
#[derive(Debug)]
pub(super) struct Latency(Histogram<u64>);

impl Call {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Heartbeat => "heartbeat",
            Self::Disconnect => "disconnect",
            Self::State => "state",
            Self::Gateway => "gateway",
            Self::Friends => "friends",
            Self::Watch => "watch",
        }
    }

    pub(super) fn of(kind: CallKind) -> Self {
        match kind {
            CallKind::Connect => Self::Connect,
            CallKind::Heartbeat => Self::Heartbeat,
            CallKind::Disconnect => Self::Disconnect,
            CallKind::Gateway => Self::Gateway,
            _ => Self::State,
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        let highest = MAX_LATENCY.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, highest, 3).expect("the bounds are in order"))
    }
}

impl Latency {
    pub(super) fn record(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(
            u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            count,
        );
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The latency that this share of all does not exceed.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }
}

impl Figures {
    /// Figures of the first phase.
    pub(super) fn new() -> Self {
        Self {
            began_at: None,
            calls: BTreeMap::new(),
            errors: BTreeMap::new(),
            lost_connections: 0,
            false_offline: 0,
            own_delay: Latency::default(),
            longest_heartbeat_wait: Duration::ZERO,
            refusal: None,
        }
    }

    /// Figures of a phase that begins now.
    pub(super) fn of_next_phase() -> Self {
        Self {
            began_at: Some(Instant::now()),
            ..Self::new()
        }
    }

    /// Whether something that took until now was due in this phase. A delay that began in the phase
    /// before belongs to that one.
    pub(super) fn was_due_here(&self, latency: Duration) -> bool {
        self.began_at
            .is_none_or(|began_at| latency <= began_at.elapsed())
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = (Call, &CallFigures)> {
        self.calls.iter().map(|(call, figures)| (*call, figures))
    }

    pub(super) fn call(&self, call: Call) -> Option<&CallFigures> {
        self.calls.get(&call)
    }

    pub(super) fn entries(&self, call: Call) -> u64 {
        self.call(call).map_or(0, |figures| figures.entries)
    }

    /// The number of calls that failed. `overloaded` may be left out: it is how the service paces
    /// connects.
    pub(super) fn failures(&self, is_overload_allowed: bool) -> u64 {
        let is_allowed = |error: &str| is_overload_allowed && error.starts_with("overloaded");
        let counted = self
            .errors
            .iter()
            .filter(|((_, error), _)| !is_allowed(error));
        counted.map(|(_, count)| count).sum()
    }

    pub(super) fn record(
        &mut self,
        call: Call,
        entries: u64,
        latency: Duration,
        error: Option<&CallError>,
    ) {
        let was_due_here = self.was_due_here(latency);
        let figures = self.calls.entry(call).or_default();
        figures.calls += 1;
        match error {
            None => {
                figures.entries += entries;
                if was_due_here {
                    figures.latency.record(latency, entries);
                }
            }
            Some(error) => {
                figures.failed += 1;
                self.record_error(call, error);
            }
        }
    }

    pub(super) fn record_error(&mut self, call: Call, error: &CallError) {
        let label = match error {
            CallError::Problem(problem) if problem.slug == "about:blank" => {
                format!("status {}", problem.status)
            }
            CallError::Problem(problem) => format!("{} ({})", problem.slug, problem.status),
            error => error.to_string(),
        };
        *self.errors.entry((call, label)).or_default() += 1;
        // All other calls would be refused, too. Calls about leases and watching may be
        // unsupported.
        if let CallError::Problem(problem) = error
            && matches!(problem.status, 401 | 403 | 404 | 405)
            && !matches!(call, Call::Gateway | Call::Watch)
        {
            self.refusal.get_or_insert_with(|| problem.clone());
        }
    }
}
