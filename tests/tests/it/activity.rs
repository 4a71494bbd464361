//! Activities in events and in Redis, but not in logs.

use presence::{
    PresenceError,
    model::{Activity, ActivityChange, Reason, State, StateChange},
    runtime::App,
    telemetry::TraceContext,
};
use presence_tests::{NatsServer, RedisServer, Server, app, connection, player};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const RANKED: &str = r#"{"details":"Ranked; 2/4","joinable":true}"#;

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
    app: App,
    trace: TraceContext,
}

fn activity(json: &str) -> Activity {
    serde_json::from_str(json).unwrap()
}

fn both(state: State, json: &str) -> StateChange {
    StateChange {
        state: Some(state),
        activity: ActivityChange::Set(activity(json)),
    }
}

fn removed() -> StateChange {
    StateChange {
        state: None,
        activity: ActivityChange::Remove,
    }
}

impl Fixture {
    /// Connects alice, with one event.
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let url = nats.url();
        let mut all = vec![("PRESENCE_NATS_URL", &*url)];
        all.extend(variables);
        let app = app(&redis, &all);
        let trace = TraceContext::new_root();
        app.presence()
            .connect(&connection("alice", "c1"), &trace)
            .await
            .unwrap();
        Self {
            redis,
            nats,
            app,
            trace,
        }
    }

    /// Changes alice's state or activity. Returns the version.
    async fn set(&self, change: impl Into<StateChange>) -> u64 {
        let set = self
            .app
            .presence()
            .set_state(&player("alice"), change, &self.trace)
            .await;
        set.unwrap().version.unwrap()
    }

    /// The events after alice's first connect.
    async fn events(&self) -> Vec<Value> {
        let messages = self.nats.messages("PRESENCE_EVENTS").await;
        messages[1..]
            .iter()
            .map(|message| serde_json::from_slice(&message.payload).unwrap())
            .collect()
    }

    async fn raw(&self, key: &str) -> String {
        self.redis
            .connection()
            .await
            .get(key)
            .await
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn a_changed_activity_is_a_transition_with_an_event() {
    let test = Fixture::new().await;
    let mut versions = vec![test.set(activity(RANKED)).await];
    versions.push(
        test.set(both(State::InMatch, r#"{"joinable":false}"#))
            .await,
    );
    versions.push(test.set(both(State::InMatch, RANKED)).await);
    versions.push(test.set(State::Away).await);
    versions.push(test.set(removed()).await);
    versions.push(
        test.set(StateChange {
            state: Some(State::Online),
            activity: ActivityChange::Remove,
        })
        .await,
    );
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");

    let ranked: Value = serde_json::from_str(RANKED).unwrap();
    let expected = [
        ("ONLINE", "ONLINE", "set_activity", Some(ranked.clone())),
        (
            "ONLINE",
            "IN_MATCH",
            "set_state",
            Some(json!({"joinable": false})),
        ),
        ("IN_MATCH", "IN_MATCH", "set_activity", Some(ranked.clone())),
        ("IN_MATCH", "AWAY", "set_state", Some(ranked)),
        ("AWAY", "AWAY", "set_activity", None),
        ("AWAY", "ONLINE", "set_state", None),
    ];
    let events = test.events().await;
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for ((event, version), (previous_state, state, reason, activity)) in
        events.iter().zip(&versions).zip(expected)
    {
        assert_eq!(
            (&event["type"], &event["version"]),
            (&json!("PresenceStateChanged"), &json!(version))
        );
        assert_eq!(event["id"], format!("alice:{version}"));
        assert_eq!(
            (&event["previous_state"], &event["state"]),
            (&json!(previous_state), &json!(state))
        );
        assert_eq!(
            (&event["reason"], event.get("activity")),
            (&json!(reason), activity.as_ref()),
            "{event}"
        );
    }
}

#[tokio::test]
async fn an_equal_activity_emits_no_event() {
    let test = Fixture::new().await;
    let version = test
        .set(activity(
            r#"{"custom":{"a":[1,{"x":1,"y":";"}]},"party":{"id":"p","size":1,"max":2}}"#,
        ))
        .await;
    for equal in [
        r#"{"custom":{"a":[1,{"x":1,"y":";"}]},"party":{"id":"p","size":1,"max":2}}"#,
        r#" { "party" : { "max" : 2 , "size" : 1 , "id" : "p" } , "custom" : { "a" : [ 1 , { "y" : ";" , "x" : 1 } ] } } "#,
        r#"{"custom":{"\u0061":[1,{"y":"\u003b","x":1}]},"party":{"max":2,"size":1,"id":"\u0070"}}"#,
    ] {
        assert_eq!(test.set(activity(equal)).await, version, "{equal}");
    }
    let other = r#"{"custom":{"a":[{"x":1,"y":";"},1]},"party":{"id":"p","size":1,"max":2}}"#;
    assert!(
        test.set(activity(other)).await > version,
        "the order of a list matters"
    );
    assert_eq!(test.events().await.len(), 2);
}

#[tokio::test]
async fn an_equal_activity_moves_last_seen_and_renews_nothing() {
    let test = Fixture::new().await;
    test.set(activity(RANKED)).await;
    test.redis
        .advance_clock(std::time::Duration::from_secs(30))
        .await;
    test.set(activity(RANKED)).await;
    let pttl: i64 = test.redis.ask(&["PTTL", "presence:alice"]).await;
    assert!(pttl <= 15_000, "{pttl}");
    test.redis
        .advance_clock(std::time::Duration::from_secs(16))
        .await;
    let read = test
        .app
        .presence()
        .presences(&[player("alice")], false)
        .await
        .unwrap();
    assert_eq!(
        (read.presences[0].state, &read.presences[0].activity),
        (State::Offline, &None)
    );
}

#[tokio::test]
async fn events_of_other_transitions_carry_the_current_activity() {
    let test = Fixture::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    let presence = test.app.presence();
    test.set(activity(RANKED)).await;
    // Within the grace, the player keeps it.
    presence
        .disconnect(&connection("alice", "c1"), Reason::Lost, &test.trace)
        .await
        .unwrap();
    let back = presence
        .connect(&connection("alice", "c2"), &test.trace)
        .await
        .unwrap();
    assert_eq!(back.activity, Some(activity(RANKED)));
    presence
        .disconnect(&connection("alice", "c2"), Reason::Quit, &test.trace)
        .await
        .unwrap();
    let online = presence
        .connect(&connection("alice", "c3"), &test.trace)
        .await
        .unwrap();
    assert_eq!(online.activity, None);
    test.set(activity(RANKED)).await;
    test.redis
        .advance_clock(std::time::Duration::from_secs(60))
        .await;
    let restored = presence
        .heartbeat(&connection("alice", "c3"), &test.trace)
        .await
        .unwrap();
    assert_eq!(restored.activity, None, "it ended when the record expired");

    let events = test.events().await;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| (event["reason"].as_str().unwrap(), event.get("activity")))
        .collect();
    let ranked = &serde_json::from_str(RANKED).unwrap();
    let expected = [
        ("set_activity", Some(ranked)),
        ("disconnect", None),
        ("connect", None),
        ("set_activity", Some(ranked)),
        ("expired", None),
        ("restore", None),
    ];
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn the_record_is_marked_and_the_shadow_holds_the_activity_after_its_other_fields() {
    let test = Fixture::new().await;
    let record = test.raw("presence:alice").await;
    assert!(!record.contains("activity"), "{record}");
    test.set(activity(RANKED)).await;
    // Programs of versions without activities read only the first fields of the shadow, which have
    // not moved.
    let version = test.set(State::InMatch).await;
    test.app
        .presence()
        .heartbeat(&connection("alice", "c1"), &test.trace)
        .await
        .unwrap();
    let record: Value = serde_json::from_str(&test.raw("presence:alice").await).unwrap();
    assert_eq!(
        (&record["activity"], &record["state"]),
        (&json!(true), &json!("IN_MATCH"))
    );
    for member in ["last_seen", "version", "connection_count"] {
        assert!(record[member].is_u64(), "{record}");
    }
    let past = test.raw("{presence:alice}:past").await;
    let stored = r#"{"details":"Ranked\u003b 2/4","joinable":true}"#;
    assert_eq!(
        past,
        format!(
            "{} {version} IN_MATCH expired 45000 {stored};c1",
            record["last_seen"]
        )
    );
    let heartbeat = test
        .app
        .presence()
        .heartbeat(&connection("alice", "c1"), &test.trace)
        .await
        .unwrap();
    assert_eq!(heartbeat.activity, Some(activity(RANKED)));
    assert_eq!(
        test.raw("{presence:alice}:past").await[13..],
        past[13..],
        "a heartbeat changes only the time"
    );
    test.set(removed()).await;
    let record = test.raw("presence:alice").await;
    assert!(!record.contains("activity"), "{record}");
}

#[tokio::test]
async fn heartbeats_with_other_configurations_keep_the_activity() {
    let test = Fixture::new().await;
    test.set(activity(RANKED)).await;
    for ttl in ["60s", "30s", "45s"] {
        let app = app(&test.redis, &[("PRESENCE_TTL", ttl)]);
        for id in ["c1", "c2", "c1", "c1"] {
            let heartbeat = app
                .presence()
                .heartbeat(&connection("alice", id), &test.trace)
                .await
                .unwrap();
            assert_eq!(heartbeat.activity, Some(activity(RANKED)), "{ttl} {id}");
        }
        let expires_in: u64 = test.redis.ask(&["PTTL", "presence:alice"]).await;
        let ttl: u64 = ttl.trim_end_matches('s').parse().unwrap();
        assert!(
            (ttl * 1_000 - 10_000..=ttl * 1_000).contains(&expires_in),
            "{expires_in} of {ttl} s"
        );
    }
}

#[tokio::test]
async fn a_marked_record_without_a_shadow_is_a_player_without_an_activity() {
    let test = Fixture::new().await;
    test.set(activity(RANKED)).await;
    let () = test.redis.ask(&["DEL", "{presence:alice}:past"]).await;
    for history in [false, true] {
        let read = test
            .app
            .presence()
            .presences(&[player("alice")], history)
            .await
            .unwrap();
        assert_eq!(
            (read.presences[0].state, &read.presences[0].activity),
            (State::Online, &None)
        );
    }
    let heartbeat = test
        .app
        .presence()
        .heartbeat(&connection("alice", "c1"), &test.trace)
        .await
        .unwrap();
    assert_eq!(heartbeat.activity, None);
    assert!(!test.raw("presence:alice").await.contains("activity"));
}

#[tokio::test]
async fn an_activity_of_an_expired_player_is_refused_and_the_missed_transition_is_made() {
    let test = Fixture::new().await;
    test.set(activity(RANKED)).await;
    test.redis
        .advance_clock(std::time::Duration::from_secs(60))
        .await;
    let refused = test
        .app
        .presence()
        .set_state(&player("alice"), activity(RANKED), &test.trace)
        .await;
    assert!(
        matches!(refused, Err(PresenceError::ActivityRejected)),
        "{refused:?}"
    );
    let reasons: Vec<_> = test
        .events()
        .await
        .iter()
        .map(|event| event["reason"].clone())
        .collect();
    assert_eq!(reasons, ["set_activity", "expired"]);
}

#[tokio::test]
async fn an_activity_is_never_logged() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let redis_url = redis.url();
    let nats_url = nats.url();
    // At lower levels, libraries log the data that they send and receive.
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis_url),
        ("PRESENCE_NATS_URL", &*nats_url),
        ("RUST_LOG", "debug,presence=trace"),
    ];
    let server = Server::start(&variables);
    let mut watcher = presence_tests::Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    server
        .post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    let secret = json!({"details": "rendezvous", "custom": {"rendezvous": ["rendezvous"]}});
    let response = server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "activity": secret}),
        )
        .await;
    assert_eq!(response.status, 200);
    for invalid in [
        json!({"details": ["rendezvous"]}),
        json!({"rendezvous": 1}),
        json!("rendezvous"),
    ] {
        let response = server
            .post(
                "/presence/state",
                json!({"player_id": "alice", "activity": invalid}),
            )
            .await;
        assert_eq!(response.status, 400);
    }
    server
        .post(
            "/presence/heartbeat",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    server
        .post("/presence/friends", json!({"player_ids": ["alice"]}))
        .await;
    while watcher.held("alice").get("activity") != Some(&secret) {
        watcher.next().await;
    }
    server
        .post(
            "/presence/disconnect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await;
    watcher.until("alice", "OFFLINE").await;
    assert_eq!(watcher.held("alice").get("activity"), None);
    let log = server.log();
    assert!(!log.is_empty());
    let line = log.lines().find(|line| line.contains("rendezvous"));
    assert_eq!(line, None);
}
