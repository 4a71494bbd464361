//! Invariants of the raw keys, whatever happened before.

use std::collections::BTreeSet;

use presence_tests::{RedisServer, leases};
use proptest::{prelude::*, test_runner::TestCaseResult};
use redis::{AsyncTypedCommands as _, aio::MultiplexedConnection};
use serde_json::Value;

use super::{
    PLAYERS,
    gateways::GATEWAYS,
    player::{Lease, Player, Record},
    reference::Reference,
};

const INDEX: &str = "presence:{all}:expiry";
const OUTBOX: &str = "presence:{all}:outbox";
const OWNERS: &str = "presence:{all}:owners";

/// Keys that exist if something was ever written to them.
const SHARED: [&str; 6] = [
    INDEX,
    OUTBOX,
    OWNERS,
    "presence:{all}:gateways",
    "presence:{all}:gateways-lost",
    "presence:{all}:gateways-seen",
];

/// What `PTTL` says of a key without an expiry, and of none.
const FOR_EVER: i64 = -1;
const NO_KEY: i64 = -2;

/// When the sweep will look for a player, in Unix milliseconds.
pub(super) async fn indexed_until(raw: &mut MultiplexedConnection, at: usize) -> Option<u64> {
    raw.zscore(INDEX, PLAYERS[at])
        .await
        .unwrap()
        .map(|due_at| due_at as u64)
}

/// The players that the index lists for each gateway that ends.
pub(super) async fn players_by_gateway(
    raw: &mut MultiplexedConnection,
) -> [Vec<usize>; GATEWAYS.len()] {
    let members = raw.zrange(OWNERS, 0, -1).await.unwrap();
    GATEWAYS.map(|gateway| {
        let connections = members
            .iter()
            .filter_map(|member| member.strip_prefix(gateway)?.strip_prefix('!'));
        let players = connections.filter_map(|connection| connection.split_once(' '));
        players
            .filter_map(|(player, _)| PLAYERS.iter().position(|name| *name == player))
            .collect()
    })
}

/// The index has each lease that counts and belongs to a gateway, and no connection that has no
/// lease stored. A lease that expired may count again after the clock was set back: the end of its
/// gateway may have removed it from the index meanwhile, which costs time and no correctness.
pub(super) async fn check_owners(
    raw: &mut MultiplexedConnection,
    reference: &Reference,
) -> TestCaseResult {
    let found: BTreeSet<_> = raw
        .zrange(OWNERS, 0, -1)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let mut counted = BTreeSet::new();
    let mut stored = BTreeSet::new();
    for (name, player) in PLAYERS.iter().zip(&reference.players) {
        let to_member = |lease: Lease| {
            Some(format!(
                "{}!{name} {}",
                GATEWAYS[lease.gateway?],
                player.connection_id(lease.socket)
            ))
        };
        counted.extend(player.leases(reference.now).filter_map(to_member));
        if player.record.is_some() || player.overdue.is_some() {
            stored.extend(player.all_leases().filter_map(to_member));
        }
    }
    let is_complete = reference.was_set_back || counted.is_subset(&found);
    prop_assert!(is_complete, "{counted:?} are not all in {found:?}");
    prop_assert!(
        found.is_subset(&stored),
        "{found:?} are not all of {stored:?}"
    );
    Ok(())
}

/// After each step: every record lives for exactly as long as it may, there is no other record, and
/// the sweep will find each.
pub(super) async fn check_lifetimes(
    raw: &mut MultiplexedConnection,
    reference: &Reference,
) -> TestCaseResult {
    let mut pipe = redis::pipe();
    for name in PLAYERS {
        pipe.cmd("PTTL")
            .arg(format!("presence:{name}"))
            .zscore(INDEX, name);
    }
    let lifetimes: Vec<Option<f64>> = pipe.query_async(raw).await.unwrap();
    for (player, lifetime) in reference.players.iter().zip(lifetimes.chunks(2)) {
        let pttl = lifetime[0].unwrap() as i64;
        let indexed_until = lifetime[1];
        let expected = player
            .record
            .map_or(NO_KEY, |record| (record.expires_at - reference.now) as i64);
        prop_assert_eq!(pttl, expected, "{:?}", player);
        let record = player.record.or(player.overdue);
        prop_assert_eq!(
            indexed_until.is_some(),
            record.is_some(),
            "in the index: {:?}",
            player
        );
        let due_at = indexed_until.unwrap_or_default();
        let is_in_time = reference.was_set_back
            || record.is_none_or(|record| due_at <= record.expires_at as f64);
        prop_assert!(is_in_time, "{due_at}: {player:?}");
    }
    Ok(())
}

/// At the end: no key is left without an owner.
pub(super) async fn check(
    redis: &RedisServer,
    raw: &mut MultiplexedConnection,
    reference: &Reference,
) -> TestCaseResult {
    let mut owned = Vec::new();
    for (name, player) in PLAYERS.iter().zip(&reference.players) {
        let [record, past, closed] = [
            format!("presence:{name}"),
            format!("{{presence:{name}}}:past"),
            format!("{{presence:{name}}}:closed"),
        ];
        let is_listed = player.record.is_some() || player.overdue.is_some();
        if let Some(expected) = &player.record {
            check_record(raw, [&record, &past], expected, player, reference).await?;
            owned.push(record);
        }
        // Without a sweep, the past of an expired record waits for the next call.
        if is_listed || player.past.is_some() {
            let expected = if is_listed {
                FOR_EVER
            } else {
                (player.remembered_until - reference.now) as i64
            };
            prop_assert_eq!(pttl(raw, &past).await, expected, "{}", past);
            owned.push(past);
        }
        // A sign-out may close a connection again, whose disconnect came after its lease had
        // lapsed.
        let pttl = pttl(raw, &closed).await;
        prop_assert!(pttl >= 0 || !player.has_closed(), "{closed}: {player:?}");
        prop_assert!(
            pttl <= 2 * reference.rules.ttl as i64 || reference.was_set_back,
            "{closed} lives for {pttl} ms"
        );
        if pttl != NO_KEY {
            owned.push(closed);
        }
    }
    for shared in SHARED {
        if raw.exists(shared).await.unwrap() {
            owned.push(shared.to_owned());
        }
    }
    owned.sort();
    let mut keys = redis.keys().await;
    keys.retain(|key| key != "presence:{all}:swept");
    prop_assert_eq!(keys, owned, "no key without its owner");
    Ok(())
}

/// The record says of itself what the reference says of it.
async fn check_record(
    raw: &mut MultiplexedConnection,
    [key, past]: [&str; 2],
    expected: &Record,
    player: &Player,
    reference: &Reference,
) -> TestCaseResult {
    let json = raw.get(key).await.unwrap();
    let stored: Value = serde_json::from_str(&json.unwrap_or_default()).unwrap_or_default();
    prop_assert_eq!(
        &stored["state"],
        expected.state.as_str(),
        "{} holds {}",
        key,
        stored
    );
    let last_seen = stored["last_seen"].as_u64().unwrap();
    prop_assert_eq!(
        (last_seen, stored["version"].as_u64()),
        (expected.last_seen, Some(player.version))
    );
    let has_activity = expected.activity.map(|_| Value::Bool(true));
    prop_assert_eq!(stored.get("activity"), has_activity.as_ref(), "{}", stored);
    let past = raw.get(past).await.unwrap().unwrap_or_default();
    prop_assert!(
        past.starts_with(&format!("{last_seen} {}", stored["version"])),
        "{past} is not of {stored}"
    );
    let stored_leases = leases(&past, reference.rules.ttl);
    prop_assert_eq!(&stored["connection_count"], stored_leases.len());
    if stored_leases.len() > 1 {
        let durations: Vec<_> = stored_leases
            .iter()
            .map(|(_, duration)| *duration)
            .collect();
        prop_assert_eq!(&stored["leases"], &serde_json::json!(durations));
    }

    // In the order in which they were opened. Those that have lapsed stand there until the record
    // is stored again.
    let leases: Vec<_> = stored_leases
        .into_iter()
        .map(|(id, duration)| (id, last_seen + duration))
        .collect();
    let mut all_known: Vec<_> = player.all_leases().collect();
    all_known.sort_by_key(|lease| lease.opened);
    let known: Vec<_> = all_known
        .iter()
        .map(|lease| (stored_id(player, lease), lease.until))
        .collect();
    prop_assert_eq!(leases, known);
    Ok(())
}

/// The connection's id, with its gateway's.
fn stored_id(player: &Player, lease: &Lease) -> String {
    let gateway = lease
        .gateway
        .map(|gateway| format!("!{}", GATEWAYS[gateway]));
    player.connection_id(lease.socket) + &gateway.unwrap_or_default()
}

async fn pttl(raw: &mut MultiplexedConnection, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query_async(raw).await.unwrap()
}
