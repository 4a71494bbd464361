//! Players whose end no gateway reports.

use std::{collections::HashMap, time::Duration};

use presence::{
    events::RelaySignal,
    model::{Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{NatsServer, RedisServer, app, connection, connections};
use redis::AsyncTypedCommands as _;
use serde_json::Value;

const STREAM: &str = "PRESENCE_EVENTS";

async fn events(nats: &NatsServer) -> Vec<Value> {
    let messages = nats.messages(STREAM).await;
    messages
        .iter()
        .map(|message| serde_json::from_slice(&message.payload).unwrap())
        .collect()
}

#[tokio::test]
async fn a_player_who_falls_silent_goes_offline_by_the_sweep() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let app = app(&redis, &[("PRESENCE_NATS_URL", &nats.url())]);
    let trace = TraceContext::new_root();
    let alice = connection("alice", "c1");
    app.presence().connect(&alice, &trace).await.unwrap();
    app.presence()
        .set_state(&alice.player_id, State::InMatch, &trace)
        .await
        .unwrap();
    redis.advance_clock(Duration::from_secs(10)).await;
    let seen = app.presence().heartbeat(&alice, &trace).await.unwrap();
    redis.advance_clock(Duration::from_secs(46)).await;
    assert_eq!(
        app.sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .expired,
        1
    );
    assert_eq!(
        app.sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .expired,
        0
    );
    app.relay().unwrap().pass().await.unwrap();

    let event = events(&nats).await.pop().unwrap();
    assert_eq!(
        (&event["type"], &event["reason"]),
        (&"PresenceOffline".into(), &"expired".into())
    );
    assert_eq!(
        (&event["previous_state"], &event["connection_count"]),
        (&"IN_MATCH".into(), &0.into())
    );
    assert_eq!(
        event["last_seen"].as_u64().unwrap(),
        seen.last_seen.unwrap() - 46_000,
        "an expiry does not move it"
    );
    assert!(event["version"].as_u64() > seen.version);
    assert_eq!(
        redis
            .connection()
            .await
            .zcard("presence:{all}:expiry")
            .await
            .unwrap(),
        0
    );
}

#[tokio::test]
async fn a_candidate_who_proves_alive_is_filed_under_the_true_expiry() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let alice = connection("alice", "c1");
    let trace = TraceContext::new_root();
    app.presence().connect(&alice, &trace).await.unwrap();
    redis.advance_clock(Duration::from_secs(30)).await;
    app.presence().heartbeat(&alice, &trace).await.unwrap();
    redis.advance_clock(Duration::from_secs(30)).await;
    assert_eq!(
        app.sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .rescheduled,
        1
    );
    let mut raw = redis.connection().await;
    let filed = raw
        .zscore("presence:{all}:expiry", "alice")
        .await
        .unwrap()
        .unwrap();
    let expires_at: f64 = redis::cmd("PEXPIRETIME")
        .arg("presence:alice")
        .query_async(&mut raw)
        .await
        .unwrap();
    assert_eq!(filed, expires_at);
    assert_eq!(
        app.sweeper(RelaySignal::default())
            .pass()
            .await
            .unwrap()
            .rescheduled,
        0
    );
}

#[tokio::test]
async fn a_grace_that_is_over_ends_as_lost() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let app = app(
        &redis,
        &[
            ("PRESENCE_NATS_URL", &nats.url()),
            ("PRESENCE_OFFLINE_GRACE", "20s"),
        ],
    );
    let trace = TraceContext::new_root();
    app.presence()
        .connect(&connection("alice", "c1"), &trace)
        .await
        .unwrap();
    app.presence()
        .disconnect(&connection("alice", "c1"), Reason::Lost, &trace)
        .await
        .unwrap();
    redis.advance_clock(Duration::from_secs(21)).await;
    app.sweeper(RelaySignal::default()).pass().await.unwrap();
    app.relay().unwrap().pass().await.unwrap();
    let reasons: Vec<_> = events(&nats)
        .await
        .iter()
        .map(|event| event["reason"].clone())
        .collect();
    assert_eq!(reasons, ["connect", "lost"]);
}

#[tokio::test]
async fn a_mutation_that_comes_before_the_sweep_makes_the_missed_transition_first() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let app = app(&redis, &[("PRESENCE_NATS_URL", &nats.url())]);
    let alice = connection("alice", "c1");
    let trace = TraceContext::new_root();
    app.presence().connect(&alice, &trace).await.unwrap();
    redis.advance_clock(Duration::from_secs(46)).await;
    app.presence().heartbeat(&alice, &trace).await.unwrap();
    app.sweeper(RelaySignal::default()).pass().await.unwrap();
    app.relay().unwrap().pass().await.unwrap();

    let events = events(&nats).await;
    let reasons: Vec<_> = events
        .iter()
        .map(|event| event["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, ["connect", "expired", "restore"]);
    assert!(events.is_sorted_by_key(|event| event["version"].as_u64()));
    assert_ne!(events[1]["version"], events[2]["version"]);
}

#[tokio::test]
async fn three_sweepers_at_once_make_each_of_5000_transitions_once() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let variables = [
        ("PRESENCE_NATS_URL", &*nats.url()),
        ("PRESENCE_MAX_BATCH", "5000"),
    ];
    let apps = [(); 3].map(|()| app(&redis, &variables));
    let trace = TraceContext::new_root();
    let connections = connections(5_000);
    apps[0]
        .presence()
        .connect_batch(connections, &trace)
        .await
        .unwrap();
    redis.advance_clock(Duration::from_secs(46)).await;

    let sweepers = apps
        .each_ref()
        .map(|app| app.sweeper(RelaySignal::default()));
    let passes = sweepers.each_ref().map(|sweeper| sweeper.pass());
    let swept = futures_util::future::try_join_all(passes).await.unwrap();
    assert_eq!(swept.iter().map(|swept| swept.expired).sum::<u64>(), 5_000);
    let relays = apps.each_ref().map(|app| app.relay().unwrap());
    while redis
        .connection()
        .await
        .xlen("presence:{all}:outbox")
        .await
        .unwrap()
        > 0
    {
        futures_util::future::try_join_all(relays.each_ref().map(|relay| relay.pass()))
            .await
            .unwrap();
    }

    let mut offline = HashMap::<String, usize>::new();
    for event in events(&nats)
        .await
        .iter()
        .filter(|event| event["type"] == "PresenceOffline")
    {
        assert_eq!(event["reason"], "expired");
        *offline
            .entry(event["player_id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(offline.len(), 5_000);
    assert!(offline.values().all(|count| *count == 1));
}

#[tokio::test]
async fn members_of_the_index_that_are_not_players_are_removed_and_stop_nobody() {
    const STRANGERS: usize = 2_500;
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let trace = TraceContext::new_root();
    app.presence()
        .connect_batch(connections(100), &trace)
        .await
        .unwrap();
    let mut raw = redis.connection().await;
    let mut zadd = redis::cmd("ZADD");
    zadd.arg("presence:{all}:expiry")
        .arg(0)
        .arg("not an id")
        .arg("-inf")
        .arg(b"\xff\xfe")
        .arg(1)
        .arg("")
        .arg(2)
        .arg("..");
    for n in 4..STRANGERS {
        zadd.arg(n).arg(format!("stranger {n}"));
    }
    zadd.exec_async(&mut raw).await.unwrap();
    redis.advance_clock(Duration::from_secs(46)).await;

    let sweeper = app.sweeper(RelaySignal::default());
    let swept = sweeper.pass().await.unwrap();
    assert_eq!(
        (swept.expired, swept.removed),
        (100, STRANGERS as u64),
        "in one pass"
    );
    assert_eq!(raw.zcard("presence:{all}:expiry").await.unwrap(), 0);
    assert_eq!(sweeper.total(), swept);
}

#[tokio::test]
async fn an_index_of_another_type_is_deleted_and_players_expire_again() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let trace = TraceContext::new_root();
    redis
        .connection()
        .await
        .set("presence:{all}:expiry", "a string")
        .await
        .unwrap();
    let sweeper = app.sweeper(RelaySignal::default());
    sweeper.pass().await.unwrap();
    app.presence()
        .connect(&connection("alice", "c"), &trace)
        .await
        .unwrap();
    redis.advance_clock(Duration::from_secs(46)).await;
    assert_eq!(sweeper.pass().await.unwrap().expired, 1);
}

#[tokio::test]
async fn what_stands_in_the_place_of_the_last_sweeps_time_is_overwritten() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let mut raw = redis.connection().await;
    raw.lpush("presence:{all}:swept", "x").await.unwrap();
    app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert!(
        raw.get("presence:{all}:swept")
            .await
            .unwrap()
            .unwrap()
            .parse::<u64>()
            .is_ok()
    );
}

#[tokio::test]
async fn a_player_whose_data_is_invalid_does_not_keep_others_online() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let trace = TraceContext::new_root();
    app.presence()
        .connect_batch(connections(60), &trace)
        .await
        .unwrap();
    let mut raw = redis.connection().await;
    let bad = ["p7", "p33"];
    for player in bad {
        let past = format!("{{presence:{player}}}:past");
        raw.del(&past).await.unwrap();
        raw.lpush(&past, "not a line of text").await.unwrap();
    }
    redis.advance_clock(Duration::from_secs(46)).await;
    let swept = app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert!(swept.expired >= 58, "{swept:?}");
    assert_eq!(raw.zcard("presence:{all}:expiry").await.unwrap(), 0);
}
