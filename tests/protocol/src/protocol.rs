//! The model for the checker.

use stateright::{Model, Property};

use crate::{
    Mutation, properties,
    redis::Tick,
    system::{Action, System},
};

/// The bounds of the model.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The player's connections, each with a gateway of its own.
    pub connections: u8,
    /// When time stops.
    pub ticks: Tick,
    /// How long a connection's lease lasts without a heartbeat.
    pub ttl: Tick,
    /// How long a player without connections may come back without an event.
    pub grace: Tick,
    /// The number of sweepers.
    pub sweepers: usize,
    /// The number of relays.
    pub relays: usize,
    /// How often Redis may lose its data.
    pub flushes: u8,
    /// Whether the player can enter matches.
    pub has_matches: bool,
    /// How often the player's activity may be set or removed.
    pub activities: u8,
    /// Whether each call arrives immediately and exactly once. Gateways then need no heartbeats.
    pub is_network_reliable: bool,
    /// Whether a caller watches the player.
    pub is_watched: bool,
    /// How often the watcher's stream, or the events of its server, may be interrupted.
    pub interruptions: u8,
    /// Gateways that hold leases of their own.
    pub gateways: GatewayBounds,
}

/// The bounds for gateways that hold leases.
#[derive(Debug, Clone, Copy)]
pub struct GatewayBounds {
    /// The number of gateways, to which the connections are assigned in turn. 0: each connection
    /// has a gateway without a lease.
    pub gateways: u8,
    /// Sweepers that look for lost gateways.
    pub sweepers: usize,
    /// How often Redis may hang for longer than a gateway's lease lasts.
    pub outages: u8,
    /// Whether gateways die. One that does not renew its lease is considered dead.
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

/// The protocol within bounds, with at most one rule left out.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// The bounds of the model.
    pub bounds: Bounds,
    /// The rule that is left out, if any.
    pub mutation: Option<Mutation>,
}

impl Model for Protocol {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        vec![System::new(&self.bounds)]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        actions.extend(system.actions(&self.bounds));
    }

    fn next_state(&self, system: &System, action: Action) -> Option<System> {
        Some(system.after(action, &self.bounds, self.mutation))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}
