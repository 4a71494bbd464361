//! The state of the whole system: gateways, the network, sweepers, relays and the stream around
//! Redis.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Bounds, Mutation,
    gateway_leases::Gateway,
    gateways::{Fleet, GatewayAction, SeenGateways},
    redis::{Activity, Connection, Event, Presence, Redis, Script, Tick},
    watcher::{Surroundings, WatchAction, Watcher},
};

/// The number of ticks within which a call can arrive, any number of times and in any order. A call
/// that does not arrive is lost, as its sender has stopped waiting.
pub const MAX_LATENCY: Tick = 1;

/// One state of the whole system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct System {
    /// Redis's clock.
    pub now: Tick,
    /// The sockets, one per connection.
    pub sockets: Vec<Socket>,
    /// Calls that can arrive, with the time at which they were last sent.
    pub network: BTreeMap<Call, Tick>,
    /// The data in Redis.
    pub redis: Redis,
    /// Whether each sweeper has read that the player is due and has not checked the player yet. A
    /// sweeper that never does is dead.
    pub sweepers: Vec<bool>,
    /// The state of each relay. A function that publishes its own call's events is a relay, too.
    pub relays: Vec<Relay>,
    /// The events in the stream, in order.
    pub stream: Vec<Event>,
    /// A caller that watches the player.
    pub watcher: Watcher,
    /// Gateways that hold leases.
    pub fleet: Fleet,
    /// The number of flushes of Redis.
    pub flushes: u8,
    /// The number of changes of the activity.
    pub activities: u8,
    /// Observations for the properties.
    pub seen: Seen,
}

/// Observations for the properties, which no part of the system knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Seen {
    /// Every transition since the last flush, in order.
    pub emitted: Vec<Event>,
    /// The highest version ever given.
    pub highest: u16,
    /// Whether a version was not above all earlier ones.
    pub has_version_decreased: bool,
    /// When each connection's lease was last renewed, since the last flush.
    pub heartbeats: Vec<Option<Tick>>,
    /// Connections whose disconnect arrived, since the last flush.
    pub ended: BTreeSet<Connection>,
    /// What happened to gateways that hold leases.
    pub gateways: SeenGateways,
}

/// The state of a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Socket {
    /// The socket was never open.
    #[default]
    Unopened,
    /// The player is connected.
    Open,
    /// The socket was closed, or died with its gateway, at this time.
    Closed(Tick),
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

/// The next step of a relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Relay {
    /// To read the outbox.
    #[default]
    Idle,
    /// To publish this event.
    Read(Event),
    /// To remove this event from the outbox, as JetStream has acknowledged it.
    Published(Event),
}

/// An action in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// A socket is opened, and its gateway reports it.
    Open(Connection),
    /// A gateway sends a heartbeat.
    Heartbeat(Connection),
    /// A socket is closed, and its gateway reports it.
    Close(Connection),
    /// A gateway dies without reporting it.
    Crash(Connection),
    /// A match begins.
    Play,
    /// The player sets an activity.
    SetActivity,
    /// The player removes the activity.
    RemoveActivity,
    /// A call arrives, and may arrive again.
    Arrive(Call),
    /// Time passes.
    Tick,
    /// Redis loses its data, which takes a tick.
    Flush,
    /// A sweeper reads the index.
    SweepReads(usize),
    /// A sweeper checks the player that it read from the index.
    SweepChecks(usize),
    /// A relay reads the outbox.
    RelayReads(usize),
    /// A relay publishes the event that it read.
    RelayPublishes(usize),
    /// A relay removes the event that it published from the outbox.
    RelayRemoves(usize),
    /// A relay dies with the event that it holds.
    RelayDies(usize),
    /// An action of the watcher or its server.
    Watching(WatchAction),
    /// An action of gateways that hold leases.
    Gateway(GatewayAction),
}

impl System {
    /// The initial state, in which the player has never connected.
    pub fn new(bounds: &Bounds) -> Self {
        let mut system = Self {
            sockets: vec![Socket::Unopened; bounds.connections.into()],
            sweepers: vec![false; bounds.sweepers],
            relays: vec![Relay::Idle; bounds.relays],
            seen: Seen {
                heartbeats: vec![None; bounds.connections.into()],
                ..Seen::default()
            },
            ..Self::default()
        };
        system.start_gateways(bounds);
        system
    }

    /// The actions that are possible in this state.
    pub fn actions(&self, bounds: &Bounds) -> Vec<Action> {
        let mut actions = Vec::new();
        for (connection, socket) in (0..).zip(&self.sockets) {
            let has_leases = bounds.gateways.gateways > 0;
            match socket {
                Socket::Unopened if self.has_gateway(connection) => {
                    actions.push(Action::Open(connection))
                }
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
                        actions.push(Action::Heartbeat(connection));
                    }
                }
                _ => {}
            }
        }
        if bounds.has_matches {
            actions.push(Action::Play);
        }
        // For an OFFLINE player, setting an activity is refused, and removing one does nothing.
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
                true => actions.push(Action::SweepChecks(sweeper)),
            }
        }
        for (relay, step) in self.relays.iter().enumerate() {
            match step {
                Relay::Idle if self.redis.outbox.is_empty() => {}
                Relay::Idle => actions.push(Action::RelayReads(relay)),
                Relay::Read(_) => {
                    actions.extend([Action::RelayPublishes(relay), Action::RelayDies(relay)])
                }
                Relay::Published(_) => {
                    actions.extend([Action::RelayRemoves(relay), Action::RelayDies(relay)])
                }
            }
        }
        if bounds.is_watched {
            let watching = self.watcher.actions(&self.surroundings(None), bounds);
            actions.extend(watching.into_iter().map(Action::Watching));
        }
        actions.extend(
            self.gateway_actions(bounds)
                .into_iter()
                .map(Action::Gateway),
        );
        actions
    }

    /// The state after an action.
    pub fn after(&self, action: Action, bounds: &Bounds, mutation: Option<Mutation>) -> Self {
        let mut system = self.clone();
        system.apply(action, bounds, mutation);
        system.record_silent_gateways();
        system
    }

    fn apply(&mut self, action: Action, bounds: &Bounds, mutation: Option<Mutation>) {
        match action {
            Action::Open(connection) => {
                self.sockets[usize::from(connection)] = Socket::Open;
                self.send(Call::Connect(connection), bounds, mutation);
            }
            Action::Heartbeat(connection) => {
                self.send(Call::Heartbeat(connection), bounds, mutation)
            }
            Action::Close(connection) => {
                self.sockets[usize::from(connection)] = Socket::Closed(self.now);
                self.send(Call::Disconnect(connection), bounds, mutation);
            }
            Action::Crash(connection) => {
                self.sockets[usize::from(connection)] = Socket::Closed(self.now)
            }
            Action::Play => self.run(bounds, mutation, |script| script.play()),
            Action::SetActivity | Action::RemoveActivity => {
                self.activities += 1;
                let activity = (action == Action::SetActivity).then_some(self.activities);
                self.run(bounds, mutation, |script| script.set_activity(activity));
            }
            Action::Arrive(call) => self.arrive(call, bounds, mutation),
            Action::Tick => self.advance_clock(),
            Action::Flush => {
                let Seen {
                    highest,
                    has_version_decreased,
                    ..
                } = self.seen;
                self.redis = Redis::default();
                let heartbeats = vec![None; self.sockets.len()];
                let gateways = self.seen.gateways.after_a_flush(self.now);
                self.seen = Seen {
                    highest,
                    has_version_decreased,
                    heartbeats,
                    gateways,
                    ..Seen::default()
                };
                self.flushes += 1;
                self.advance_clock();
            }
            Action::SweepReads(sweeper) => self.sweepers[sweeper] = true,
            Action::SweepChecks(sweeper) => {
                self.sweepers[sweeper] = false;
                self.run(bounds, mutation, |script| script.sweep());
            }
            Action::RelayReads(relay) => {
                let event = self.redis.outbox[0];
                self.relays[relay] = Relay::Read(event);
                if mutation == Some(Mutation::RemovedBeforeAck) {
                    self.remove_done(event);
                }
            }
            Action::RelayPublishes(relay) => self.publish(relay, mutation),
            Action::RelayRemoves(relay) => {
                if let Relay::Published(event) = std::mem::take(&mut self.relays[relay]) {
                    self.remove_done(event);
                }
            }
            Action::RelayDies(relay) => self.relays[relay] = Relay::Idle,
            Action::Watching(action) => {
                let mut watcher = std::mem::take(&mut self.watcher);
                watcher.apply(action, &self.surroundings(mutation));
                self.watcher = watcher;
            }
            Action::Gateway(action) => self.apply_to_gateways(action, bounds, mutation),
        }
    }

    fn surroundings(&self, mutation: Option<Mutation>) -> Surroundings<'_> {
        let Self {
            now,
            redis,
            stream: events,
            flushes,
            ..
        } = self;
        Surroundings {
            now: *now,
            redis,
            events,
            flushes: *flushes,
            mutation,
        }
    }

    pub(crate) fn send(&mut self, call: Call, bounds: &Bounds, mutation: Option<Mutation>) {
        if bounds.is_network_reliable {
            return self.arrive(call, bounds, mutation);
        }
        self.network.insert(call, self.now);
    }

    /// Advances the clock by one tick.
    pub(crate) fn advance_clock(&mut self) {
        self.now += 1;
        self.redis.expire(self.now);
        self.network
            .retain(|_, sent_at| self.now <= *sent_at + MAX_LATENCY);
    }

    /// Executes a call that arrives.
    fn arrive(&mut self, call: Call, bounds: &Bounds, mutation: Option<Mutation>) {
        match call {
            Call::Connect(connection) | Call::Heartbeat(connection) => {
                let gateway = self.fleet.gateway_of(connection);
                let counts = self.run(bounds, mutation, |script| match call {
                    Call::Connect(_) => script.connect(connection, gateway),
                    _ => script.heartbeat(connection, gateway),
                });
                if counts {
                    self.seen.heartbeats[usize::from(connection)] = Some(self.now);
                }
                self.record_heartbeat(connection, gateway, counts);
            }
            Call::Renew(gateway) => self.renew_gateway(gateway, bounds, mutation),
            Call::Disconnect(connection) => {
                self.run(bounds, mutation, |script| script.disconnect(connection));
                self.seen.ended.insert(connection);
            }
        }
    }

    /// Runs a script, and records its events.
    pub(crate) fn run<T>(
        &mut self,
        bounds: &Bounds,
        mutation: Option<Mutation>,
        work: impl FnOnce(&mut Script<'_>) -> T,
    ) -> T {
        let redis = &mut self.redis;
        let Bounds { ttl, grace, .. } = *bounds;
        let mut script = Script {
            redis,
            now: self.now,
            ttl,
            grace,
            mutation,
            events: Vec::new(),
        };
        let result = work(&mut script);
        for event in script.events {
            self.seen.has_version_decreased |= event.version <= self.seen.highest;
            self.seen.highest = self.seen.highest.max(event.version);
            self.seen.emitted.push(event);
        }
        result
    }

    fn publish(&mut self, relay: usize, mutation: Option<Mutation>) {
        let Relay::Read(event) = self.relays[relay] else {
            return;
        };
        let is_duplicate = self
            .stream
            .iter()
            .any(|other| other.version == event.version);
        if !is_duplicate || mutation == Some(Mutation::NoMessageId) {
            self.stream.push(event);
        }
        self.relays[relay] = Relay::Published(event);
    }

    fn remove_done(&mut self, event: Event) {
        self.redis.outbox.retain(|other| *other != event);
    }

    /// Whether a connection counts in a read. The record may still hold a lease that has expired.
    pub fn counts(&self, connection: Connection) -> bool {
        let record = self.redis.record.as_ref();
        record
            .and_then(|record| record.leases.get(&connection))
            .is_some_and(|lease| lease.expires_at > self.now)
    }

    /// The state and activity that a consumer derives from the whole stream, ordered by version.
    pub fn consumer_view(&self) -> (Presence, Option<Activity>) {
        let newest = self.stream.iter().max_by_key(|event| event.version);
        newest.map_or((Presence::Offline, None), |event| {
            (event.after, event.activity)
        })
    }
}
