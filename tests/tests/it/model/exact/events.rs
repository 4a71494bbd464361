//! Events in the outbox: one for each transition, and no other.

use std::collections::BTreeSet;

use proptest::{prelude::*, test_runner::TestCaseResult};
use redis::{AsyncTypedCommands as _, FromRedisValue as _, aio::MultiplexedConnection};
use serde_json::{Value, json};

use super::{
    PLAYERS,
    activities::ACTIVITIES,
    reference::{Event, Reference},
};
use presence::model::State;

const OUTBOX: &str = "presence:{all}:outbox";

/// Each player's events are those of the reference, in order; no id is used twice, and each
/// player's versions rise.
pub(super) async fn compare(
    raw: &mut MultiplexedConnection,
    reference: &Reference,
) -> TestCaseResult {
    let entries = raw.xrange_all(OUTBOX).await.unwrap().ids.into_iter();
    let events: Vec<Value> = entries
        .map(|entry| {
            serde_json::from_str(&String::from_redis_value(entry.map["event"].clone()).unwrap())
                .unwrap()
        })
        .collect();
    prop_assert_eq!(events.len(), reference.events.len());
    let ids: BTreeSet<_> = events.iter().map(|event| event["id"].as_str()).collect();
    prop_assert_eq!(ids.len(), events.len(), "an id is used twice");
    for (at, name) in PLAYERS.into_iter().enumerate() {
        let expected = reference
            .events
            .iter()
            .filter(|event| event.player == at)
            .map(event);
        let own = || events.iter().filter(|event| event["player_id"] == name);
        prop_assert_eq!(
            own().cloned().collect::<Vec<_>>(),
            expected.collect::<Vec<_>>()
        );
        prop_assert!(
            own().is_sorted_by(|one, next| one["version"].as_u64() < next["version"].as_u64())
        );
        prop_assert!(
            own()
                .zip(own().skip(1))
                .all(|(one, next)| one["state"] == next["previous_state"])
        );
    }
    Ok(())
}

fn event(event: &Event) -> Value {
    let name = PLAYERS[event.player];
    let kind = match (event.previous_state, event.state) {
        (State::Offline, _) => "PresenceOnline",
        (_, State::Offline) => "PresenceOffline",
        _ => "PresenceStateChanged",
    };
    let mut json = json!({
        "id": format!("{name}:{}", event.version),
        "type": kind,
        "player_id": name,
        "state": event.state.as_str(),
        "previous_state": event.previous_state.as_str(),
        "connection_count": event.connection_count,
        "last_seen": event.last_seen,
        "version": event.version,
        "occurred_at": event.occurred_at,
        "reason": event.reason.as_str(),
    });
    if let Some(position) = event.activity {
        json["activity"] = serde_json::from_str(ACTIVITIES[position][0]).unwrap();
    }
    json
}
