//! The player in Redis: its data, and the scripts that change it. See `lua/README.md`.

use std::collections::BTreeMap;

use crate::{
    Mutation,
    gateway_leases::{Gateway, GatewayLeases},
    watcher::Fact,
};

/// A point in time.
pub type Tick = u8;

/// The id of a connection.
pub type Connection = u8;

/// An activity, identified by the number of the call that set it.
pub type Activity = u8;

/// More versions than a player can need within a tick. A version is a time, unless the previous one
/// was later.
const VERSIONS_PER_TICK: u16 = 100;

/// A player's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// There is no record of the player.
    Offline,
    /// The player is connected.
    Online,
    /// The player is in a match.
    InMatch,
}

/// A transition in the outbox and the stream, identified by its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// The version, which increases with each event of the player.
    pub version: u16,
    /// The state before the transition.
    pub before: Presence,
    /// The state after the transition.
    pub after: Presence,
    /// The activity after the transition.
    pub activity: Option<Activity>,
    /// Redis's clock at the transition.
    pub occurred_at: Tick,
}

/// All data in Redis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Redis {
    /// The record, whose key expires.
    pub record: Option<Record>,
    /// The shadow of the record.
    pub past: Option<Past>,
    /// Closed connections, with the time at which their tombstones expire.
    pub closed: BTreeMap<Connection, Tick>,
    /// The player's time in the expiry index, which is never later than the record's expiry.
    pub index: Option<Tick>,
    /// Events that JetStream has not acknowledged yet, oldest first.
    pub outbox: Vec<Event>,
    /// Gateways and the connections that belong to them.
    pub gateways: GatewayLeases,
}

/// The record of a player who is not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// The player's state.
    pub presence: Presence,
    version: u16,
    /// The leases of connections.
    pub leases: BTreeMap<Connection, Lease>,
    /// Whether the shadow has an activity of the player.
    has_activity: bool,
    expires_at: Tick,
}

/// The lease of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// When the connection stops counting.
    pub expires_at: Tick,
    /// The gateway that the connection belongs to.
    pub gateway: Option<Gateway>,
}

/// The shadow of a record: the data that outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Past {
    /// The last state; OFFLINE once that transition was made.
    pub presence: Presence,
    version: u16,
    activity: Option<Activity>,
}

/// A player while a script changes it.
pub(crate) struct Player {
    pub(crate) presence: Presence,
    version: u16,
    pub(crate) leases: BTreeMap<Connection, Lease>,
    activity: Option<Activity>,
}

/// A call of a script: its time, and the events that it emits.
pub(crate) struct Script<'a> {
    pub(crate) redis: &'a mut Redis,
    pub(crate) now: Tick,
    pub(crate) ttl: Tick,
    pub(crate) grace: Tick,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) events: Vec<Event>,
}

impl Redis {
    /// The presence that a read returns.
    pub fn presence(&self) -> Presence {
        self.record
            .as_ref()
            .map_or(Presence::Offline, |record| record.presence)
    }

    /// The facts that a read with history returns.
    pub(crate) fn fact(&self) -> Fact {
        let last = self.past.as_ref().map_or(0, |past| past.version);
        let version = self.record.as_ref().map_or(last, |record| record.version);
        Fact {
            presence: self.presence(),
            activity: self.activity(),
            version,
        }
    }

    /// The activity that a read returns.
    pub fn activity(&self) -> Option<Activity> {
        let has_activity = self
            .record
            .as_ref()
            .is_some_and(|record| record.has_activity);
        self.past
            .as_ref()
            .filter(|_| has_activity)
            .and_then(|past| past.activity)
    }

    /// Whether the player expired and the OFFLINE transition has not been made yet.
    pub fn is_due(&self) -> bool {
        self.record.is_none()
            && self
                .past
                .as_ref()
                .is_some_and(|past| past.presence != Presence::Offline)
    }

    /// Removes the data that expires at `now`.
    pub(crate) fn expire(&mut self, now: Tick) {
        self.record.take_if(|record| record.expires_at <= now);
        self.closed.retain(|_, expires_at| *expires_at >= now);
    }
}

impl Script<'_> {
    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// `connect.lua`, and `heartbeat.lua` if the lease is not known. `gateway` is the one that the
    /// call names. Returns whether the connection counts.
    pub(crate) fn connect(&mut self, connection: Connection, gateway: Option<Gateway>) -> bool {
        let mut player = self.load();
        if self.redis.closed.contains_key(&connection) {
            return false;
        }
        let before = player
            .leases
            .get(&connection)
            .and_then(|lease| lease.gateway);
        let gateway =
            gateway.or(before.filter(|_| !self.has(Mutation::UnnamedHeartbeatDropsTheGateway)));
        let owners = self.redis.gateways.owners.clone();
        player.leases.insert(
            connection,
            Lease {
                expires_at: self.now + self.ttl,
                gateway,
            },
        );
        if player.presence == Presence::Offline {
            self.go_to(&mut player, Presence::Online);
        }
        self.store(player, self.now + self.ttl);
        if self.has(Mutation::ConnectLeavesTheOwners) {
            self.redis.gateways.owners = owners;
        }
        true
    }

    /// `renew_known.lua`, and `heartbeat.lua` if the lease is not known: a first call that renews
    /// nothing changes nothing. Returns whether the connection counts.
    pub(crate) fn heartbeat(&mut self, connection: Connection, gateway: Option<Gateway>) -> bool {
        let Some(record) = &mut self.redis.record else {
            return self.connect(connection, gateway);
        };
        let is_sole = record.leases.len() == 1;
        let expires_at = self.now + self.ttl;
        match record.leases.get_mut(&connection) {
            Some(lease) if is_sole && (gateway.is_none() || lease.gateway == gateway) => {
                lease.expires_at = expires_at
            }
            _ => return self.connect(connection, gateway),
        }
        if self.mutation != Some(Mutation::HeartbeatLeavesTheRecord) {
            record.expires_at = expires_at;
        }
        // The index keeps its earlier time.
        true
    }

    /// `disconnect.lua`.
    pub(crate) fn disconnect(&mut self, connection: Connection) {
        let mut player = self.load();
        if !self.has(Mutation::NoTombstone) {
            self.redis
                .closed
                .insert(connection, self.now + 2 * self.ttl);
        }
        if player.leases.remove(&connection).is_none() {
            return;
        }
        let owners = self.redis.gateways.owners.clone();
        self.settle(player, self.grace);
        if self.has(Mutation::DisconnectLeavesTheOwners) {
            self.redis.gateways.owners = owners;
        }
    }

    /// Stores a player after a lease was removed (`lib/end.lua`).
    pub(crate) fn settle(&mut self, player: Player, grace: Tick) {
        match player.leases.values().map(|lease| lease.expires_at).max() {
            Some(longest) => self.store(player, longest),
            None if grace > 0 => self.store(player, self.now + grace),
            None => self.go_offline(player),
        }
    }

    /// `set_state.lua`, to IN_MATCH.
    pub(crate) fn play(&mut self) {
        let expires_at = self.redis.record.as_ref().map(|record| record.expires_at);
        let mut player = self.load();
        let Some(expires_at) = expires_at.filter(|_| player.presence != Presence::Offline) else {
            return;
        };
        if player.presence != Presence::InMatch {
            if self.has(Mutation::SetStateIsSilent) {
                player.presence = Presence::InMatch;
            } else {
                self.go_to(&mut player, Presence::InMatch);
            }
        }
        self.store(
            player,
            if self.has(Mutation::SetStateRenews) {
                self.now + self.ttl
            } else {
                expires_at
            },
        );
    }

    /// `set_state.lua`, with an activity or with `null`. It is refused for an OFFLINE player.
    pub(crate) fn set_activity(&mut self, activity: Option<Activity>) {
        let expires_at = self.redis.record.as_ref().map(|record| record.expires_at);
        let mut player = self.load();
        let Some(expires_at) = expires_at else { return };
        let has_changed = player.activity != activity;
        player.activity = activity;
        if has_changed && !self.has(Mutation::ActivityIsSilent) {
            let presence = player.presence;
            self.go_to(&mut player, presence);
        }
        self.store(player, expires_at);
    }

    /// `expire.lua`.
    pub(crate) fn sweep(&mut self) {
        if self.has(Mutation::SweepTrustsItsPage) {
            let mut player = self.load();
            player.presence = Presence::Online;
            return self.go_offline(player);
        }
        match &self.redis.record {
            None => {
                self.load();
                self.redis.index = None;
            }
            Some(record) => self.redis.index = self.redis.index.map(|_| record.expires_at),
        }
    }

    /// Loads the player, after a missed OFFLINE transition if there is one.
    pub(crate) fn load(&mut self) -> Player {
        if let Some(record) = &self.redis.record {
            let live = record
                .leases
                .iter()
                .filter(|(_, lease)| lease.expires_at > self.now);
            let leases = live
                .map(|(connection, lease)| (*connection, *lease))
                .collect();
            let activity = self.redis.past.as_ref().and_then(|past| past.activity);
            return Player {
                presence: record.presence,
                version: record.version,
                activity,
                leases,
            };
        }
        let unknown = Past {
            presence: Presence::Offline,
            version: 0,
            activity: None,
        };
        let Past {
            presence,
            version,
            activity,
        } = self.redis.past.clone().unwrap_or(unknown);
        let mut player = Player {
            presence,
            version,
            activity,
            leases: BTreeMap::new(),
        };
        if player.presence != Presence::Offline {
            let version = player.version;
            if self.has(Mutation::MissedOfflineIsOmitted) {
                return Player {
                    presence: Presence::Offline,
                    ..player
                };
            }
            self.go_offline(player);
            let past = self.redis.past.as_ref();
            let (version, activity) =
                past.map_or((version, None), |past| (past.version, past.activity));
            player = Player {
                presence: Presence::Offline,
                version,
                activity,
                leases: BTreeMap::new(),
            };
        }
        player
    }

    fn go_to(&mut self, player: &mut Player, after: Presence) {
        let now = if self.has(Mutation::VersionIgnoresTheClock) {
            0
        } else {
            u16::from(self.now) * VERSIONS_PER_TICK
        };
        player.version = now.max(player.version + 1);
        let is_omitted =
            self.has(Mutation::OnlyItsOwnEventsCarryTheActivity) && player.presence != after;
        let event = Event {
            version: player.version,
            before: player.presence,
            after,
            activity: player.activity.filter(|_| !is_omitted),
            occurred_at: self.now,
        };
        player.presence = after;
        self.redis.outbox.push(event);
        self.events.push(event);
    }

    fn go_offline(&mut self, mut player: Player) {
        if !self.has(Mutation::ActivityOutlivesOffline) {
            player.activity = None;
        }
        self.go_to(&mut player, Presence::Offline);
        self.redis.record = None;
        self.redis.index = None;
        self.redis.past = Some(Past {
            presence: Presence::Offline,
            version: player.version,
            activity: player.activity,
        });
        self.redis.gateways.owners.clear();
    }

    fn store(&mut self, player: Player, expires_at: Tick) {
        let Player {
            presence,
            version,
            activity,
            leases,
        } = player;
        let owned = leases
            .iter()
            .filter_map(|(connection, lease)| Some((lease.gateway?, *connection)));
        self.redis.gateways.owners = owned.collect();
        self.redis.past = Some(Past {
            presence,
            version,
            activity,
        });
        let has_activity = activity.is_some();
        self.redis.record = Some(Record {
            presence,
            version,
            leases,
            has_activity,
            expires_at,
        });
        if !self.has(Mutation::NotIndexed) {
            self.redis.index = Some(
                self.redis
                    .index
                    .map_or(expires_at, |index| index.min(expires_at)),
            );
        }
    }
}
