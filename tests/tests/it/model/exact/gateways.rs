//! Gateways in the [reference](super::reference), as in `docs/presence.md`, *Leases of gateways*.

use std::collections::BTreeMap;

use presence::model::{GatewayStatus, Reason};

use super::{
    player::{SOCKETS, Standing},
    reference::Reference,
};

/// How long a gateway's lease lasts, in milliseconds. A longer pause between two looks is an
/// outage.
pub(super) const GATEWAY_TTL: u64 = 7_500;

/// Names that are hard to keep apart, in the order of their bytes.
pub(super) const GATEWAYS: [&str; 3] = ["g", "g+=/", "gg"];

/// All gateways at one moment.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    /// When the lease of each known gateway expires.
    pub(super) leases: BTreeMap<usize, u64>,
    /// Gateways that were lost, by the expiry of their lease.
    lost: BTreeMap<usize, u64>,
    /// When those are forgotten.
    lost_until: u64,
    last_look: Option<u64>,
    held_until: u64,
}

impl Gateways {
    /// Every moment at which something expires.
    pub(super) fn boundaries(&self) -> impl Iterator<Item = u64> {
        let looks = self.last_look.map(|last_look| last_look + GATEWAY_TTL);
        self.leases
            .values()
            .copied()
            .chain([self.held_until])
            .chain(looks)
    }

    /// Drops what has expired before `now`.
    pub(super) fn expire(&mut self, now: u64) {
        if self.lost_until < now {
            self.lost.clear();
        }
    }

    /// Whether half of the known gateways expired within one TTL. Those of an earlier pause do not
    /// count again.
    fn is_mass_expiry(&mut self, expired: &BTreeMap<usize, u64>, now: u64) -> bool {
        self.lost
            .retain(|_, expired_at| *expired_at + GATEWAY_TTL >= now);
        let lost_and_unknown = self
            .lost
            .keys()
            .filter(|gateway| !self.leases.contains_key(gateway))
            .count();
        let known = self.leases.len() + lost_and_unknown;
        let mut candidates = self.lost.clone();
        candidates.extend(expired);
        let is_counted =
            |expired_at: u64| expired_at + GATEWAY_TTL >= now && expired_at > self.held_until;
        let count = candidates
            .values()
            .filter(|expired_at| is_counted(**expired_at))
            .count();
        known >= 3 && 2 * count >= known
    }

    /// Looks for lost gateways, and holds them after a mass expiry.
    fn look(&mut self, now: u64) -> Vec<usize> {
        self.held_until = self.held_until.min(now + GATEWAY_TTL); // the clock may have been set back
        let has_paused = self
            .last_look
            .is_some_and(|last_look| last_look + GATEWAY_TTL < now);
        self.last_look = Some(now);
        let expired: BTreeMap<_, _> = self
            .leases
            .iter()
            .filter(|(_, expires_at)| **expires_at < now)
            .map(|(at, expired_at)| (*at, *expired_at))
            .collect();
        if now < self.held_until {
            return Vec::new();
        }
        let is_suspect = has_paused || (!expired.is_empty() && self.is_mass_expiry(&expired, now));
        if is_suspect && !self.leases.is_empty() {
            self.held_until = now + GATEWAY_TTL;
            return Vec::new();
        }
        for (gateway, expired_at) in &expired {
            self.leases.remove(gateway);
            self.lost.insert(*gateway, *expired_at);
            self.lost_until = now + 2 * GATEWAY_TTL;
        }
        expired.into_keys().collect()
    }
}

impl Reference {
    /// Renews a gateway's lease.
    pub(super) fn renew_gateway(&mut self, gateway: usize) -> GatewayStatus {
        match self.gateways.leases.insert(gateway, self.now + GATEWAY_TTL) {
            Some(_) => GatewayStatus::Alive,
            None => GatewayStatus::New,
        }
    }

    /// A gateway leaves. Returns the number of leases that were ended. `visited` are the players in
    /// the owners, though their records may have expired.
    pub(super) fn leave_gateway(
        &mut self,
        gateway: usize,
        why: Reason,
        visited: &[usize],
    ) -> usize {
        match self.gateways.leases.remove(&gateway) {
            Some(_) => self.end_leases(gateway, why, visited, |_| true),
            None => 0,
        }
    }

    /// Ends the leases of lost gateways. Returns the number of leases that were ended.
    pub(super) fn sweep_gateways(&mut self, visited: &[Vec<usize>; GATEWAYS.len()]) -> usize {
        let lost = self.gateways.look(self.now);
        // What was renewed in this very millisecond may be of a gateway that is back.
        let now = self.now;
        let ttl = self.rules.ttl;
        let is_old = |until: u64| until.min(now + ttl) - ttl < now;
        let ends = lost
            .into_iter()
            .map(|gateway| self.end_leases(gateway, Reason::Lost, &visited[gateway], is_old));
        ends.sum()
    }

    fn end_leases(
        &mut self,
        gateway: usize,
        why: Reason,
        visited: &[usize],
        is_ended: impl Fn(u64) -> bool,
    ) -> usize {
        let mut ended = 0;
        for at in 0..self.players.len() {
            if visited.contains(&at) {
                self.notice(at);
            }
            let leases = self.players[at]
                .leases(self.now)
                .filter(|lease| lease.gateway == Some(gateway));
            let mut sockets: Vec<_> = leases
                .filter(|lease| is_ended(lease.until))
                .map(|lease| lease.socket)
                .collect();
            sockets.sort_by_key(|socket| self.players[at].connection_id(*socket));
            for socket in sockets {
                self.end_lease(at, socket, why);
                ended += 1;
            }
        }
        ended
    }

    /// An ended connection is not closed. It is remembered through this very call, and then until
    /// the player has a lease.
    fn end_lease(&mut self, at: usize, socket: usize, why: Reason) {
        self.notice(at);
        let Some(record) = self.players[at].record else {
            return;
        };
        self.players[at].sockets[socket].standing = Standing::Unknown;
        let ended: Vec<_> = (0..SOCKETS)
            .filter(|other| self.has_ended(at, *other))
            .chain([socket])
            .collect();
        let longest = self.players[at]
            .leases(self.now)
            .map(|lease| lease.until)
            .max();
        self.settle(at, record, longest, why);
        for socket in ended {
            self.players[at].sockets[socket].standing = Standing::Ended;
        }
    }

    fn has_ended(&self, at: usize, socket: usize) -> bool {
        self.players[at].sockets[socket].standing == Standing::Ended
    }
}
