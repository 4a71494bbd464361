//! The model, as the checker takes it.

use stateright::{Model, Property};

use crate::{
    Flaw, properties,
    redis::Tick,
    world::{Action, World},
};

/// How large the world is.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The player's connections, each with a gateway of its own.
    pub connections: u8,
    /// When time stops.
    pub ticks: Tick,
    /// How long a connection's lease lasts without a heartbeat.
    pub ttl: Tick,
    /// How long a player whose last connection went may come back unnoticed.
    pub grace: Tick,
    /// Sweepers at work.
    pub sweepers: usize,
    /// Relays at work.
    pub relays: usize,
    /// How often Redis may lose everything.
    pub flushes: u8,
    /// Whether the player plays.
    pub has_matches: bool,
    /// How often the player's activity may be set or removed.
    pub activities: u8,
    /// Whether each call arrives at once, and once. Then gateways need no heartbeats.
    pub is_network_reliable: bool,
    /// Whether a caller watches the player.
    pub is_watched: bool,
    /// How often the watcher's stream, or the events of its server, may be interrupted.
    pub interruptions: u8,
    /// Gateways that hold leases of their own.
    pub gateways: GatewayBounds,
}

/// How much happens to gateways that hold leases.
#[derive(Debug, Clone, Copy)]
pub struct GatewayBounds {
    /// The number of gateways; they take turns in having the connections. 0: each connection has a gateway without a lease.
    pub gateways: u8,
    /// Sweepers that look for lost gateways.
    pub sweepers: usize,
    /// How often Redis may hang for longer than a gateway's lease lasts.
    pub outages: u8,
    /// Whether gateways die. One that does not renew its lease is taken for dead.
    pub have_deaths: bool,
    /// Whether single sockets are closed.
    pub have_closing: bool,
    /// Whether gateways leave.
    pub have_leaving: bool,
    /// Whether a gateway that died may start again with its id.
    pub have_restarts: bool,
    /// Whether a connection may move to another gateway.
    pub have_handovers: bool,
}

impl GatewayBounds {
    /// No gateway holds a lease.
    pub const NONE: Self = Self {
        gateways: 0,
        sweepers: 0,
        outages: 0,
        have_deaths: false,
        have_closing: false,
        have_leaving: false,
        have_restarts: false,
        have_handovers: false,
    };
}

/// The protocol within bounds, with a rule left out or none.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// How large the world is.
    pub bounds: Bounds,
    /// The rule that is left out.
    pub flaw: Option<Flaw>,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.bounds)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.actions(&self.bounds));
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(world.after(action, &self.bounds, self.flaw))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
