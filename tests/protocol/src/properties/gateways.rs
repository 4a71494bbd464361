//! What must hold of gateways with leases.

use stateright::Property;

use crate::{
    Protocol,
    gateways::Status,
    redis::{Connection, Presence},
    world::{Socket, World},
};

/// Once a gateway is dead and its end is complete, none of its connections counts; until then, a sweeper finds it. Except
/// for calls that arrived only after it was lost: they are as those of a gateway without a lease.
pub const DEAD_GATEWAY: &str = "what a dead gateway leaves is found by the next sweep";
/// A gateway that renews its lease, and has announced its connections if it was new, has its players online.
pub const LIVE_GATEWAY: &str = "the connections of a gateway that lives count";
/// Ended is not closed.
pub const NOT_REFUSED: &str = "a connection that was not closed is never refused";
/// A restart of a gateway is no news.
pub const MOVE: &str = "a player whose gateway moves is not OFFLINE within the grace";
/// Half of the gateways, or all of them after the sweeps paused, are more likely alive than dead.
pub const HELD: &str = "no gateway is lost while nothing may be ended";
/// A gateway is dead once a TTL has passed without a renewal since the sweeps had a reason to wait.
pub const NOT_PROLONGED: &str = "nothing is held for longer than one TTL";
/// The number of a gateway's connections is right.
pub const OWNERS: &str = "the owners are the connections that belong to gateways";

/// All properties of gateways with leases.
pub(super) fn all() -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::<Protocol>::always(DEAD_GATEWAY, |_, world| {
            let mut owners = world.seen.gateways.owners.iter();
            owners.all(|(connection, gateway)| !world.counts(*connection) || is_found(world, *connection, *gateway))
        }),
        Property::<Protocol>::always(LIVE_GATEWAY, |protocol, world| {
            let do_leases_last = protocol.bounds.ttl > protocol.bounds.ticks;
            !do_leases_last || world.open_connections().all(|connection| is_live(world, connection))
        }),
        Property::<Protocol>::always(NOT_REFUSED, |_, world| !world.seen.gateways.was_refused),
        Property::<Protocol>::always(MOVE, |_, world| !world.has_grace_failed()),
        Property::<Protocol>::always(HELD, |_, world| !world.seen.gateways.was_lost_early),
        Property::<Protocol>::always(NOT_PROLONGED, |_, world| !world.seen.gateways.was_held_late),
        Property::<Protocol>::always(OWNERS, |_, world| {
            let owners = &world.redis.gateways.owners;
            let leases = world.redis.record.iter().flat_map(|record| &record.leases);
            let mut owned = leases.filter_map(|(connection, lease)| Some((lease.gateway?, *connection)));
            let is_due = world.redis.is_due(); // then the past has the leases
            is_due || (owned.clone().all(|owner| owners.contains(&owner)) && owned.by_ref().count() == owners.len())
        }),
    ];
    properties.extend(seen_in_some_states());
    properties
}

/// Whether a sweeper will end this connection's lease, or need not: its gateway lives, or was lost before the call.
fn is_found(world: &World, connection: Connection, gateway: u8) -> bool {
    let gateways = &world.redis.gateways;
    let is_up = world.fleet.gateways[usize::from(gateway)].status == Status::Up;
    let is_noted =
        gateways.leases.contains_key(&gateway) || gateways.ending.iter().any(|ending| ending.gateway == gateway);
    let ended_at = world.seen.gateways.ended_at.get(&gateway);
    let was_late = ended_at.is_some_and(|ended_at| world.seen.beats[usize::from(connection)] >= Some(*ended_at));
    is_up || is_noted || was_late
}

fn is_live(world: &World, connection: Connection) -> bool {
    let Some(gateway) = world.fleet.gateway_of(connection) else { return true };
    let process = &world.fleet.gateways[usize::from(gateway)];
    let is_known = process.status == Status::Up && world.redis.gateways.leases.contains_key(&gateway);
    let is_announced = process.unannounced.is_empty() && world.seen.gateways.owners.get(&connection) == Some(&gateway);
    !(is_known && is_announced) || world.counts(connection)
}

fn seen_in_some_states() -> [Property<Protocol>; 5] {
    [
        Property::<Protocol>::sometimes("a player goes OFFLINE with its gateway", |protocol, world| {
            let is_lost = !world.seen.gateways.ended_at.is_empty() && world.redis.gateways.ending.is_empty();
            let is_gone = world.seen.made.last().is_some_and(|event| event.after == Presence::Offline);
            protocol.bounds.gateways.gateways == 0 || (is_lost && is_gone && world.seen.ended.is_empty())
        }),
        Property::<Protocol>::sometimes(
            "a gateway that was lost returns, and its player with it",
            |protocol, world| {
                let has_returned = world.seen.made.len() == 3 && world.redis.presence() == Presence::Online;
                let is_same_socket = world.sockets.iter().filter(|socket| **socket != Socket::Unopened).count() == 1;
                protocol.bounds.gateways.gateways == 0
                    || (has_returned && is_same_socket && world.flushes == 0 && world.open_connections().count() == 1)
            },
        ),
        Property::<Protocol>::sometimes("a second device survives the loss of a gateway", |protocol, world| {
            let gateways = protocol.bounds.gateways;
            let is_lost = !world.seen.gateways.ended_at.is_empty() && world.redis.gateways.ending.is_empty();
            let counted = (0..protocol.bounds.connections).filter(|connection| world.counts(*connection)).count();
            let are_both_reported = world.seen.gateways.owners.len() == 2;
            protocol.bounds.connections < 2
                || gateways.gateways < 2
                || (is_lost && counted == 1 && are_both_reported && world.seen.made.len() == 1)
        }),
        Property::<Protocol>::sometimes("a player moves to another gateway without an event", |protocol, world| {
            let has_left = world.fleet.gateways.iter().any(|process| process.status == Status::Left);
            let was_closed = matches!(world.sockets.first(), Some(Socket::Gone(_)));
            let is_back = world.counts(1) && !world.counts(0) && world.seen.made.len() == 1;
            let gateways = protocol.bounds.gateways;
            protocol.bounds.connections < 2
                || !gateways.have_leaving
                || gateways.gateways < 2
                || (has_left && was_closed && is_back && world.seen.ended.is_empty())
        }),
        Property::<Protocol>::sometimes("nothing is ended for one TTL, then a gateway is lost", |protocol, world| {
            let is_over = world
                .seen
                .gateways
                .held_from
                .is_some_and(|from| world.seen.gateways.ended_at.values().any(|ended_at| *ended_at > from));
            protocol.bounds.gateways.gateways < 3 || is_over
        }),
    ]
}
