//! Gateways that hold leases, and the sweepers that look for lost ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Bounds, Mutation,
    gateway_leases::{Ending, GATEWAY_TTL, Gateway, Look, MOVE_GRACE},
    redis::{Connection, Presence, Tick},
    system::{Call, Socket, System},
};

/// When the initial leases of gateways expire.
const FIRST_EXPIRY: Tick = GATEWAY_TTL - 1;

/// All gateways that hold leases, and their sweepers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Fleet {
    /// The gateways, indexed by id.
    pub gateways: Vec<Process>,
    /// The gateway that reports each connection. Empty if no gateway holds a lease.
    homes: Vec<Gateway>,
    /// The leases that each sweeper is about to end. A sweeper that never does is dead.
    sweepers: Vec<Option<Page>>,
    /// The number of times that Redis hung.
    pub outages: u8,
}

/// A gateway's process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Process {
    /// Whether it runs.
    pub status: Status,
    /// Connections that it still has to announce, as the service did not know the gateway.
    pub unannounced: BTreeSet<Connection>,
}

/// Whether a gateway's process runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// The process runs, though it may be too slow to renew its lease.
    #[default]
    Up,
    /// The process died.
    Down,
    /// The gateway left and does not come back.
    Left,
}

/// Connections of a lost gateway, as a sweeper read them from the owners.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Page {
    ending: Ending,
    connections: Vec<Connection>,
}

/// Observations of gateways for the properties. No part of the system knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct SeenGateways {
    /// The gateway that each connection belongs to.
    pub owners: BTreeMap<Connection, Gateway>,
    /// When the lease of each gateway expires.
    expires_at: BTreeMap<Gateway, Tick>,
    /// When the lease of each lost gateway expired.
    lost: BTreeMap<Gateway, Tick>,
    /// When each gateway was lost or left.
    pub ended_at: BTreeMap<Gateway, Tick>,
    /// Connections whose leases the end of a gateway may end.
    pub may_end: BTreeSet<Connection>,
    /// The time until which a player whose gateway moved must not be OFFLINE.
    pub grace_until: Option<Tick>,
    /// When Redis responded again after it hung.
    outage_end: Option<Tick>,
    /// When the sweeps last had a reason to hold for one TTL.
    pub held_from: Option<Tick>,
    /// Whether a gateway was lost during a hold.
    pub was_lost_early: bool,
    /// Whether a look was held without a reason.
    pub was_held_late: bool,
    /// Whether a connection that was not closed was refused.
    pub was_refused: bool,
}

/// Something that happens to gateways that hold leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GatewayAction {
    /// A gateway renews its lease.
    Renew(Gateway),
    /// A gateway dies, with all its sockets.
    Crash(Gateway),
    /// A gateway that died starts again with the same id.
    Restart(Gateway),
    /// A gateway leaves, with or without a grace for its players. The call ends their leases, or
    /// dies before that.
    Leave {
        /// The gateway that leaves.
        gateway: Gateway,
        /// Whether its players have a grace.
        is_moving: bool,
        /// Whether the call dies before it has ended any lease.
        is_interrupted: bool,
    },
    /// Another gateway takes over a connection.
    HandOver(Connection, Gateway),
    /// A heartbeat arrives that names no gateway.
    UnnamedHeartbeat(Connection),
    /// A sweeper looks for lost gateways, and reads the connections of one of them.
    Look(usize),
    /// A sweeper ends the leases of the connections that it read.
    End(usize),
    /// Redis hangs for longer than a gateway's lease lasts.
    Hang,
}

impl Fleet {
    /// The gateway that reports a connection.
    pub(crate) fn gateway_of(&self, connection: Connection) -> Option<Gateway> {
        self.homes.get(usize::from(connection)).copied()
    }

    fn is(&self, gateway: Gateway, status: Status) -> bool {
        self.gateways[usize::from(gateway)].status == status
    }
}

impl SeenGateways {
    /// The observations that survive a flush at `now`. No gateway is known then, as if all were
    /// lost.
    pub(crate) fn after_a_flush(&self, now: Tick) -> Self {
        let Self {
            owners,
            was_lost_early,
            was_held_late,
            was_refused,
            ..
        } = self.clone();
        let ended_at = self
            .expires_at
            .keys()
            .map(|gateway| (*gateway, now))
            .collect();
        Self {
            owners,
            ended_at,
            was_lost_early,
            was_held_late,
            was_refused,
            ..Self::default()
        }
    }
}

impl System {
    /// Starts all gateways, with leases that they renewed a tick ago.
    pub(crate) fn start_gateways(&mut self, bounds: &Bounds) {
        let gateways = bounds.gateways.gateways;
        if gateways == 0 {
            return;
        }
        self.fleet.gateways = vec![Process::default(); gateways.into()];
        self.fleet.homes = (0..bounds.connections)
            .map(|connection| connection % gateways)
            .collect();
        self.fleet.sweepers = vec![None; bounds.gateways.sweepers];
        for gateway in 0..gateways {
            self.redis.gateways.leases.insert(gateway, FIRST_EXPIRY);
            self.seen.gateways.expires_at.insert(gateway, FIRST_EXPIRY);
        }
    }

    /// Whether the gateway that reports a connection runs, if it holds a lease.
    pub(crate) fn has_gateway(&self, connection: Connection) -> bool {
        self.fleet
            .gateway_of(connection)
            .is_none_or(|gateway| self.fleet.is(gateway, Status::Up))
    }

    /// The actions of gateways that are possible in this state.
    pub(crate) fn gateway_actions(&self, bounds: &Bounds) -> Vec<GatewayAction> {
        let mut actions = Vec::new();
        for (gateway, process) in (0..).zip(&self.fleet.gateways) {
            match process.status {
                Status::Up => {
                    actions.push(GatewayAction::Renew(gateway));
                    if bounds.gateways.have_deaths {
                        actions.push(GatewayAction::Crash(gateway));
                    }
                    if bounds.gateways.have_leaving {
                        let leave = |(is_moving, is_interrupted)| GatewayAction::Leave {
                            gateway,
                            is_moving,
                            is_interrupted,
                        };
                        actions.extend(
                            [(true, true), (true, false), (false, true), (false, false)].map(leave),
                        );
                    }
                }
                Status::Down if bounds.gateways.have_restarts => {
                    actions.push(GatewayAction::Restart(gateway))
                }
                Status::Down | Status::Left => {}
            }
        }
        if bounds.gateways.have_handovers {
            actions.extend(self.handovers());
        }
        for (sweeper, page) in self.fleet.sweepers.iter().enumerate() {
            actions.push(GatewayAction::Look(sweeper));
            if page.is_some() {
                actions.push(GatewayAction::End(sweeper));
            }
        }
        if self.fleet.outages < bounds.gateways.outages && self.now + GATEWAY_TTL < bounds.ticks {
            actions.push(GatewayAction::Hang);
        }
        actions
    }

    fn handovers(&self) -> Vec<GatewayAction> {
        let mut actions = Vec::new();
        for connection in self.open_connections() {
            if self.has_gateway(connection) {
                actions.push(GatewayAction::UnnamedHeartbeat(connection));
            }
            for gateway in 0..self.fleet.gateways.len() as Gateway {
                if self.fleet.is(gateway, Status::Up)
                    && self.fleet.gateway_of(connection) != Some(gateway)
                {
                    actions.push(GatewayAction::HandOver(connection, gateway));
                }
            }
        }
        actions
    }

    /// The connections whose sockets are open.
    pub(crate) fn open_connections(&self) -> impl Iterator<Item = Connection> {
        (0..)
            .zip(&self.sockets)
            .filter(|(_, socket)| **socket == Socket::Open)
            .map(|(connection, _)| connection)
    }

    /// Applies an action of gateways.
    pub(crate) fn apply_to_gateways(
        &mut self,
        action: GatewayAction,
        bounds: &Bounds,
        mutation: Option<Mutation>,
    ) {
        match action {
            GatewayAction::Renew(gateway) => self.send(Call::Renew(gateway), bounds, mutation),
            GatewayAction::Crash(gateway) => {
                let process = Process {
                    status: Status::Down,
                    ..Process::default()
                };
                self.fleet.gateways[usize::from(gateway)] = process;
                self.close_sockets(gateway);
            }
            GatewayAction::Restart(gateway) => {
                self.fleet.gateways[usize::from(gateway)].status = Status::Up;
                self.send(Call::Renew(gateway), bounds, mutation);
            }
            GatewayAction::Leave {
                gateway,
                is_moving,
                is_interrupted,
            } => {
                if self.redis.gateways.leases.contains_key(&gateway) {
                    self.seen.gateways.ended_at.insert(gateway, self.now);
                }
                let ending = self.run(bounds, mutation, |script| {
                    script.leave_gateway(gateway, is_moving)
                });
                let process = Process {
                    status: Status::Left,
                    ..Process::default()
                };
                self.fleet.gateways[usize::from(gateway)] = process;
                // With handovers, a proxy in front of the gateways holds the sockets.
                if !bounds.gateways.have_handovers {
                    self.close_sockets(gateway);
                }
                if let Some(ending) = ending.filter(|_| !is_interrupted) {
                    let connections = self.redis.gateways.owned(gateway);
                    self.end(
                        &Page {
                            ending,
                            connections,
                        },
                        bounds,
                        mutation,
                    );
                }
            }
            GatewayAction::HandOver(connection, gateway) => {
                self.fleet.homes[usize::from(connection)] = gateway;
                self.send(Call::Heartbeat(connection), bounds, mutation);
            }
            GatewayAction::UnnamedHeartbeat(connection) => {
                self.unnamed_heartbeat(connection, bounds, mutation)
            }
            GatewayAction::Look(sweeper) => self.look(sweeper, bounds, mutation),
            GatewayAction::End(sweeper) => {
                if let Some(page) = self.fleet.sweepers[sweeper].take() {
                    self.end(&page, bounds, mutation);
                }
            }
            GatewayAction::Hang => {
                (0..=GATEWAY_TTL).for_each(|_| self.advance_clock());
                self.fleet.outages += 1;
                // The first look does not know how long the sweeps paused.
                let has_looked = self.redis.gateways.last_look.is_some();
                self.seen.gateways.outage_end = has_looked.then_some(self.now);
            }
        }
    }

    fn close_sockets(&mut self, gateway: Gateway) {
        for (socket, home) in self.sockets.iter_mut().zip(&self.fleet.homes) {
            if *home == gateway && *socket == Socket::Open {
                *socket = Socket::Closed(self.now);
            }
        }
    }

    /// Renews a gateway's lease. If the service did not know the gateway, it announces its
    /// connections.
    pub(crate) fn renew_gateway(
        &mut self,
        gateway: Gateway,
        bounds: &Bounds,
        mutation: Option<Mutation>,
    ) {
        let is_new = self.run(bounds, mutation, |script| script.renew_gateway(gateway));
        self.seen
            .gateways
            .expires_at
            .insert(gateway, self.now + GATEWAY_TTL);
        if is_new && self.fleet.is(gateway, Status::Up) {
            let is_own =
                |connection: &Connection| self.fleet.gateway_of(*connection) == Some(gateway);
            let unannounced = self.open_connections().filter(is_own).collect();
            self.fleet.gateways[usize::from(gateway)].unannounced = unannounced;
        }
    }

    fn unnamed_heartbeat(
        &mut self,
        connection: Connection,
        bounds: &Bounds,
        mutation: Option<Mutation>,
    ) {
        let is_restored = !self.counts(connection);
        let counts = self.run(bounds, mutation, |script| {
            script.heartbeat(connection, None)
        });
        if counts {
            self.seen.heartbeats[usize::from(connection)] = Some(self.now);
        }
        if is_restored {
            self.seen.gateways.owners.remove(&connection);
        }
        self.record_heartbeat(connection, None, counts);
    }

    /// Records the result of a connect or heartbeat.
    pub(crate) fn record_heartbeat(
        &mut self,
        connection: Connection,
        gateway: Option<Gateway>,
        counts: bool,
    ) {
        let seen = &mut self.seen.gateways;
        if !counts {
            seen.was_refused |= !self.seen.ended.contains(&connection);
            return;
        }
        seen.may_end.remove(&connection);
        seen.grace_until = None;
        if let Some(gateway) = gateway {
            seen.owners.insert(connection, gateway);
            self.fleet.gateways[usize::from(gateway)]
                .unannounced
                .remove(&connection);
        }
    }

    /// Records the leases that may be ended: those of gateways that left or did not renew their
    /// leases in time.
    pub(crate) fn record_silent_gateways(&mut self) {
        let seen = &mut self.seen.gateways;
        let is_excused = seen
            .outage_end
            .is_some_and(|end| self.now < end + GATEWAY_TTL);
        for (connection, gateway) in &seen.owners {
            let expires_at = seen.expires_at.get(gateway);
            let is_silent =
                expires_at.is_some_and(|expires_at| *expires_at <= self.now) && !is_excused;
            if is_silent || self.fleet.gateways[usize::from(*gateway)].status == Status::Left {
                seen.may_end.insert(*connection);
            }
        }
    }

    fn look(&mut self, sweeper: usize, bounds: &Bounds, mutation: Option<Mutation>) {
        let is_held = self.is_look_held();
        let look = self.run(bounds, mutation, |script| script.look_for_lost_gateways());
        self.record_look(&look, is_held);
        self.fleet.sweepers[sweeper] = look.ending.map(|ending| {
            let connections = self.redis.gateways.owned(ending.gateway);
            Page {
                ending,
                connections,
            }
        });
    }

    /// Whether a look at this time must be held: less than a TTL ago, half of the gateways expired
    /// at once for the first time, or the sweeps had paused.
    fn is_look_held(&mut self) -> bool {
        let gateways = &self.redis.gateways;
        let seen = &mut self.seen.gateways;
        let held_until = seen.held_from.map(|from| from + GATEWAY_TTL);
        if held_until.is_some_and(|until| self.now < until) {
            return true;
        }
        let has_paused = gateways
            .last_look
            .is_some_and(|last_look| self.now - last_look > GATEWAY_TTL);
        let mut known = 0;
        let mut expired = 0;
        let mut has_expired = false;
        for (gateway, expires_at) in &seen.expires_at {
            let is_known = gateways.leases.contains_key(gateway);
            let is_expired = is_known && *expires_at <= self.now;
            has_expired |= is_expired;
            // A lost gateway counts even if it has returned.
            let lost_at = seen.lost.get(gateway).copied();
            let expired_at = if is_expired {
                Some(*expires_at)
            } else {
                lost_at
            };
            let recent = expired_at.filter(|expired_at| expired_at + GATEWAY_TTL > self.now);
            known += u8::from(is_known || recent.is_some());
            expired += u8::from(recent.is_some_and(|at| held_until.is_none_or(|until| at > until)));
        }
        let is_mass_expiry = has_expired && known >= 3 && 2 * expired >= known;
        let is_held = !gateways.leases.is_empty() && (has_paused || is_mass_expiry);
        if is_held {
            seen.held_from = Some(self.now);
        }
        is_held
    }

    fn record_look(&mut self, look: &Look, is_held: bool) {
        let seen = &mut self.seen.gateways;
        seen.was_lost_early |= is_held && !look.lost.is_empty();
        seen.was_held_late |= look.is_held && !is_held;
        for gateway in &look.lost {
            seen.ended_at.insert(*gateway, self.now);
            let expired_at = seen.expires_at.get(gateway).copied();
            seen.lost
                .extend(expired_at.map(|expired_at| (*gateway, expired_at)));
        }
    }

    fn end(&mut self, page: &Page, bounds: &Bounds, mutation: Option<Mutation>) {
        let count = |system: &Self| {
            (0..bounds.connections)
                .filter(|connection| system.counts(*connection))
                .count()
        };
        let before = count(self);
        self.run(bounds, mutation, |script| {
            script.end_leases(page.ending, &page.connections)
        });
        if page.ending.is_moving && before > 0 && count(self) == 0 {
            self.seen.gateways.grace_until = Some(self.now + MOVE_GRACE);
        }
    }

    /// Whether a player whose gateway moved went OFFLINE within the grace.
    pub(crate) fn has_grace_failed(&self) -> bool {
        let is_in_grace = self
            .seen
            .gateways
            .grace_until
            .is_some_and(|until| self.now < until);
        is_in_grace && self.redis.presence() == Presence::Offline
    }
}
