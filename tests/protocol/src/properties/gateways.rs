//! Properties of gateways with leases.

use stateright::Property;

use crate::{
    Protocol,
    gateways::Status,
    redis::{Connection, Presence},
    system::{Socket, System},
};

/// Once a gateway is dead and its end is complete, none of its connections counts. Until then, a
/// sweeper finds it. Calls that arrive after it was lost are an exception: they count like those of
/// a gateway without a lease.
pub const DEAD_GATEWAY: &str = "the next sweep finds the connections of a dead gateway";
/// The players of a gateway are online if it renews its lease, and has announced its connections if
/// it was new.
pub const LIVE_GATEWAY: &str = "the connections of a gateway that lives count";
/// An ended lease does not close its connection.
pub const NOT_REFUSED: &str = "a connection that was not closed is never refused";
/// A planned restart of a gateway causes no event.
pub const MOVE: &str = "a player whose gateway moves is not OFFLINE within the grace";
/// When half of the gateways expire at once, or all of them after the sweeps paused, they are more
/// likely alive than dead.
pub const HELD: &str = "no gateway is lost during a hold";
/// A gateway is dead once a TTL has passed without a renewal since the sweeps had a reason to wait.
pub const NOT_PROLONGED: &str = "no hold is longer than one TTL";
/// The index of a gateway's connections is correct.
pub const OWNERS: &str = "the owners are the connections that belong to gateways";

/// All properties of gateways with leases.
pub(super) fn all() -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::<Protocol>::always(DEAD_GATEWAY, |_, system| {
            let mut owners = system.seen.gateways.owners.iter();
            owners.all(|(connection, gateway)| {
                !system.counts(*connection) || is_found(system, *connection, *gateway)
            })
        }),
        Property::<Protocol>::always(LIVE_GATEWAY, |protocol, system| {
            let do_leases_last = protocol.bounds.ttl > protocol.bounds.ticks;
            !do_leases_last
                || system
                    .open_connections()
                    .all(|connection| is_live(system, connection))
        }),
        Property::<Protocol>::always(NOT_REFUSED, |_, system| !system.seen.gateways.was_refused),
        Property::<Protocol>::always(MOVE, |_, system| !system.has_grace_failed()),
        Property::<Protocol>::always(HELD, |_, system| !system.seen.gateways.was_lost_early),
        Property::<Protocol>::always(NOT_PROLONGED, |_, system| {
            !system.seen.gateways.was_held_late
        }),
        Property::<Protocol>::always(OWNERS, |_, system| {
            let owners = &system.redis.gateways.owners;
            let leases = system.redis.record.iter().flat_map(|record| &record.leases);
            let mut owned =
                leases.filter_map(|(connection, lease)| Some((lease.gateway?, *connection)));
            let is_due = system.redis.is_due(); // then the shadow has the leases
            is_due
                || (owned.clone().all(|owner| owners.contains(&owner))
                    && owned.by_ref().count() == owners.len())
        }),
    ];
    properties.extend(occur_in_some_state());
    properties
}

/// Whether a sweeper will end this connection's lease, or need not as its gateway is alive or was
/// lost before the call.
fn is_found(system: &System, connection: Connection, gateway: u8) -> bool {
    let gateways = &system.redis.gateways;
    let is_up = system.fleet.gateways[usize::from(gateway)].status == Status::Up;
    let is_recorded = gateways.leases.contains_key(&gateway)
        || gateways
            .ending
            .iter()
            .any(|ending| ending.gateway == gateway);
    let ended_at = system.seen.gateways.ended_at.get(&gateway);
    let was_late = ended_at
        .is_some_and(|ended_at| system.seen.heartbeats[usize::from(connection)] >= Some(*ended_at));
    is_up || is_recorded || was_late
}

fn is_live(system: &System, connection: Connection) -> bool {
    let Some(gateway) = system.fleet.gateway_of(connection) else {
        return true;
    };
    let process = &system.fleet.gateways[usize::from(gateway)];
    let is_known =
        process.status == Status::Up && system.redis.gateways.leases.contains_key(&gateway);
    let is_announced = process.unannounced.is_empty()
        && system.seen.gateways.owners.get(&connection) == Some(&gateway);
    !(is_known && is_announced) || system.counts(connection)
}

fn occur_in_some_state() -> [Property<Protocol>; 5] {
    [
        Property::<Protocol>::sometimes(
            "a player goes OFFLINE with its gateway",
            |protocol, system| {
                let is_lost = !system.seen.gateways.ended_at.is_empty()
                    && system.redis.gateways.ending.is_empty();
                let is_gone = system
                    .seen
                    .emitted
                    .last()
                    .is_some_and(|event| event.after == Presence::Offline);
                protocol.bounds.gateways.gateways == 0
                    || (is_lost && is_gone && system.seen.ended.is_empty())
            },
        ),
        Property::<Protocol>::sometimes(
            "a gateway that was lost returns, and its player with it",
            |protocol, system| {
                let has_returned =
                    system.seen.emitted.len() == 3 && system.redis.presence() == Presence::Online;
                let is_same_socket = system
                    .sockets
                    .iter()
                    .filter(|socket| **socket != Socket::Unopened)
                    .count()
                    == 1;
                protocol.bounds.gateways.gateways == 0
                    || (has_returned
                        && is_same_socket
                        && system.flushes == 0
                        && system.open_connections().count() == 1)
            },
        ),
        Property::<Protocol>::sometimes(
            "a second device survives the loss of a gateway",
            |protocol, system| {
                let gateways = protocol.bounds.gateways;
                let is_lost = !system.seen.gateways.ended_at.is_empty()
                    && system.redis.gateways.ending.is_empty();
                let counted = (0..protocol.bounds.connections)
                    .filter(|connection| system.counts(*connection))
                    .count();
                let are_both_reported = system.seen.gateways.owners.len() == 2;
                protocol.bounds.connections < 2
                    || gateways.gateways < 2
                    || (is_lost
                        && counted == 1
                        && are_both_reported
                        && system.seen.emitted.len() == 1)
            },
        ),
        Property::<Protocol>::sometimes(
            "a player moves to another gateway without an event",
            |protocol, system| {
                let has_left = system
                    .fleet
                    .gateways
                    .iter()
                    .any(|process| process.status == Status::Left);
                let was_closed = matches!(system.sockets.first(), Some(Socket::Closed(_)));
                let is_back =
                    system.counts(1) && !system.counts(0) && system.seen.emitted.len() == 1;
                let gateways = protocol.bounds.gateways;
                protocol.bounds.connections < 2
                    || !gateways.have_leaving
                    || gateways.gateways < 2
                    || (has_left && was_closed && is_back && system.seen.ended.is_empty())
            },
        ),
        Property::<Protocol>::sometimes(
            "a hold ends after one TTL, and a gateway is lost",
            |protocol, system| {
                let is_over = system.seen.gateways.held_from.is_some_and(|from| {
                    system
                        .seen
                        .gateways
                        .ended_at
                        .values()
                        .any(|ended_at| *ended_at > from)
                });
                protocol.bounds.gateways.gateways < 3 || is_over
            },
        ),
    ]
}
