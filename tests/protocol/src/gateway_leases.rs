//! Gateways in Redis: their data, and the scripts that change it. See `lua/README.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Mutation,
    redis::{Connection, Script, Tick},
};

/// A gateway's id.
pub type Gateway = u8;

/// How long a gateway's lease lasts without a renewal. A longer pause between two passes of the
/// sweep is an outage.
pub const GATEWAY_TTL: Tick = 2;

/// How long a player whose gateway is moving keeps the record without any lease.
pub const MOVE_GRACE: Tick = 1;

/// Gateways and the connections that belong to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct GatewayLeases {
    /// When the lease of each known gateway expires.
    pub leases: BTreeMap<Gateway, Tick>,
    /// Gateways whose connections' leases are being ended.
    pub ending: BTreeSet<Ending>,
    /// The index of the connections that belong to gateways.
    pub owners: BTreeSet<(Gateway, Connection)>,
    /// When a sweeper last looked for lost gateways.
    pub last_look: Option<Tick>,
    /// Gateways lost within the last TTL, by the expiry of their lease.
    recent: BTreeMap<Gateway, Tick>,
    /// No lease is ended before this time.
    held_until: Tick,
}

/// A gateway whose connections' leases are being ended, as it is lost or leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ending {
    /// The gateway.
    pub gateway: Gateway,
    /// Leases that were renewed after this time stay.
    pub before: Tick,
    /// Whether its players have the move grace.
    pub is_moving: bool,
}

/// The result of a look for lost gateways.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Whether no lease may be ended now.
    pub(crate) is_held: bool,
    /// Gateways that are lost as of this look.
    pub(crate) lost: Vec<Gateway>,
    /// The next gateway whose connections' leases are to be ended.
    pub(crate) ending: Option<Ending>,
}

impl GatewayLeases {
    /// The connections of a gateway in the index.
    pub(crate) fn owned(&self, gateway: Gateway) -> Vec<Connection> {
        self.owners
            .iter()
            .filter(|(owner, _)| *owner == gateway)
            .map(|(_, connection)| *connection)
            .collect()
    }
}

impl Script<'_> {
    /// `renew_gateway.lua`. Returns whether the gateway was not known.
    pub(crate) fn renew_gateway(&mut self, gateway: Gateway) -> bool {
        let before = self
            .redis
            .gateways
            .leases
            .insert(gateway, self.now + GATEWAY_TTL);
        before.is_none() && !self.has(Mutation::RenewalIsNeverNew)
    }

    /// `leave_gateway.lua`. Returns the end of the gateway, or one that is in progress.
    pub(crate) fn leave_gateway(&mut self, gateway: Gateway, is_moving: bool) -> Option<Ending> {
        let gateways = &mut self.redis.gateways;
        if gateways.leases.remove(&gateway).is_none() {
            return gateways
                .ending
                .iter()
                .find(|ending| ending.gateway == gateway)
                .copied();
        }
        let ending = Ending {
            gateway,
            before: self.now,
            is_moving,
        };
        gateways.ending.insert(ending);
        Some(ending)
    }

    /// `lost_gateways.lua`.
    pub(crate) fn look_for_lost_gateways(&mut self) -> Look {
        let now = self.now;
        let expired: Vec<_> = self.expired_gateways().collect();
        let gateways = &self.redis.gateways;
        let was_held = now < gateways.held_until;
        let is_outage = gateways
            .last_look
            .is_some_and(|last_look| now - last_look > GATEWAY_TTL);
        let is_known = !gateways.leases.is_empty();
        let begins =
            is_known && (is_outage || (!expired.is_empty() && self.is_mass_expiry(&expired)));
        let is_held = (was_held || begins) && !self.has(Mutation::NoHold);
        let gateways = &mut self.redis.gateways;
        if is_held && !was_held {
            gateways.held_until = now + GATEWAY_TTL;
        }
        gateways.last_look = Some(now);
        if is_held {
            return Look {
                is_held,
                ..Look::default()
            };
        }
        for (gateway, expired_at) in &expired {
            self.lose(*gateway, *expired_at);
        }
        let lost: Vec<_> = expired.into_iter().map(|(gateway, _)| gateway).collect();
        let ending = self.redis.gateways.ending.first().copied();
        Look {
            is_held,
            ending: ending.or_else(|| lost.first().map(|gateway| self.loss_of(*gateway))),
            lost,
        }
    }

    fn expired_gateways(&self) -> impl Iterator<Item = (Gateway, Tick)> {
        let leases = self.redis.gateways.leases.iter();
        leases
            .map(|(gateway, expires_at)| (*gateway, *expires_at))
            .filter(|(_, expires_at)| *expires_at <= self.now)
    }

    /// Whether half of the known gateways, the lost among them, expired within one TTL.
    fn is_mass_expiry(&mut self, expired: &[(Gateway, Tick)]) -> bool {
        let now = self.now;
        let counts_twice = self.has(Mutation::HoldIsProlonged);
        let gateways = &mut self.redis.gateways;
        gateways
            .recent
            .retain(|_, expired_at| *expired_at + GATEWAY_TTL > now);
        let mut all = gateways.recent.clone();
        all.extend(expired.iter().copied());
        // Gateways that expired before or during an earlier hold do not count again.
        let is_counted = |expired_at: Tick| {
            expired_at + GATEWAY_TTL > now && (expired_at > gateways.held_until || counts_twice)
        };
        let count = all
            .values()
            .filter(|expired_at| is_counted(**expired_at))
            .count();
        let lost = gateways
            .recent
            .keys()
            .filter(|gateway| !gateways.leases.contains_key(gateway))
            .count();
        let known = gateways.leases.len() + lost;
        known >= 3 && 2 * count >= known
    }

    fn loss_of(&self, gateway: Gateway) -> Ending {
        Ending {
            gateway,
            before: self.now - 1,
            is_moving: false,
        }
    }

    fn lose(&mut self, gateway: Gateway, expired_at: Tick) {
        let ending = self.loss_of(gateway);
        let is_recorded = !self.has(Mutation::LossIsNotRecorded);
        let gateways = &mut self.redis.gateways;
        gateways.leases.remove(&gateway);
        gateways.recent.insert(gateway, expired_at);
        if is_recorded {
            gateways.ending.insert(ending);
        }
    }

    /// `end_leases.lua`, and the removal of the ended gateway.
    pub(crate) fn end_leases(&mut self, ending: Ending, connections: &[Connection]) {
        for connection in connections {
            self.end_lease(ending, *connection);
        }
        self.redis.gateways.ending.remove(&ending);
    }

    fn end_lease(&mut self, ending: Ending, connection: Connection) {
        let mut player = self.load();
        let Some(lease) = player.leases.get(&connection) else {
            return;
        };
        let has_another_gateway = lease.gateway != Some(ending.gateway);
        let was_renewed = lease.expires_at - self.ttl > ending.before;
        if has_another_gateway && !self.has(Mutation::EndsLeasesOfOtherGateways) {
            return;
        }
        if was_renewed && !self.has(Mutation::EndsRenewedLeases) {
            return;
        }
        player.leases.remove(&connection);
        if self.has(Mutation::EndIgnoresOtherDevices) {
            player.leases.clear();
        }
        if self.has(Mutation::EndedIsClosed) {
            self.redis
                .closed
                .insert(connection, self.now + 2 * self.ttl);
        }
        let has_grace = ending.is_moving && !self.has(Mutation::MovingHasNoGrace);
        self.settle(player, if has_grace { MOVE_GRACE } else { self.grace });
    }
}
