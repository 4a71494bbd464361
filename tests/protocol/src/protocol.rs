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
    /// Whether each call arrives at once, and once. Then gateways need no heartbeats.
    pub is_network_reliable: bool,
    /// Whether a caller watches the player.
    pub is_watched: bool,
    /// How often the watcher's stream, or the events of its server, may be interrupted.
    pub interruptions: u8,
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
