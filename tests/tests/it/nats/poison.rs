//! Things in the outbox that cannot be published. They must not keep anything else from it.

use async_nats::jetstream::{self, stream::Config};
use presence_tests::{NatsServer, RedisServer, Server, app};
use redis::AsyncTypedCommands as _;
use serde_json::json;

use super::{OUTBOX, STREAM, connect, outbox_length, players, until};

async fn put(redis: &RedisServer, fields: &[(&str, &[u8])]) {
    redis
        .connection()
        .await
        .xadd(OUTBOX, "*", fields)
        .await
        .unwrap();
}

async fn put_event(redis: &RedisServer, id: &str, more: usize) {
    let event = json!({
        "id": id, "type": "PresenceOnline", "player_id": id, "occurred_at": 1, "more": "x".repeat(more),
    });
    put(redis, &[("event", event.to_string().as_bytes())]).await;
}

async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.metrics().await;
    let values = text.lines().filter_map(|line| {
        line.strip_prefix(name)?
            .rsplit(' ')
            .next()?
            .parse::<u64>()
            .ok()
    });
    values.sum()
}

#[tokio::test]
async fn a_poisoned_outbox_is_emptied_and_stops_no_task() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let build_event = |id: &str, occurred_at: u64| {
        json!({"id": id, "type": "PresenceOnline", "player_id": id, "occurred_at": occurred_at})
            .to_string()
    };
    let poison: Vec<Vec<u8>> = vec![
        build_event("late:1", 253_402_300_800_000).into(),
        build_event("later:1", u64::MAX).into(),
        build_event("", 1).into(),
        r#"{"id":"a\r\nNats-Msg-Id: b","type":"x","occurred_at":1}"#.into(),
        r#"{"id":"a","type":"x\r\ny","occurred_at":1}"#.into(),
        r#"{"id":"a","type":"x","occurred_at":-1}"#.into(),
        b"\xff\xfe".into(),
        b"not JSON".into(),
        b"".into(),
    ];
    for body in &poison {
        put(&redis, &[("event", body)]).await;
    }
    put(&redis, &[("other", b"field")]).await;
    // The trace of an event is worth less than the event.
    let with_trace = build_event("traced", 1);
    put(
        &redis,
        &[
            ("event", with_trace.as_bytes()),
            ("traceparent", b"00-a\r\nb"),
            ("tracestate", b"a\r\nb"),
        ],
    )
    .await;
    put(
        &redis,
        &[
            ("event", build_event("binary", 1).as_bytes()),
            ("traceparent", b"\xff"),
            ("tracestate", b"\xff"),
        ],
    )
    .await;

    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_NATS_URL", &nats.url()),
    ]);
    connect(&server, "alice").await;
    until("nothing waits", async || outbox_length(&redis).await == 0).await;
    assert_eq!(players(&nats, STREAM).await, ["traced", "binary", "alice"]);
    let dropped = poison.len() as u64 + 1;
    until("it is counted", async || {
        metric(&server, "presence_events_dropped_total").await == dropped
    })
    .await;
    assert_eq!(
        metric(&server, "presence_events_published_total").await,
        3,
        "what is dropped was not published"
    );
    assert_eq!(metric(&server, "presence_task_restarts_total").await, 0);
    assert!(!server.log().contains("late:1"), "no ids in the log");
}

#[tokio::test]
async fn an_event_that_the_stream_refuses_for_good_lets_the_others_pass() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let config = Config {
        name: STREAM.into(),
        subjects: vec!["events.presence".into()],
        max_message_size: 2_000,
        ..Config::default()
    };
    jetstream::new(nats.client().await)
        .create_stream(config)
        .await
        .unwrap();
    for (id, size) in [
        ("a", 1),
        ("huge", 4_000),
        ("b", 1),
        ("huger", 8_000),
        ("c", 1),
    ] {
        put_event(&redis, id, size).await;
    }
    let relayed = app(&redis, &[("PRESENCE_NATS_URL", &nats.url())])
        .relay()
        .unwrap()
        .pass()
        .await
        .unwrap();
    assert_eq!((relayed.published, relayed.dropped), (3, 2));
    assert_eq!(players(&nats, STREAM).await, ["a", "b", "c"]);
    assert_eq!(outbox_length(&redis).await, 0);
}

#[tokio::test]
async fn an_event_that_no_message_can_carry_lets_the_others_pass() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start_configured("max_payload: 4096").await;
    for (id, size) in [("huge", 5_000), ("a", 1), ("huger", 1_000_000), ("b", 1)] {
        put_event(&redis, id, size).await;
    }
    let relay = app(&redis, &[("PRESENCE_NATS_URL", &nats.url())])
        .relay()
        .unwrap();
    let relayed = relay.pass().await.unwrap();
    assert_eq!((relayed.published, relayed.dropped), (2, 2));
    assert_eq!(relay.total(), relayed);
    assert_eq!(players(&nats, STREAM).await, ["a", "b"]);
}

#[tokio::test]
async fn an_outbox_of_another_type_is_deleted_and_transitions_are_made_again() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    redis
        .connection()
        .await
        .set(OUTBOX, "a string")
        .await
        .unwrap();
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_NATS_URL", &nats.url()),
    ]);
    let mut last = 0;
    until("a transition is made", async || {
        last += 1;
        let body = json!({"player_id": format!("p{last}"), "connection_id": "c"});
        server.post("/presence/connect", body).await.status == 200
    })
    .await;
    until("its event is published", async || {
        players(&nats, STREAM).await.contains(&format!("p{last}"))
    })
    .await;
}
