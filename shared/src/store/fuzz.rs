//! Fuzz targets: replies of Redis from arbitrary bytes, and ids from arbitrary text.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use redis::Value;

use super::{
    heartbeat::renewals,
    keys::Keys,
    mutate::LeaseOutcome,
    outbox::entries,
    past::Past,
    record,
    reply::{self, Reply},
    sweep::due,
};
use crate::{
    http::{Request, last_segment},
    model::{ConnectionId, PlayerId, Presence},
    redis::{Shard, SlotMap, slot, value},
    telemetry::TraceContext,
};

const TTL: u64 = 45_000;

/// Parses a reply in Redis's protocol: as the reply of a script, and of each command in use.
///
/// # Panics
/// If an impossible presence is built from it.
pub fn reply(bytes: &[u8]) {
    let Ok(value) = redis::parse_redis_value(bytes) else {
        return;
    };
    let trace = TraceContext::new_root();
    if let Ok(reply) = Reply::<LeaseOutcome>::parse(value.clone(), 1, Shard::FIRST, &trace)
        && let Some(record) = reply.record
    {
        check(&record.presence(alice()));
    }
    for record in renewals(Ok(value.clone()), 1)
        .into_iter()
        .flatten()
        .flatten()
    {
        check(&record.presence(alice()));
    }
    let _ = value::time(&value);
    let _ = SlotMap::parse(&value, "127.0.0.1");
    let _ = entries(Shard::FIRST, value.clone());
    let _ = due(value.clone(), u64::MAX);
    let keys = match &value {
        Value::Array(values) => values.len(),
        _ => 1,
    };
    for value in reply::values(value, keys).into_iter().flatten() {
        let past = Past::from_value(&value, TTL)
            .ok()
            .flatten()
            .and_then(|past| past.history(1, u64::MAX));
        if let Ok(presence) = record::presence(alice(), [&value, &value], past, u64::MAX) {
            check(&presence);
        }
    }
}

fn alice() -> PlayerId {
    PlayerId::parse("alice").unwrap_or_else(|_| unreachable!("an id"))
}

/// Asserts that an OFFLINE player has no connections.
fn check(presence: &Presence) {
    let is_offline = presence.state == crate::model::State::Offline;
    assert!(
        !is_offline || presence.connection_count == 0,
        "{presence:?}"
    );
}

/// Parses the id of a player.
///
/// # Panics
/// If an invalid id is accepted, or a valid one refused; if a valid one does not survive a URL, or
/// one of its keys is in another slot than the record.
pub fn id(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let is_made_of = |others: &str| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
    };
    let has_length = (1..=128).contains(&text.len());
    assert_eq!(
        ConnectionId::parse(text).is_ok(),
        has_length && is_made_of("._-:@|=+/"),
        "{text:?}"
    );
    let is_player = has_length && is_made_of("._-:@|") && !matches!(text, "." | "..");
    let player = PlayerId::parse(text);
    assert_eq!(player.is_ok(), is_player, "{text:?}");
    let Ok(player) = player else { return };

    let mut request = Request::new(Bytes::new());
    let uri = format!(
        "/prod/presence/{}/",
        utf8_percent_encode(text, NON_ALPHANUMERIC)
    )
    .parse();
    *request.uri_mut() = uri.unwrap_or_default();
    assert_eq!(last_segment(&request).ok().as_deref(), Some(text));

    let keys = Keys::new("presence:".to_owned(), Some(256));
    let shard = keys.shard(&player);
    let record = keys.record(shard, &player);
    assert!(
        record.to_string().ends_with(&format!("}}:{text}")),
        "{record}"
    );
    let others = [
        record,
        keys.past(shard, &player),
        keys.tombstones(shard, &player),
        keys.expiry_index(shard),
        keys.outbox(shard),
    ];
    for key in others.map(|key| key.to_string()) {
        let tag = key.split(['{', '}']).nth(1).unwrap_or_default();
        assert_eq!(slot([tag]), shard.slot(), "{key}");
    }
}
