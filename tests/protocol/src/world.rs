//! Gateways, the network, sweepers, relays and the stream around Redis, and what can happen next.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Bounds, Flaw,
    gateway_leases::Gateway,
    gateways::{Fleet, GatewayAction, SeenGateways},
    redis::{Activity, Connection, Event, Presence, Redis, Script, Tick},
    watcher::{Surroundings, WatchAction, Watcher},
};

/// A call can arrive until so many ticks after it was sent, any number of times, in any order. One that does not is lost:
/// whoever sent it has given up.
pub const LONGEST_WAY: Tick = 1;

/// One state of everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct World {
    /// Redis's clock.
    pub now: Tick,
    /// One for each connection.
    pub sockets: Vec<Socket>,
    /// Calls that can arrive, with the time they were last sent at.
    pub network: BTreeMap<Call, Tick>,
    /// What Redis holds.
    pub redis: Redis,
    /// Whether each sweeper has read that the player is due, and has not looked again yet. One that never does is dead.
    pub sweepers: Vec<bool>,
    /// What each relay has in hand. A function that publishes its own call's events is one as well.
    pub relays: Vec<Relay>,
    /// The stream, in order.
    pub stream: Vec<Event>,
    /// A caller that watches the player.
    pub watcher: Watcher,
    /// Gateways that hold leases.
    pub fleet: Fleet,
    /// How often Redis was flushed.
    pub flushes: u8,
    /// How often an activity was set or removed.
    pub activities: u8,
    /// What the properties are told by.
    pub seen: Seen,
}

/// What nobody in the system knows, but the properties ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Every transition since the last flush, in order.
    pub made: Vec<Event>,
    /// The highest version ever given.
    pub highest: u16,
    /// Whether a version was not above an earlier one.
    pub fell: bool,
    /// When each connection last counted anew, since the last flush.
    pub beats: Vec<Option<Tick>>,
    /// Connections whose disconnect arrived, since the last flush.
    pub ended: BTreeSet<Connection>,
    /// What happened to gateways that hold leases.
    pub gateways: SeenGateways,
}

/// A socket, as its gateway has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Socket {
    /// Not yet.
    #[default]
    Unopened,
    /// The player is connected.
    Open,
    /// Closed, or dead with its gateway, at this time.
    Gone(Tick),
}

/// A call to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// A socket was opened.
    Connect(Connection),
    /// A socket is open.
    Heartbeat(Connection),
    /// A socket was closed.
    Disconnect(Connection),
    /// A gateway holds a lease.
    Renew(Gateway),
}

/// What a relay is about to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Relay {
    /// To look into the outbox.
    #[default]
    Idle,
    /// To publish this event.
    Read(Event),
    /// To strike it: JetStream has it.
    Published(Event),
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A socket is opened, and its gateway says so.
    Open(Connection),
    /// A gateway sends its heartbeat.
    Beat(Connection),
    /// A socket is closed, and its gateway says so.
    Close(Connection),
    /// A gateway dies. It says nothing.
    Crash(Connection),
    /// A match begins.
    Play,
    /// The player is doing something new.
    SetActivity,
    /// The player is doing nothing any more.
    RemoveActivity,
    /// A call arrives, and may arrive again.
    Arrive(Call),
    /// Time passes.
    Tick,
    /// Redis loses everything, and it takes a while.
    Flush,
    /// A sweeper reads the index.
    SweepReads(usize),
    /// A sweeper looks again at whom it read about.
    SweepLooksAgain(usize),
    /// A relay reads the outbox.
    RelayReads(usize),
    /// A relay publishes what it read.
    RelayPublishes(usize),
    /// A relay strikes what it published.
    RelayStrikes(usize),
    /// A relay dies with what it has in hand.
    RelayDies(usize),
    /// Something happens to the watcher.
    Watching(WatchAction),
    /// Something happens to gateways that hold leases.
    Gateway(GatewayAction),
}

impl World {
    /// Nobody was ever there.
    pub fn new(bounds: &Bounds) -> Self {
        let mut world = Self {
            sockets: vec![Socket::Unopened; bounds.connections.into()],
            sweepers: vec![false; bounds.sweepers],
            relays: vec![Relay::Idle; bounds.relays],
            seen: Seen { beats: vec![None; bounds.connections.into()], ..Seen::default() },
            ..Self::default()
        };
        world.start_gateways(bounds);
        world
    }

    /// What can happen now.
    pub fn actions(&self, bounds: &Bounds) -> Vec<Action> {
        let mut actions = Vec::new();
        for (connection, socket) in (0..).zip(&self.sockets) {
            let has_leases = bounds.gateways.gateways > 0;
            match socket {
                Socket::Unopened if self.has_gateway(connection) => actions.push(Action::Open(connection)),
                Socket::Open => {
                    if !has_leases || bounds.gateways.have_closing {
                        actions.push(Action::Close(connection));
                    }
                    if !has_leases {
                        actions.push(Action::Crash(connection));
                    }
                    let is_reported = match has_leases {
                        true => self.has_gateway(connection),
                        false => !bounds.is_network_reliable,
                    };
                    if is_reported {
                        actions.push(Action::Beat(connection));
                    }
                }
                _ => {}
            }
        }
        if bounds.has_matches {
            actions.push(Action::Play);
        }
        // Of an OFFLINE player, setting an activity is refused, and removing one does nothing.
        if self.activities < bounds.activities && self.redis.record.is_some() {
            actions.push(Action::SetActivity);
            if self.redis.activity().is_some() {
                actions.push(Action::RemoveActivity);
            }
        }
        actions.extend(self.network.keys().copied().map(Action::Arrive));
        if self.now < bounds.ticks {
            actions.push(Action::Tick);
            if self.flushes < bounds.flushes {
                actions.push(Action::Flush);
            }
        }
        for (sweeper, has_read) in self.sweepers.iter().enumerate() {
            match has_read {
                false if self.redis.index.is_some_and(|due_at| due_at <= self.now) => {
                    actions.push(Action::SweepReads(sweeper));
                }
                false => {}
                true => actions.push(Action::SweepLooksAgain(sweeper)),
            }
        }
        for (relay, in_hand) in self.relays.iter().enumerate() {
            match in_hand {
                Relay::Idle if self.redis.outbox.is_empty() => {}
                Relay::Idle => actions.push(Action::RelayReads(relay)),
                Relay::Read(_) => actions.extend([Action::RelayPublishes(relay), Action::RelayDies(relay)]),
                Relay::Published(_) => actions.extend([Action::RelayStrikes(relay), Action::RelayDies(relay)]),
            }
        }
        if bounds.is_watched {
            let watching = self.watcher.actions(&self.surroundings(None), bounds);
            actions.extend(watching.into_iter().map(Action::Watching));
        }
        actions.extend(self.gateway_actions(bounds).into_iter().map(Action::Gateway));
        actions
    }

    /// The world after an action.
    pub fn after(&self, action: Action, bounds: &Bounds, flaw: Option<Flaw>) -> Self {
        let mut world = self.clone();
        world.happen(action, bounds, flaw);
        world.note_silent_gateways();
        world
    }

    fn happen(&mut self, action: Action, bounds: &Bounds, flaw: Option<Flaw>) {
        match action {
            Action::Open(connection) => {
                self.sockets[usize::from(connection)] = Socket::Open;
                self.send(Call::Connect(connection), bounds, flaw);
            }
            Action::Beat(connection) => self.send(Call::Heartbeat(connection), bounds, flaw),
            Action::Close(connection) => {
                self.sockets[usize::from(connection)] = Socket::Gone(self.now);
                self.send(Call::Disconnect(connection), bounds, flaw);
            }
            Action::Crash(connection) => self.sockets[usize::from(connection)] = Socket::Gone(self.now),
            Action::Play => self.run(bounds, flaw, |script| script.play()),
            Action::SetActivity | Action::RemoveActivity => {
                self.activities += 1;
                let activity = (action == Action::SetActivity).then_some(self.activities);
                self.run(bounds, flaw, |script| script.set_activity(activity));
            }
            Action::Arrive(call) => self.arrive(call, bounds, flaw),
            Action::Tick => self.pass(),
            Action::Flush => {
                let Seen { highest, fell, .. } = self.seen;
                self.redis = Redis::default();
                let beats = vec![None; self.sockets.len()];
                let gateways = self.seen.gateways.after_a_flush(self.now);
                self.seen = Seen { highest, fell, beats, gateways, ..Seen::default() };
                self.flushes += 1;
                self.pass();
            }
            Action::SweepReads(sweeper) => self.sweepers[sweeper] = true,
            Action::SweepLooksAgain(sweeper) => {
                self.sweepers[sweeper] = false;
                self.run(bounds, flaw, |script| script.sweep());
            }
            Action::RelayReads(relay) => {
                let event = self.redis.outbox[0];
                self.relays[relay] = Relay::Read(event);
                if flaw == Some(Flaw::StruckBeforeAck) {
                    self.strike(event);
                }
            }
            Action::RelayPublishes(relay) => self.publish(relay, flaw),
            Action::RelayStrikes(relay) => {
                if let Relay::Published(event) = std::mem::take(&mut self.relays[relay]) {
                    self.strike(event);
                }
            }
            Action::RelayDies(relay) => self.relays[relay] = Relay::Idle,
            Action::Watching(action) => {
                let mut watcher = std::mem::take(&mut self.watcher);
                watcher.happen(action, &self.surroundings(flaw));
                self.watcher = watcher;
            }
            Action::Gateway(action) => self.happen_to_gateways(action, bounds, flaw),
        }
    }

    fn surroundings(&self, flaw: Option<Flaw>) -> Surroundings<'_> {
        let Self { now, redis, stream: events, flushes, .. } = self;
        Surroundings { now: *now, redis, events, flushes: *flushes, flaw }
    }

    pub(crate) fn send(&mut self, call: Call, bounds: &Bounds, flaw: Option<Flaw>) {
        if bounds.is_network_reliable {
            return self.arrive(call, bounds, flaw);
        }
        self.network.insert(call, self.now);
    }

    pub(crate) fn pass(&mut self) {
        self.now += 1;
        self.redis.expire(self.now);
        self.network.retain(|_, sent_at| self.now <= *sent_at + LONGEST_WAY);
    }

    fn arrive(&mut self, call: Call, bounds: &Bounds, flaw: Option<Flaw>) {
        match call {
            Call::Connect(connection) | Call::Heartbeat(connection) => {
                let gateway = self.fleet.gateway_of(connection);
                let counts = self.run(bounds, flaw, |script| match call {
                    Call::Connect(_) => script.connect(connection, gateway),
                    _ => script.heartbeat(connection, gateway),
                });
                if counts {
                    self.seen.beats[usize::from(connection)] = Some(self.now);
                }
                self.note_beat(connection, gateway, counts);
            }
            Call::Renew(gateway) => self.renewal_arrives(gateway, bounds, flaw),
            Call::Disconnect(connection) => {
                self.run(bounds, flaw, |script| script.disconnect(connection));
                self.seen.ended.insert(connection);
            }
        }
    }

    pub(crate) fn run<T>(&mut self, bounds: &Bounds, flaw: Option<Flaw>, work: impl FnOnce(&mut Script<'_>) -> T) -> T {
        let redis = &mut self.redis;
        let Bounds { ttl, grace, .. } = *bounds;
        let mut script = Script { redis, now: self.now, ttl, grace, flaw, events: Vec::new() };
        let result = work(&mut script);
        for event in script.events {
            self.seen.fell |= event.version <= self.seen.highest;
            self.seen.highest = self.seen.highest.max(event.version);
            self.seen.made.push(event);
        }
        result
    }

    fn publish(&mut self, relay: usize, flaw: Option<Flaw>) {
        let Relay::Read(event) = self.relays[relay] else { return };
        let is_there = self.stream.iter().any(|other| other.version == event.version);
        if !is_there || flaw == Some(Flaw::NoMessageId) {
            self.stream.push(event);
        }
        self.relays[relay] = Relay::Published(event);
    }

    fn strike(&mut self, event: Event) {
        self.redis.outbox.retain(|other| *other != event);
    }

    /// Whether a connection counts in what a read answers. A lease that ran out may still stand in the record.
    pub fn counts(&self, connection: Connection) -> bool {
        let record = self.redis.record.as_ref();
        record.and_then(|record| record.leases.get(&connection)).is_some_and(|lease| lease.expires_at > self.now)
    }

    /// The state and activity that a consumer believes in who has read the whole stream, and goes by versions.
    pub fn believed(&self) -> (Presence, Option<Activity>) {
        let newest = self.stream.iter().max_by_key(|event| event.version);
        newest.map_or((Presence::Offline, None), |event| (event.after, event.activity))
    }
}
