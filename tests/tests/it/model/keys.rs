//! What must be true of the raw keys, whatever happened before.

use presence_tests::{RedisServer, leases};
use proptest::{prelude::*, test_runner::TestCaseResult};
use redis::{AsyncTypedCommands as _, aio::MultiplexedConnection};
use serde_json::Value;

use super::{
    PLAYERS,
    history::SLACK,
    reference::{Player, Record, Reference},
    world::clock,
};

const INDEX: &str = "presence:{all}:expiry";

/// What `PTTL` says of a key without an expiry, and of none.
const FOR_EVER: i64 = -1;
const NO_KEY: i64 = -2;

/// After each step: every record lives for as long as it may (rules 1, 7, 8, 9), no other is there, and the sweep will
/// look for each in time (rule 10).
pub(super) async fn check_lifetimes(raw: &mut MultiplexedConnection, reference: &Reference) -> TestCaseResult {
    let mut pipe = redis::pipe();
    for key in PLAYERS.map(|name| format!("presence:{name}")) {
        pipe.cmd("PTTL").arg(&key).cmd("PEXPIRETIME").arg(&key);
        pipe.zscore(INDEX, key.trim_start_matches("presence:"));
    }
    let lifetimes: Vec<Option<f64>> = pipe.query_async(raw).await.unwrap();
    for (player, lifetime) in reference.players.iter().zip(lifetimes.chunks(3)) {
        let (pttl, expires_at, indexed_until) = (lifetime[0].unwrap() as i64, lifetime[1], lifetime[2]);
        let Some(record) = &player.record else {
            prop_assert_eq!(pttl, NO_KEY, "OFFLINE: {:?}", player);
            continue;
        };
        let longest = (record.expires_at - reference.now) as i64;
        prop_assert!((longest - SLACK as i64..=longest).contains(&pttl), "{pttl} ms, not {longest}: {player:?}");
        prop_assert!(indexed_until.is_some() && indexed_until <= expires_at, "{indexed_until:?}: {player:?}");
    }
    Ok(())
}

/// At the end: nothing is left that nobody owns.
pub(super) async fn check(redis: &RedisServer, reference: &Reference) -> TestCaseResult {
    let mut raw = redis.connection().await;
    let mut owned = Vec::new();
    for (name, player) in PLAYERS.iter().zip(&reference.players) {
        let [record, past, closed] =
            [format!("presence:{name}"), format!("{{presence:{name}}}:past"), format!("{{presence:{name}}}:closed")];
        let is_listed = player.record.is_some() || player.is_overdue;
        let is_indexed = raw.zscore(INDEX, *name).await.unwrap().is_some();
        prop_assert_eq!(is_indexed, is_listed, "{} in the index; {:?}", name, player);
        if let Some(expected) = &player.record {
            check_record(&mut raw, [&record, &past], expected, player, reference).await?;
            owned.push(record);
        }
        // Without a sweep, the past of a record that ran out waits for the next call.
        if player.last_seen().is_some() || player.is_overdue {
            let pttl = pttl(&mut raw, &past).await;
            prop_assert_eq!(pttl == FOR_EVER, is_listed);
            prop_assert!(pttl <= reference.rules.retention as i64, "{past} lives for {pttl} ms");
            owned.push(past);
        }
        if player.has_closed() {
            let pttl = pttl(&mut raw, &closed).await;
            prop_assert!((1..=2 * reference.rules.ttl as i64).contains(&pttl), "{closed} lives for {pttl} ms");
            owned.push(closed);
        }
    }
    if raw.exists(INDEX).await.unwrap() {
        owned.push(INDEX.to_owned());
    }
    owned.sort();
    prop_assert_eq!(redis.keys().await, owned, "no key without its owner");
    Ok(())
}

/// The record says of itself what the reference says of it, and lives as long.
async fn check_record(
    raw: &mut MultiplexedConnection,
    [key, past]: [&str; 2],
    expected: &Record,
    player: &Player,
    reference: &Reference,
) -> TestCaseResult {
    let json = raw.get(key).await.unwrap();
    let (pttl, now) = (pttl(raw, key).await, clock(raw).await);
    let stored: Value = serde_json::from_str(&json.unwrap_or_default()).unwrap_or_default();
    prop_assert_eq!(&stored["state"], expected.state.as_str(), "{} holds {}", key, stored);
    let last_seen = stored["last_seen"].as_u64().unwrap();
    prop_assert!(stored["version"].is_u64() && last_seen <= now);
    let past = raw.get(past).await.unwrap().unwrap_or_default();
    prop_assert!(past.starts_with(&format!("{last_seen} {}", stored["version"])), "{past} is not of {stored}");
    let leases = leases(&past, reference.rules.ttl);
    prop_assert_eq!(&stored["connection_count"], leases.len());
    if leases.len() > 1 {
        let durations: Vec<_> = leases.iter().map(|(_, duration)| *duration).collect();
        prop_assert_eq!(&stored["leases"], &serde_json::json!(durations));
    }
    let leases: Vec<_> = leases.into_iter().map(|(id, duration)| (id, last_seen + duration)).collect();

    // Leases that ran out may stand there until the next call. The others are the live ones.
    let mut live: Vec<_> = leases.iter().filter(|(_, until)| *until > now).map(|(id, _)| id.clone()).collect();
    let mut known: Vec<_> = player.leases(reference.now).map(|(socket, _)| player.connection_id(socket)).collect();
    live.sort();
    known.sort();
    prop_assert_eq!(live, known);

    prop_assert!(leases.iter().all(|(_, until)| *until <= now + pttl as u64 + 1), "a lease outlives {key}");
    Ok(())
}

async fn pttl(raw: &mut MultiplexedConnection, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query_async(raw).await.unwrap()
}
