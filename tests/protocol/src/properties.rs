//! Properties: what must hold in every state, and situations that must occur in some state.

mod gateways;

use std::collections::HashSet;

use stateright::Property;

use crate::{
    Bounds, Protocol,
    redis::Presence,
    system::{MAX_LATENCY, Relay, Socket},
};

pub use gateways::{DEAD_GATEWAY, HELD, LIVE_GATEWAY, MOVE, NOT_PROLONGED, NOT_REFUSED, OWNERS};

/// A record outlives the last socket by at most the TTL, counted from the last call that can have
/// arrived.
pub const NO_GHOST: &str = "no ghost outlives the TTL";
/// A sweep at any time makes the OFFLINE transition of an expired player.
pub const FOUND: &str = "the next sweep finds every expired player";
/// Each event continues from the one before, and the last one matches Redis: each end of a presence
/// has exactly one OFFLINE event.
pub const ONE_END: &str = "every end is one OFFLINE event";
/// Versions increase, also across OFFLINE and a flush.
pub const VERSIONS: &str = "versions increase";
/// Each transition is in the outbox or in the stream.
pub const NO_LOSS: &str = "no event is lost";
/// Duplicates are dropped, however many relays publish an event.
pub const NO_DOUBLE: &str = "no event is in the stream twice";
/// A connection stays closed, whatever arrives after its disconnect.
pub const CLOSED: &str = "a closed connection stays closed";
/// A connection whose lease was renewed less than a TTL ago still counts, and its player is not
/// OFFLINE.
pub const NO_FALSE_END: &str = "a connection with heartbeats counts";
/// Holds once the outbox is empty and the player is not due.
pub const TRUTH: &str = "a consumer that follows versions knows the truth";
/// Neither reads nor events have an activity of an OFFLINE player, and it does not come back with
/// the player.
pub const ACTIVITY_ENDS: &str = "an activity ends when its player goes OFFLINE";

/// A watcher catches up, also after lost events, broken streams and a flush.
pub const WATCHER_TRUTH: &str = "once quiet, a watcher equals Redis";
/// The order in which reports arrive does not matter.
pub const WATCHER_VERSIONS: &str = "versions never decrease on a stream";
/// A snapshot is new enough, also if the caller knew an earlier version.
pub const WATCHER_SNAPSHOT: &str = "a snapshot is no older than its request";

/// All properties.
pub fn all() -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::<Protocol>::always(NO_GHOST, |protocol, system| {
            let has_passed = |at| {
                system.now >= at + MAX_LATENCY + protocol.bounds.ttl.max(protocol.bounds.grace)
            };
            let is_expired = |socket: &Socket| match socket {
                Socket::Unopened => true,
                Socket::Open => false,
                Socket::Closed(at) => has_passed(*at),
            };
            !system.sockets.iter().all(is_expired) || system.redis.record.is_none()
        }),
        Property::<Protocol>::always(FOUND, |_, system| {
            !system.redis.is_due()
                || system
                    .redis
                    .index
                    .is_some_and(|due_at| due_at <= system.now)
        }),
        Property::<Protocol>::always(ONE_END, |_, system| {
            let emitted = &system.seen.emitted;
            let last = emitted
                .last()
                .map_or(Presence::Offline, |event| event.after);
            let starts_offline = emitted
                .first()
                .is_none_or(|event| event.before == Presence::Offline);
            let stored = system
                .redis
                .past
                .as_ref()
                .map_or(Presence::Offline, |past| past.presence);
            starts_offline
                && emitted
                    .windows(2)
                    .all(|pair| pair[0].after == pair[1].before)
                && last == stored
        }),
        Property::<Protocol>::always(VERSIONS, |_, system| !system.seen.has_version_decreased),
        Property::<Protocol>::always(NO_LOSS, |_, system| {
            let mut emitted = system.seen.emitted.iter();
            emitted
                .all(|event| system.redis.outbox.contains(event) || system.stream.contains(event))
        }),
        Property::<Protocol>::always(NO_DOUBLE, |_, system| {
            let mut ids = HashSet::new();
            system.stream.iter().all(|event| ids.insert(event.version))
        }),
        Property::<Protocol>::always(CLOSED, |_, system| {
            system
                .seen
                .ended
                .iter()
                .all(|connection| !system.counts(*connection))
        }),
        Property::<Protocol>::always(NO_FALSE_END, |protocol, system| {
            (0..)
                .zip(&system.seen.heartbeats)
                .all(|(connection, heartbeat)| {
                    let is_fresh =
                        heartbeat.is_some_and(|at| system.now < at + protocol.bounds.ttl);
                    let may_end = system.seen.ended.contains(&connection)
                        || system.seen.gateways.may_end.contains(&connection);
                    !is_fresh || may_end || system.counts(connection)
                })
        }),
        Property::<Protocol>::always(TRUTH, |_, system| {
            let is_quiet =
                system.redis.outbox.is_empty() && !system.redis.is_due() && system.flushes == 0;
            !is_quiet
                || system.consumer_view() == (system.redis.presence(), system.redis.activity())
        }),
        Property::<Protocol>::always(ACTIVITY_ENDS, |_, system| {
            let mut ends = system
                .seen
                .emitted
                .iter()
                .filter(|event| [event.before, event.after].contains(&Presence::Offline));
            let is_offline = system.redis.presence() == Presence::Offline;
            ends.all(|event| event.activity.is_none())
                && !(is_offline && system.redis.activity().is_some())
        }),
        Property::<Protocol>::always(WATCHER_TRUTH, |_, system| {
            let is_settled = system.redis.outbox.is_empty() && !system.redis.is_due();
            let is_quiet =
                is_settled && system.watcher.is_quiet(system.stream.len(), system.flushes);
            !is_quiet || system.watcher.held == Some(system.redis.fact())
        }),
        Property::<Protocol>::always(WATCHER_VERSIONS, |_, system| {
            !system.watcher.has_version_decreased
        }),
        Property::<Protocol>::always(WATCHER_SNAPSHOT, |_, system| !system.watcher.was_stale),
        Property::<Protocol>::sometimes("consumers are shown an activity", |protocol, system| {
            let Bounds {
                activities,
                relays,
                is_watched,
                ..
            } = protocol.bounds;
            let watcher_is_shown = system
                .watcher
                .held
                .is_some_and(|held| held.activity.is_some());
            let is_shown = system.consumer_view().1.is_some() && (watcher_is_shown || !is_watched);
            activities == 0 || relays == 0 || is_shown
        }),
        Property::<Protocol>::sometimes(
            "a watcher is up to date after it reconnects",
            |protocol, system| {
                let has_reconnected = system.watcher.interruptions == 1 && !system.redis.is_due();
                let is_quiet =
                    has_reconnected && system.watcher.is_quiet(system.stream.len(), system.flushes);
                let can_reconnect = protocol.bounds.is_watched && protocol.bounds.interruptions > 0;
                !can_reconnect
                    || (is_quiet && system.watcher.held.is_some_and(|held| held.version != 0))
            },
        ),
        Property::<Protocol>::sometimes(
            "a read and an event contradict each other",
            |protocol, system| {
                let is_in_doubt = system
                    .watcher
                    .stream
                    .as_ref()
                    .is_some_and(|stream| stream.is_in_doubt);
                let has_no_other_cause = system.watcher.interruptions == 0 && system.flushes == 0;
                !protocol.bounds.is_watched || (is_in_doubt && has_no_other_cause)
            },
        ),
        Property::<Protocol>::sometimes(
            "a player expires, and the event is published",
            |protocol, system| {
                if protocol.bounds.relays == 0 {
                    return true;
                }
                let has_died = |socket: &Socket| matches!(socket, Socket::Closed(_));
                system.seen.ended.is_empty()
                    && system.sockets.iter().any(has_died)
                    && system
                        .stream
                        .iter()
                        .any(|event| event.after == Presence::Offline)
            },
        ),
        Property::<Protocol>::sometimes(
            "a relay holds an event that another one published",
            |protocol, system| {
                let is_published = |relay: &Relay| matches!(relay, Relay::Read(event) if system.stream.contains(event));
                protocol.bounds.relays < 2 || system.relays.iter().any(is_published)
            },
        ),
        Property::<Protocol>::sometimes(
            "the sweep makes the transition of a player without a disconnect",
            |_, system| {
                let is_offline = system
                    .redis
                    .past
                    .as_ref()
                    .is_some_and(|past| past.presence == Presence::Offline);
                is_offline && system.seen.ended.is_empty() && system.redis.index.is_none()
            },
        ),
    ];
    properties.extend(gateways::all());
    properties
}
