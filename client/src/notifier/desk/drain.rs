//! The end of a gateway: what waits is delivered first, then one call ends the leases of all connections.

use std::time::Duration;

use tokio::time::Instant;

use super::{super::lease::LeaseCall, Connection, Desk};
use crate::Reason;

/// How far the end of the gateway has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drain {
    No,
    /// The gateway's lease is to be ended, and with it those of its connections.
    ByLeaving(Leaving),
    /// Connections are disconnected one by one, or have ended.
    ByDisconnects(Reason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    reason: Reason,
    began_at: Instant,
    /// When the lease is ended at the latest, even if other calls wait.
    leave_by: Instant,
    /// Other calls were waiting or in flight when the lease was ended.
    was_early: bool,
}

impl Desk {
    /// Takes no new connections, and ends all that are open: by one call if the service has leases of gateways.
    pub(in super::super) fn drain(&mut self, reason: Reason, limit: Duration, now: Instant) {
        self.refused = 0;
        match &self.lease {
            Some(lease) if lease.can_leave() && (lease.may_be_held() || !self.players.is_empty()) => {
                if !self.is_leaving() {
                    let leaving = Leaving { reason, began_at: now, leave_by: now + limit / 2, was_early: false };
                    self.drain = Drain::ByLeaving(leaving);
                }
            }
            Some(lease) if !lease.can_leave() => {
                self.drain = Drain::ByDisconnects(known_to_old_services(reason));
                self.disconnect_all(now);
            }
            _ => {
                self.drain = Drain::ByDisconnects(reason);
                self.disconnect_all(now);
            }
        }
    }

    /// The number of tasks that are not through yet; of connections that are still to be ended, one each.
    pub(in super::super) fn undelivered(&self) -> usize {
        let is_leaving = self.is_leaving();
        if self.players.is_empty() {
            return usize::from(is_leaving);
        }
        let (open, tasks) = self.players.count();
        if is_leaving { (open + tasks).max(1) } else { tasks }
    }

    /// The number of disconnects and states that were refused or given up since the drain began.
    pub(in super::super) fn refused(&self) -> usize {
        self.refused
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.drain, Drain::ByLeaving(_))
    }

    /// Whether the end of the gateway's lease ends a connection as well. A player who quits has gone for good.
    pub(super) fn is_ended_by_leaving(&self, reason: Reason) -> bool {
        matches!(self.drain, Drain::ByLeaving(leaving) if reason != Reason::Quit || leaving.reason == Reason::Quit)
    }

    /// When the next call about the lease is due.
    pub(super) fn lease_call_at(&self) -> Option<Instant> {
        let lease = self.lease.as_ref()?;
        match self.drain {
            Drain::No => lease.call_at(None),
            Drain::ByLeaving(leaving) if self.is_idle() => lease.call_at(Some(leaving.began_at)),
            Drain::ByLeaving(leaving) => lease.call_at(Some(leaving.leave_by)),
            Drain::ByDisconnects(_) => None,
        }
    }

    /// Why the lease is ended now; `None` if it is renewed.
    pub(super) fn reason_to_leave(&self, now: Instant) -> Option<Reason> {
        match self.drain {
            Drain::ByLeaving(leaving) if self.is_idle() || leaving.leave_by <= now => Some(leaving.reason),
            _ => None,
        }
    }

    pub(super) fn leave(&mut self, reason: Reason, now: Instant) -> Option<LeaseCall> {
        let is_idle = self.is_idle();
        if let Drain::ByLeaving(leaving) = &mut self.drain {
            leaving.was_early |= !is_idle;
        }
        self.lease.as_mut().map(|lease| lease.leave(reason, now))
    }

    /// The lease has ended. If that of some connection may not have, all are disconnected: that changes nothing for those
    /// that have ended.
    pub(super) fn left(&mut self, connections: u64, now: Instant) {
        let Drain::ByLeaving(leaving) = self.drain else { return };
        self.drain = Drain::ByDisconnects(leaving.reason);
        let (open, _) = self.players.count();
        if leaving.was_early || connections < open as u64 {
            self.disconnect_all(now);
        } else {
            self.players.forget_open(now);
        }
    }

    /// The service turned out not to have leases of gateways.
    pub(super) fn leave_otherwise(&mut self, now: Instant) {
        if let Drain::ByLeaving(leaving) = self.drain {
            self.drain = Drain::ByDisconnects(known_to_old_services(leaving.reason));
            self.disconnect_all(now);
        }
    }

    fn disconnect_all(&mut self, now: Instant) {
        let Drain::ByDisconnects(reason) = self.drain else { return };
        for Connection { player_id, connection_id } in self.players.open() {
            self.players.disconnected(&player_id, &connection_id, reason, now);
        }
    }

    /// Whether no call waits or is in flight, renewals of the lease apart.
    fn is_idle(&self) -> bool {
        self.players.is_idle() && self.gates.iter().all(|gate| gate.is_idle())
    }
}

/// A service without leases of gateways does not know `moving`.
fn known_to_old_services(reason: Reason) -> Reason {
    if reason == Reason::Moving { Reason::Lost } else { reason }
}
