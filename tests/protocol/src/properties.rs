//! What must hold in every state, and what must be seen in some, or the model would show nothing.

mod gateways;

use std::collections::HashSet;

use stateright::Property;

use crate::{
    Bounds, Protocol,
    redis::Presence,
    world::{LONGEST_WAY, Relay, Socket},
};

pub use gateways::{DEAD_GATEWAY, HELD, LIVE_GATEWAY, MOVE, NOT_PROLONGED, NOT_REFUSED, OWNERS};

/// A record outlives the last socket by the TTL at most, counted from the last call that can have arrived.
pub const NO_GHOST: &str = "no ghost outlives the TTL";
/// A sweep that comes now makes the OFFLINE transition.
pub const FOUND: &str = "the next sweep finds every expired player";
/// Events follow on each other, and on what Redis holds: no end has two OFFLINE events, none has none.
pub const ONE_END: &str = "every end is one OFFLINE event";
/// Also across OFFLINE and a flush.
pub const VERSIONS: &str = "versions rise";
/// Each transition stands in the outbox or in the stream.
pub const NO_LOSS: &str = "no event is lost";
/// However many relays publish it.
pub const NO_DOUBLE: &str = "no event is in the stream twice";
/// Whatever arrives after its disconnect.
pub const CLOSED: &str = "a closed connection stays closed";
/// A connection that counted anew less than a TTL ago still counts, and its player is not OFFLINE.
pub const NO_FALSE_END: &str = "a connection with heartbeats counts";
/// Once nothing waits, and nobody is due.
pub const TRUTH: &str = "a consumer that follows versions knows the truth";
/// Neither reads nor events say what an OFFLINE player is doing, and it does not come back with the player.
pub const ACTIVITY_ENDS: &str = "an activity ends when its player goes OFFLINE";

/// Also after lost events, broken streams and a flush.
pub const WATCHER_TRUTH: &str = "once quiet, a watcher equals Redis";
/// Whatever arrives in which order.
pub const WATCHER_VERSIONS: &str = "versions never decrease on a stream";
/// Also if the caller knew an earlier version.
pub const WATCHER_SNAPSHOT: &str = "a snapshot is no older than its request";

/// All of them.
pub fn all() -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::<Protocol>::always(NO_GHOST, |protocol, world| {
            let over = |at| world.now >= at + LONGEST_WAY + protocol.bounds.ttl.max(protocol.bounds.grace);
            let is_over = |socket: &Socket| match socket {
                Socket::Unopened => true,
                Socket::Open => false,
                Socket::Gone(at) => over(*at),
            };
            !world.sockets.iter().all(is_over) || world.redis.record.is_none()
        }),
        Property::<Protocol>::always(FOUND, |_, world| {
            !world.redis.is_due() || world.redis.index.is_some_and(|due_at| due_at <= world.now)
        }),
        Property::<Protocol>::always(ONE_END, |_, world| {
            let made = &world.seen.made;
            let last = made.last().map_or(Presence::Offline, |event| event.after);
            let first_follows = made.first().is_none_or(|event| event.before == Presence::Offline);
            let believes = world.redis.past.as_ref().map_or(Presence::Offline, |past| past.presence);
            first_follows && made.windows(2).all(|pair| pair[0].after == pair[1].before) && last == believes
        }),
        Property::<Protocol>::always(VERSIONS, |_, world| !world.seen.fell),
        Property::<Protocol>::always(NO_LOSS, |_, world| {
            let mut made = world.seen.made.iter();
            made.all(|event| world.redis.outbox.contains(event) || world.stream.contains(event))
        }),
        Property::<Protocol>::always(NO_DOUBLE, |_, world| {
            let mut ids = HashSet::new();
            world.stream.iter().all(|event| ids.insert(event.version))
        }),
        Property::<Protocol>::always(CLOSED, |_, world| {
            world.seen.ended.iter().all(|connection| !world.counts(*connection))
        }),
        Property::<Protocol>::always(NO_FALSE_END, |protocol, world| {
            (0..).zip(&world.seen.beats).all(|(connection, beat)| {
                let is_fresh = beat.is_some_and(|beat| world.now < beat + protocol.bounds.ttl);
                let may_end =
                    world.seen.ended.contains(&connection) || world.seen.gateways.may_end.contains(&connection);
                !is_fresh || may_end || world.counts(connection)
            })
        }),
        Property::<Protocol>::always(TRUTH, |_, world| {
            let is_quiet = world.redis.outbox.is_empty() && !world.redis.is_due() && world.flushes == 0;
            !is_quiet || world.believed() == (world.redis.presence(), world.redis.activity())
        }),
        Property::<Protocol>::always(ACTIVITY_ENDS, |_, world| {
            let mut ends =
                world.seen.made.iter().filter(|event| [event.before, event.after].contains(&Presence::Offline));
            let is_offline = world.redis.presence() == Presence::Offline;
            ends.all(|event| event.activity.is_none()) && !(is_offline && world.redis.activity().is_some())
        }),
        Property::<Protocol>::always(WATCHER_TRUTH, |_, world| {
            let is_settled = world.redis.outbox.is_empty() && !world.redis.is_due();
            let is_quiet = is_settled && world.watcher.is_quiet(world.stream.len(), world.flushes);
            !is_quiet || world.watcher.held == Some(world.redis.fact())
        }),
        Property::<Protocol>::always(WATCHER_VERSIONS, |_, world| !world.watcher.fell),
        Property::<Protocol>::always(WATCHER_SNAPSHOT, |_, world| !world.watcher.was_stale),
        Property::<Protocol>::sometimes("consumers are shown an activity", |protocol, world| {
            let Bounds { activities, relays, is_watched, .. } = protocol.bounds;
            let watcher_is_shown = world.watcher.held.is_some_and(|held| held.activity.is_some());
            let is_shown = world.believed().1.is_some() && (watcher_is_shown || !is_watched);
            activities == 0 || relays == 0 || is_shown
        }),
        Property::<Protocol>::sometimes("a watcher knows what its second stream begins with", |protocol, world| {
            let has_reconnected = world.watcher.interruptions == 1 && !world.redis.is_due();
            let is_quiet = has_reconnected && world.watcher.is_quiet(world.stream.len(), world.flushes);
            let can_reconnect = protocol.bounds.is_watched && protocol.bounds.interruptions > 0;
            !can_reconnect || (is_quiet && world.watcher.held.is_some_and(|held| held.version != 0))
        }),
        Property::<Protocol>::sometimes("a read and an event contradict each other", |protocol, world| {
            let is_in_doubt = world.watcher.stream.as_ref().is_some_and(|stream| stream.is_in_doubt);
            let has_no_other_cause = world.watcher.interruptions == 0 && world.flushes == 0;
            !protocol.bounds.is_watched || (is_in_doubt && has_no_other_cause)
        }),
        Property::<Protocol>::sometimes("a player runs out, and the event is published", |protocol, world| {
            if protocol.bounds.relays == 0 {
                return true;
            }
            let ran_out = |socket: &Socket| matches!(socket, Socket::Gone(_));
            world.seen.ended.is_empty()
                && world.sockets.iter().any(ran_out)
                && world.stream.iter().any(|event| event.after == Presence::Offline)
        }),
        Property::<Protocol>::sometimes("a relay has in hand what another one published", |protocol, world| {
            let in_hand = |relay: &Relay| matches!(relay, Relay::Read(event) if world.stream.contains(event));
            protocol.bounds.relays < 2 || world.relays.iter().any(in_hand)
        }),
        Property::<Protocol>::sometimes("the sweep ends whom nobody closed", |_, world| {
            let is_offline = world.redis.past.as_ref().is_some_and(|past| past.presence == Presence::Offline);
            is_offline && world.seen.ended.is_empty() && world.redis.index.is_none()
        }),
    ];
    properties.extend(gateways::all());
    properties
}
