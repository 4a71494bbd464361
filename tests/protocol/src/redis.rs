//! What Redis holds of the player, and the scripts that change it. See `lua/README.md`.

use std::collections::BTreeMap;

use crate::{
    Flaw,
    gateway_leases::{Gateway, GatewayLeases},
    watcher::Fact,
};

/// A point in time.
pub type Tick = u8;

/// One open socket's id.
pub type Connection = u8;

/// What the player is doing, in the game's own words: the number of the call that set it.
pub type Activity = u8;

/// More versions than a player can need within a tick. A version is a time, unless the last one was later.
const VERSIONS_PER_TICK: u16 = 100;

/// What the player does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// There is no record.
    Offline,
    /// Connected.
    Online,
    /// Plays.
    InMatch,
}

/// A change of the player's state, as it goes to the outbox and the stream. The version is its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// Rises with each of a player's events.
    pub version: u16,
    /// What the player did before.
    pub before: Presence,
    /// What the player does now.
    pub after: Presence,
    /// The activity that the player has now.
    pub activity: Option<Activity>,
    /// Redis's clock at the transition.
    pub occurred_at: Tick,
}

/// All that Redis holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Redis {
    /// Gone by itself when it runs out.
    pub record: Option<Record>,
    /// What the record said last.
    pub past: Option<Past>,
    /// Closed connections, by the time at which they are forgotten.
    pub closed: BTreeMap<Connection, Tick>,
    /// A time that is never later than the record's expiry.
    pub index: Option<Tick>,
    /// Events that JetStream has not acknowledged yet, oldest first.
    pub outbox: Vec<Event>,
    /// Gateways and the connections that belong to them.
    pub gateways: GatewayLeases,
}

/// The player while not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// What the player does.
    pub presence: Presence,
    version: u16,
    /// The leases of connections.
    pub leases: BTreeMap<Connection, Lease>,
    /// Whether the past has an activity of the player.
    has_activity: bool,
    expires_at: Tick,
}

/// The right of a connection to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// When the connection stops counting.
    pub expires_at: Tick,
    /// The gateway that the connection belongs to.
    pub gateway: Option<Gateway>,
}

/// What outlives the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Past {
    /// OFFLINE once the transition was made.
    pub presence: Presence,
    version: u16,
    activity: Option<Activity>,
}

/// The player as a script works on it.
pub(crate) struct Player {
    pub(crate) presence: Presence,
    version: u16,
    pub(crate) leases: BTreeMap<Connection, Lease>,
    activity: Option<Activity>,
}

/// A script's call: its time, and what it left in the outbox.
pub(crate) struct Script<'a> {
    pub(crate) redis: &'a mut Redis,
    pub(crate) now: Tick,
    pub(crate) ttl: Tick,
    pub(crate) grace: Tick,
    pub(crate) flaw: Option<Flaw>,
    pub(crate) events: Vec<Event>,
}

impl Redis {
    /// What a read answers.
    pub fn presence(&self) -> Presence {
        self.record.as_ref().map_or(Presence::Offline, |record| record.presence)
    }

    /// What a read with history answers.
    pub(crate) fn fact(&self) -> Fact {
        let last = self.past.as_ref().map_or(0, |past| past.version);
        let version = self.record.as_ref().map_or(last, |record| record.version);
        Fact { presence: self.presence(), activity: self.activity(), version }
    }

    /// The activity that a read returns.
    pub fn activity(&self) -> Option<Activity> {
        let has_activity = self.record.as_ref().is_some_and(|record| record.has_activity);
        self.past.as_ref().filter(|_| has_activity).and_then(|past| past.activity)
    }

    /// Whether the player ran out, and nobody has made the transition yet.
    pub fn is_due(&self) -> bool {
        self.record.is_none() && self.past.as_ref().is_some_and(|past| past.presence != Presence::Offline)
    }

    /// Lets go of what is over at `now`.
    pub(crate) fn expire(&mut self, now: Tick) {
        self.record.take_if(|record| record.expires_at <= now);
        self.closed.retain(|_, forgotten_at| *forgotten_at >= now);
    }
}

impl Script<'_> {
    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// `connect.lua`, and `heartbeat.lua` if the lease is not known: they do the same. `gateway` is the one that the call
    /// names. Whether the connection counts.
    pub(crate) fn connect(&mut self, connection: Connection, gateway: Option<Gateway>) -> bool {
        let mut player = self.load();
        if self.redis.closed.contains_key(&connection) {
            return false;
        }
        let before = player.leases.get(&connection).and_then(|lease| lease.gateway);
        let gateway = gateway.or(before.filter(|_| !self.has(Flaw::UnnamedHeartbeatDropsTheGateway)));
        let owners = self.redis.gateways.owners.clone();
        player.leases.insert(connection, Lease { expires_at: self.now + self.ttl, gateway });
        if player.presence == Presence::Offline {
            self.go_to(&mut player, Presence::Online);
        }
        self.store(player, self.now + self.ttl);
        if self.has(Flaw::ConnectLeavesTheOwners) {
            self.redis.gateways.owners = owners;
        }
        true
    }

    /// `heartbeat.lua`. Whether the connection counts.
    pub(crate) fn heartbeat(&mut self, connection: Connection, gateway: Option<Gateway>) -> bool {
        let Some(record) = &mut self.redis.record else { return self.connect(connection, gateway) };
        let (is_sole, expires_at) = (record.leases.len() == 1, self.now + self.ttl);
        match record.leases.get_mut(&connection) {
            Some(lease) if is_sole && (gateway.is_none() || lease.gateway == gateway) => lease.expires_at = expires_at,
            _ => return self.connect(connection, gateway),
        }
        if self.flaw != Some(Flaw::HeartbeatLeavesTheRecord) {
            record.expires_at = expires_at;
        }
        true // the index keeps its earlier time
    }

    /// `disconnect.lua`.
    pub(crate) fn disconnect(&mut self, connection: Connection) {
        let mut player = self.load();
        if !self.has(Flaw::ClosedIsForgotten) {
            self.redis.closed.insert(connection, self.now + 2 * self.ttl);
        }
        if player.leases.remove(&connection).is_none() {
            return;
        }
        let owners = self.redis.gateways.owners.clone();
        self.settle(player, self.grace);
        if self.has(Flaw::DisconnectLeavesTheOwners) {
            self.redis.gateways.owners = owners;
        }
    }

    /// Stores a player one of whose leases was removed (`lib/end.lua`).
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
        let Some(expires_at) = expires_at.filter(|_| player.presence != Presence::Offline) else { return };
        if player.presence != Presence::InMatch {
            if self.has(Flaw::SetStateIsSilent) {
                player.presence = Presence::InMatch;
            } else {
                self.go_to(&mut player, Presence::InMatch);
            }
        }
        self.store(player, if self.has(Flaw::SetStateRenews) { self.now + self.ttl } else { expires_at });
    }

    /// `set_state.lua`, with an activity or with `null`. An OFFLINE player can have none.
    pub(crate) fn set_activity(&mut self, activity: Option<Activity>) {
        let expires_at = self.redis.record.as_ref().map(|record| record.expires_at);
        let mut player = self.load();
        let Some(expires_at) = expires_at else { return };
        let has_changed = player.activity != activity;
        player.activity = activity;
        if has_changed && !self.has(Flaw::ActivityIsSilent) {
            let presence = player.presence;
            self.go_to(&mut player, presence);
        }
        self.store(player, expires_at);
    }

    /// `expire.lua`.
    pub(crate) fn sweep(&mut self) {
        if self.has(Flaw::SweepTrustsItsPage) {
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

    /// Loads the player, and makes the OFFLINE transition that was missed, if there is one.
    pub(crate) fn load(&mut self) -> Player {
        if let Some(record) = &self.redis.record {
            let leases = record.leases.iter().filter(|(_, lease)| lease.expires_at > self.now);
            let leases = leases.map(|(connection, lease)| (*connection, *lease)).collect();
            let activity = self.redis.past.as_ref().and_then(|past| past.activity);
            return Player { presence: record.presence, version: record.version, activity, leases };
        }
        let unknown = Past { presence: Presence::Offline, version: 0, activity: None };
        let Past { presence, version, activity } = self.redis.past.clone().unwrap_or(unknown);
        let mut player = Player { presence, version, activity, leases: BTreeMap::new() };
        if player.presence != Presence::Offline {
            let version = player.version;
            if self.has(Flaw::MissedEndIsForgotten) {
                return Player { presence: Presence::Offline, ..player };
            }
            self.go_offline(player);
            let past = self.redis.past.as_ref();
            let (version, activity) = past.map_or((version, None), |past| (past.version, past.activity));
            player = Player { presence: Presence::Offline, version, activity, leases: BTreeMap::new() };
        }
        player
    }

    fn go_to(&mut self, player: &mut Player, after: Presence) {
        let now = if self.has(Flaw::VersionIgnoresTheClock) { 0 } else { u16::from(self.now) * VERSIONS_PER_TICK };
        player.version = now.max(player.version + 1);
        let is_omitted = self.has(Flaw::OnlyItsOwnEventsCarryTheActivity) && player.presence != after;
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
        if !self.has(Flaw::ActivityOutlivesOffline) {
            player.activity = None;
        }
        self.go_to(&mut player, Presence::Offline);
        self.redis.record = None;
        self.redis.index = None;
        self.redis.past =
            Some(Past { presence: Presence::Offline, version: player.version, activity: player.activity });
        self.redis.gateways.owners.clear();
    }

    fn store(&mut self, player: Player, expires_at: Tick) {
        let Player { presence, version, activity, leases } = player;
        let owned = leases.iter().filter_map(|(connection, lease)| Some((lease.gateway?, *connection)));
        self.redis.gateways.owners = owned.collect();
        self.redis.past = Some(Past { presence, version, activity });
        let has_activity = activity.is_some();
        self.redis.record = Some(Record { presence, version, leases, has_activity, expires_at });
        if !self.has(Flaw::NotFiled) {
            self.redis.index = Some(self.redis.index.map_or(expires_at, |index| index.min(expires_at)));
        }
    }
}
