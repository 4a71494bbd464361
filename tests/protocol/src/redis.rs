//! What Redis holds of the player, and the scripts that change it. See `lua/README.md`.

use std::collections::BTreeMap;

use crate::{Flaw, watcher::Fact};

/// A point in time.
pub type Tick = u8;

/// One open socket's id.
pub type Connection = u8;

/// How long a lease lasts without a heartbeat.
pub const TTL: Tick = 2;

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
}

/// The player while not OFFLINE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Record {
    /// What the player does.
    pub presence: Presence,
    version: u16,
    /// When each connection stops counting.
    pub leases: BTreeMap<Connection, Tick>,
    expires_at: Tick,
}

/// What outlives the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Past {
    /// OFFLINE once the transition was made.
    pub presence: Presence,
    version: u16,
}

/// The player as a script works on it.
struct Player {
    presence: Presence,
    version: u16,
    leases: BTreeMap<Connection, Tick>,
}

/// A script's call: its time, and what it left in the outbox.
pub(crate) struct Script<'a> {
    pub(crate) redis: &'a mut Redis,
    pub(crate) now: Tick,
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
        Fact { presence: self.presence(), version }
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
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// `connect.lua`, and `heartbeat.lua` where the lease is not there: they do the same. Whether the connection counts.
    pub(crate) fn connect(&mut self, connection: Connection) -> bool {
        let mut player = self.load();
        if self.redis.closed.contains_key(&connection) {
            return false;
        }
        player.leases.insert(connection, self.now + TTL);
        if player.presence == Presence::Offline {
            self.go_to(&mut player, Presence::Online);
        }
        self.store(player, self.now + TTL);
        true
    }

    /// `heartbeat.lua`. Whether the connection counts.
    pub(crate) fn heartbeat(&mut self, connection: Connection) -> bool {
        let Some(record) = &mut self.redis.record else { return self.connect(connection) };
        if record.leases.len() != 1 || !record.leases.contains_key(&connection) {
            return self.connect(connection);
        }
        record.leases.insert(connection, self.now + TTL);
        if self.flaw != Some(Flaw::HeartbeatLeavesTheRecord) {
            record.expires_at = self.now + TTL;
        }
        true // the index keeps its earlier time
    }

    /// `disconnect.lua`.
    pub(crate) fn disconnect(&mut self, connection: Connection) {
        let mut player = self.load();
        if !self.has(Flaw::ClosedIsForgotten) {
            self.redis.closed.insert(connection, self.now + 2 * TTL);
        }
        if player.leases.remove(&connection).is_none() {
            return;
        }
        match player.leases.values().max().copied() {
            Some(longest) => self.store(player, longest),
            None if self.grace > 0 => self.store(player, self.now + self.grace),
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
        self.store(player, if self.has(Flaw::SetStateRenews) { self.now + TTL } else { expires_at });
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

    /// Makes the OFFLINE transition that was missed, where there is one.
    fn load(&mut self) -> Player {
        if let Some(record) = &self.redis.record {
            let leases = record.leases.iter().filter(|(_, expires_at)| **expires_at > self.now);
            let leases = leases.map(|(connection, expires_at)| (*connection, *expires_at)).collect();
            return Player { presence: record.presence, version: record.version, leases };
        }
        let past = self.redis.past.clone().unwrap_or(Past { presence: Presence::Offline, version: 0 });
        let mut player = Player { presence: past.presence, version: past.version, leases: BTreeMap::new() };
        if player.presence != Presence::Offline {
            let version = player.version;
            if self.has(Flaw::MissedEndIsForgotten) {
                return Player { presence: Presence::Offline, ..player };
            }
            self.go_offline(player);
            let version = self.redis.past.as_ref().map_or(version, |past| past.version);
            player = Player { presence: Presence::Offline, version, leases: BTreeMap::new() };
        }
        player
    }

    fn go_to(&mut self, player: &mut Player, after: Presence) {
        let now = if self.has(Flaw::VersionIgnoresTheClock) { 0 } else { u16::from(self.now) * VERSIONS_PER_TICK };
        player.version = now.max(player.version + 1);
        let event = Event { version: player.version, before: player.presence, after, occurred_at: self.now };
        player.presence = after;
        self.redis.outbox.push(event);
        self.events.push(event);
    }

    fn go_offline(&mut self, mut player: Player) {
        self.go_to(&mut player, Presence::Offline);
        self.redis.record = None;
        self.redis.index = None;
        self.redis.past = Some(Past { presence: Presence::Offline, version: player.version });
    }

    fn store(&mut self, player: Player, expires_at: Tick) {
        let Player { presence, version, leases } = player;
        self.redis.past = Some(Past { presence, version });
        self.redis.record = Some(Record { presence, version, leases, expires_at });
        if !self.has(Flaw::NotFiled) {
            self.redis.index = Some(self.redis.index.map_or(expires_at, |index| index.min(expires_at)));
        }
    }
}
