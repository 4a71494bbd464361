//! Lease of the gateway: when it is renewed, and how it ends. Part of the sans-IO core: the caller
//! passes the time in.

use std::time::Duration;

use presence_types::GatewayStatus;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{CallError, GatewayId, Reason, error::ErrorChain};

/// The renewal interval and the TTL until the service reports its own.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(2_500);
const DEFAULT_TTL: Duration = Duration::from_millis(7_500);

/// Bounds of the renewal interval, whatever the service requests.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

/// The longest pause between two attempts to renew a lease that the service does not support.
const MAX_UNSUPPORTED_PAUSE: Duration = Duration::from_secs(60);

/// How long calls do not name the gateway after a service refused its id: servers of two versions
/// may share an address.
const UNNAMED_PERIOD: Duration = Duration::from_secs(60);

/// Time limit for the call that ends the lease: the service ends the leases of all connections
/// before it responds.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The lease of one gateway, as far as the gateway knows.
#[derive(Debug)]
pub(super) struct GatewayLease {
    id: GatewayId,
    interval: Duration,
    ttl: Duration,
    /// When the next call is due, unless one is in flight.
    next_at: Instant,
    is_in_flight: bool,
    /// When the latest call was sent that renewed the lease.
    renewed_at: Option<Instant>,
    /// The pause until the next attempt, if the service does not support leases of gateways.
    unsupported_pause: Option<Duration>,
    /// Calls do not name the gateway until then.
    unnamed_until: Option<Instant>,
    phase: Phase,
    log: Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Active,
    /// A call that ends the lease was sent.
    Leaving,
    /// The lease has ended, or the service cannot end it.
    Left,
}

/// What was logged already, so that each kind of line is logged once.
#[derive(Debug, Default)]
struct Log {
    is_failing: bool,
    was_unsupported: bool,
}

/// A call about the lease. Its result must be passed to [`GatewayLease::settle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LeaseCall {
    gateway_id: GatewayId,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaving: Option<Reason>,
    #[serde(skip)]
    pub(super) timeout: Duration,
    #[serde(skip)]
    pub(super) sent_at: Instant,
}

/// A successful response: when to renew the lease again, or how many leases of connections ended
/// with it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LeaseResponse {
    pub(super) status: GatewayStatus,
    pub(super) ttl_ms: Option<u64>,
    pub(super) heartbeat_interval_ms: Option<u64>,
    pub(super) connections: u64,
}

/// Outcome of a call about the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeaseOutcome {
    /// The lease continues, or the call is sent again.
    Continues,
    /// The service did not know the gateway: all connections have to be announced.
    GatewayUnknown,
    /// The lease has ended, and with it the leases of this many connections.
    Left { connections: u64 },
    /// The service cannot end the lease, since it does not support leases of gateways.
    CannotLeave,
}

#[cfg(test)]
impl LeaseCall {
    pub(super) fn leaving(&self) -> Option<Reason> {
        self.leaving
    }
}

impl GatewayLease {
    pub(super) const PATH: &str = "/presence/gateway";

    pub(super) fn new(id: GatewayId, now: Instant) -> Self {
        Self {
            id,
            interval: DEFAULT_INTERVAL,
            ttl: DEFAULT_TTL,
            next_at: now,
            is_in_flight: false,
            renewed_at: None,
            unsupported_pause: None,
            unnamed_until: None,
            phase: Phase::Active,
            log: Log::default(),
        }
    }

    pub(super) fn id(&self) -> &GatewayId {
        &self.id
    }

    /// The id that calls about connections carry. `None` if the service may refuse it: one without
    /// leases of gateways does.
    pub(super) fn id_for_calls(&self, now: Instant) -> Option<GatewayId> {
        let is_accepted =
            self.is_supported() && self.unnamed_until.is_none_or(|until| until <= now);
        is_accepted.then(|| self.id.clone())
    }

    /// Records that a service refused a call with the gateway's id: not all servers support leases
    /// of gateways.
    pub(super) fn id_was_refused(&mut self, now: Instant) {
        self.unnamed_until = Some(now + UNNAMED_PERIOD);
        self.log.unsupported();
    }

    /// Whether a call can end the lease and the leases of the gateway's connections.
    pub(super) fn can_leave(&self) -> bool {
        self.unsupported_pause.is_none() && self.phase != Phase::Left
    }

    /// Whether the service may hold a lease of this gateway.
    pub(super) fn may_be_held(&self) -> bool {
        self.phase != Phase::Left && (self.renewed_at.is_some() || self.is_in_flight)
    }

    /// When the next call is due; at `leave_at` or later, that call ends the lease. `None` while a
    /// call is in flight, and after the end.
    pub(super) fn call_at(&self, leave_at: Option<Instant>) -> Option<Instant> {
        match self.phase {
            _ if self.is_in_flight => None,
            Phase::Active => {
                Some(leave_at.map_or(self.next_at, |leave_at| leave_at.min(self.next_at)))
            }
            Phase::Leaving => Some(self.next_at),
            Phase::Left => None,
        }
    }

    /// Returns a call that renews the lease.
    pub(super) fn renew(&mut self, now: Instant) -> LeaseCall {
        self.start(None, self.interval, now)
    }

    /// Returns a call that ends the lease and the leases of the gateway's connections.
    pub(super) fn leave(&mut self, reason: Reason, now: Instant) -> LeaseCall {
        self.phase = Phase::Leaving;
        self.start(Some(reason), LEAVE_TIMEOUT, now)
    }

    /// Ends the pause after a failed call.
    pub(super) fn end_pause(&mut self, now: Instant) {
        if self.log.is_failing {
            self.next_at = self.next_at.min(now);
        }
    }

    /// Applies the result of a call.
    pub(super) fn settle(
        &mut self,
        call: &LeaseCall,
        result: &Result<LeaseResponse, CallError>,
        now: Instant,
    ) -> LeaseOutcome {
        self.is_in_flight = false;
        match result {
            Ok(response) if call.leaving.is_some() => {
                self.phase = Phase::Left;
                LeaseOutcome::Left {
                    connections: response.connections,
                }
            }
            Ok(response) => self.renewed(call, response),
            Err(CallError::Problem(problem)) if matches!(problem.status, 400 | 404 | 405) => {
                self.unsupported(call, now)
            }
            Err(error) => {
                self.failed(error, now);
                LeaseOutcome::Continues
            }
        }
    }

    fn start(&mut self, leaving: Option<Reason>, timeout: Duration, now: Instant) -> LeaseCall {
        self.is_in_flight = true;
        LeaseCall {
            gateway_id: self.id.clone(),
            leaving,
            timeout,
            sent_at: now,
        }
    }

    fn renewed(&mut self, call: &LeaseCall, response: &LeaseResponse) -> LeaseOutcome {
        if let Some(interval) = response.heartbeat_interval_ms {
            self.interval = Duration::from_millis(interval).clamp(MIN_INTERVAL, MAX_INTERVAL);
        }
        if let Some(ttl) = response.ttl_ms {
            self.ttl = Duration::from_millis(ttl);
        }
        self.next_at = call.sent_at + self.interval;
        self.log.succeeded();
        let was_supported = self.is_supported();
        self.unsupported_pause = None;
        self.renewed_at = Some(call.sent_at);
        // The calls before the first renewal did not name the gateway, so their connections are
        // announced as well.
        if response.status != GatewayStatus::New && was_supported {
            return LeaseOutcome::Continues;
        }
        self.unnamed_until = None;
        if was_supported {
            tracing::warn!(
                "the presence service lost this gateway; its connections are announced again"
            );
        }
        LeaseOutcome::GatewayUnknown
    }

    /// Handles a response of a service without leases of gateways. While the lease is valid, it is
    /// renewed again soon, since servers of two versions may share an address; after that, less and
    /// less often.
    fn unsupported(&mut self, call: &LeaseCall, now: Instant) -> LeaseOutcome {
        if call.leaving.is_some() {
            self.phase = Phase::Left;
            return LeaseOutcome::CannotLeave;
        }
        self.log.unsupported();
        if self.is_valid(now) {
            self.next_at = now + self.retry_pause();
        } else {
            let doubled = self
                .unsupported_pause
                .map_or(self.interval, |pause| pause * 2);
            let pause = doubled.min(MAX_UNSUPPORTED_PAUSE);
            self.unsupported_pause = Some(pause);
            self.next_at = now + pause;
        }
        LeaseOutcome::Continues
    }

    /// Whether the service supports leases of gateways, as far as is known.
    fn is_supported(&self) -> bool {
        self.renewed_at.is_some() && self.unsupported_pause.is_none()
    }

    fn failed(&mut self, error: &CallError, now: Instant) {
        self.log.failed(error);
        // After a longer pause than the interval, the lease could expire.
        let requested = error.retry_after().unwrap_or_default().min(self.interval);
        let is_urgent = self.is_valid(now) || self.phase == Phase::Leaving;
        let pause = if is_urgent {
            self.retry_pause()
        } else {
            self.interval
        };
        self.next_at = now + requested.max(pause);
    }

    /// Whether the lease has not expired yet.
    fn is_valid(&self, now: Instant) -> bool {
        self.renewed_at
            .is_some_and(|renewed_at| now < renewed_at + self.ttl)
    }

    /// A pause that allows several attempts before the lease expires.
    fn retry_pause(&self) -> Duration {
        self.interval.mul_f64(0.2 + 0.2 * fastrand::f64())
    }
}

impl Log {
    fn failed(&mut self, error: &CallError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                error = %ErrorChain(error),
                "cannot renew the gateway's lease; retrying"
            );
        }
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!("the gateway's lease is renewed again");
        }
    }

    fn unsupported(&mut self) {
        if !std::mem::replace(&mut self.was_unsupported, true) {
            tracing::warn!(
                "the presence service does not support leases of gateways; connections are reported without one"
            );
        }
    }
}
