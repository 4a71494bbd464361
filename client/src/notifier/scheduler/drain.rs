//! Drain at the end of a gateway: waiting tasks are sent first, then one call ends the leases of
//! all connections.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{lease::LeaseCall, limiter::CallLimiter},
    CallScheduler, Connection,
};
use crate::Reason;

/// Progress of the drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    NotStarted,
    /// The gateway's lease will be ended, and with it the leases of its connections.
    Leaving(Leaving),
    /// Connections are disconnected, in batches, or have ended with the gateway's lease.
    Disconnecting(Reason),
}

/// The end of the gateway's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    reason: Reason,
    began_at: Instant,
    /// The lease is ended at this time at the latest, even if tasks still wait.
    leave_by: Instant,
    /// Whether tasks were waiting or in flight when the lease was ended.
    was_early: bool,
}

impl CallScheduler {
    /// Accepts no further connections, and ends all open ones: in one call if the service supports
    /// leases of gateways.
    pub(in super::super) fn drain(&mut self, reason: Reason, timeout: Duration, now: Instant) {
        self.refused = 0;
        match &self.lease {
            Some(lease)
                if lease.can_leave() && (lease.may_be_held() || !self.players.is_empty()) =>
            {
                // A second drain does not delay the first one.
                if !self.is_leaving() {
                    let leave_by = now + timeout / 2;
                    self.drain = Drain::Leaving(Leaving {
                        reason,
                        began_at: now,
                        leave_by,
                        was_early: false,
                    });
                }
            }
            Some(lease) if !lease.can_leave() => {
                self.drain = Drain::Disconnecting(reason_for_older_service(reason));
                self.disconnect_all(now);
            }
            _ => {
                self.drain = Drain::Disconnecting(reason);
                self.disconnect_all(now);
            }
        }
    }

    /// The number of tasks that are not delivered yet, plus one per connection that has not ended
    /// yet.
    pub(in super::super) fn undelivered(&self) -> usize {
        let is_leaving = self.is_leaving();
        if self.players.is_empty() {
            return usize::from(is_leaving);
        }
        let (open, tasks) = self.players.count();
        if is_leaving {
            (open + tasks).max(1)
        } else {
            tasks
        }
    }

    /// The number of disconnects and states that were refused or given up since the drain began.
    pub(in super::super) fn refused(&self) -> usize {
        self.refused
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.drain, Drain::Leaving(_))
    }

    /// Whether the end of the gateway's lease also ends a connection that is closed for this
    /// reason. A player who quits does not return, so that needs a report of its own.
    pub(super) fn is_ended_by_leaving(&self, reason: Reason) -> bool {
        matches!(self.drain, Drain::Leaving(leaving) if reason != Reason::Quit || leaving.reason == Reason::Quit)
    }

    /// When the next call about the lease is due.
    pub(super) fn lease_call_at(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        match self.drain {
            Drain::NotStarted => lease.call_at(None),
            Drain::Leaving(leaving) if self.is_idle() => lease.call_at(Some(leaving.began_at)),
            Drain::Leaving(leaving) => lease.call_at(Some(leaving.leave_by)),
            Drain::Disconnecting(_) => None,
        }
    }

    /// The reason with which the lease is ended now; `None` if it is renewed.
    pub(super) fn reason_to_leave(&self, now: Instant) -> Option<Reason> {
        match self.drain {
            Drain::Leaving(leaving) if self.is_idle() || leaving.leave_by <= now => {
                Some(leaving.reason)
            }
            _ => None,
        }
    }

    /// Returns the call that ends the lease.
    pub(super) fn leave(&mut self, reason: Reason, now: Instant) -> Option<LeaseCall> {
        let is_idle = self.is_idle();
        if let Drain::Leaving(leaving) = &mut self.drain {
            leaving.was_early |= !is_idle;
        }
        self.lease.as_mut().map(|lease| lease.leave(reason, now))
    }

    /// Records that the lease has ended, and with it the leases of this many connections. If some
    /// connection may still have a lease, all are disconnected, which changes nothing for those
    /// that have ended.
    pub(super) fn left(&mut self, connections: u64, now: Instant) {
        let Drain::Leaving(leaving) = self.drain else {
            return;
        };
        self.drain = Drain::Disconnecting(leaving.reason);
        let (open, _) = self.players.count();
        if leaving.was_early || connections < open as u64 {
            self.disconnect_all(now);
        } else {
            self.players.forget_open(now);
        }
    }

    /// Disconnects all connections, if the service turned out not to support leases of gateways
    /// during a drain.
    pub(super) fn disconnect_instead_of_leaving(&mut self, now: Instant) {
        if let Drain::Leaving(leaving) = self.drain {
            self.drain = Drain::Disconnecting(reason_for_older_service(leaving.reason));
            self.disconnect_all(now);
        }
    }

    fn disconnect_all(&mut self, now: Instant) {
        let Drain::Disconnecting(reason) = self.drain else {
            return;
        };
        for Connection {
            player_id,
            connection_id,
        } in self.players.open()
        {
            self.players
                .disconnected(&player_id, &connection_id, reason, now);
        }
    }

    /// Whether no task waits and no call is in flight, renewals of the lease aside.
    fn is_idle(&self) -> bool {
        self.players.is_idle() && self.limiters.iter().all(CallLimiter::is_idle)
    }
}

/// The reason that a service without leases of gateways accepts: it does not know `moving`.
fn reason_for_older_service(reason: Reason) -> Reason {
    if reason == Reason::Moving {
        Reason::Lost
    } else {
        reason
    }
}
