//! Keys of another type, written by hand: each fails the entries that need it, and no other.

use presence::{
    PresenceError,
    model::{Connection, Reason, State},
};
use presence_tests::{connection, connections, player};
use redis::AsyncTypedCommands as _;

use super::Fixture;

const FIFTY: usize = 50;
const NATS: (&str, &str) = ("PRESENCE_NATS_URL", "nats://127.0.0.1:1");

fn seventh() -> Vec<Connection> {
    vec![connection("p7", "c")]
}

fn is_store_error<T>(result: &Result<T, PresenceError>) -> bool {
    matches!(result, Err(PresenceError::Store(_)))
}

#[tokio::test]
async fn a_closed_key_of_another_type_fails_its_own_entry_of_each_batch() {
    let test = Fixture::new().await;
    let mut raw = test.redis.connection().await;
    raw.set("{presence:p7}:closed", "not a sorted set")
        .await
        .unwrap();
    for _ in ["new", "known, but for one"] {
        let connected = test
            .presence
            .connect_batch(connections(FIFTY), &test.trace)
            .await
            .unwrap();
        assert_eq!(
            (connected.accepted, connected.failed),
            (FIFTY - 1, seventh())
        );
    }
    let renewed = test
        .presence
        .heartbeat_batch(connections(FIFTY), &test.trace)
        .await
        .unwrap();
    assert_eq!(
        (renewed.accepted, renewed.restored.len(), renewed.failed),
        (FIFTY - 1, 0, seventh())
    );
    let closed = test
        .presence
        .disconnect_batch(connections(FIFTY), Reason::Quit, &test.trace)
        .await
        .unwrap();
    assert_eq!((closed.accepted, closed.failed), (FIFTY - 1, seventh()));

    let keys = test.redis.keys().await;
    let own: Vec<_> = keys
        .iter()
        .filter(|key| key.ends_with("p7") || key.contains("p7}"))
        .collect();
    assert_eq!(own, ["{presence:p7}:closed"], "nothing of it changed");
    let [single] = &seventh()[..] else {
        unreachable!()
    };
    assert!(is_store_error(
        &test.presence.connect(single, &test.trace).await
    ));
    assert!(is_store_error(
        &test.presence.heartbeat(single, &test.trace).await
    ));
    assert!(is_store_error(
        &test
            .presence
            .disconnect(single, Reason::Quit, &test.trace)
            .await
    ));
}

#[tokio::test]
async fn a_sign_out_that_cannot_close_the_connections_changes_nothing() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let mut raw = test.redis.connection().await;
    raw.set("{presence:alice}:closed", "not a sorted set")
        .await
        .unwrap();
    let before = (test.record().await, test.past().await);
    assert!(is_store_error(&test.set_state(State::Offline).await));
    assert_eq!((test.record().await, test.past().await), before);
    assert_eq!(
        test.set_state(State::Away).await.unwrap(),
        State::Away,
        "which closes nothing"
    );
    raw.del("{presence:alice}:closed").await.unwrap();
    assert_eq!(
        test.set_state(State::Offline).await.unwrap(),
        State::Offline
    );
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_not_offline_to_a_disconnect_or_a_state() {
    let test = Fixture::new().await;
    let mut raw = test.redis.connection().await;
    raw.rpush("presence:p7", "a list").await.unwrap();
    raw.set("presence:p8", "by hand").await.unwrap();
    let batch = test
        .presence
        .disconnect_batch(connections(FIFTY), Reason::Quit, &test.trace)
        .await
        .unwrap();
    assert_eq!((batch.accepted, batch.failed.len()), (FIFTY - 2, 2));
    for id in ["p7", "p8"] {
        for state in State::ALL {
            assert!(
                is_store_error(
                    &test
                        .presence
                        .set_state(&player(id), state, &test.trace)
                        .await
                ),
                "{id} {state}"
            );
        }
        assert!(
            !raw.exists(format!("{{presence:{id}}}:closed"))
                .await
                .unwrap(),
            "nothing changed"
        );
        // A connect knows that the player is online, and puts it right.
        let presence = test
            .presence
            .connect(&connection(id, "c2"), &test.trace)
            .await
            .unwrap();
        assert_eq!(
            (presence.state, presence.connection_count),
            (State::Online, 1)
        );
    }
}

#[tokio::test]
async fn a_number_that_is_too_large_for_redis_fails_no_call_and_repeats_no_event() {
    const HUGE: &str = "99999999999999999999999";
    let usual = "1795000000000";
    let pasts = [
        format!("1 {HUGE}"),
        format!("{HUGE} 1"),
        format!("{usual} {usual} lost {HUGE};c"),
        format!("{usual} {usual};c {HUGE}"),
        format!("{usual} {usual} AWAY expired {HUGE} {{\"text\":\"x\"}};c"),
    ];
    for past in pasts {
        let test = Fixture::with(&[NATS]).await;
        let mut raw = test.redis.connection().await;
        raw.set("{presence:p7}:past", &past).await.unwrap();
        let connected = test
            .presence
            .connect_batch(connections(FIFTY), &test.trace)
            .await
            .unwrap();
        assert_eq!(
            (connected.accepted, connected.failed.len()),
            (FIFTY, 0),
            "{past}"
        );
        let renewed = test
            .presence
            .heartbeat_batch(connections(FIFTY), &test.trace)
            .await
            .unwrap();
        assert_eq!(
            (renewed.accepted, renewed.failed.len()),
            (FIFTY, 0),
            "{past}"
        );
        let disconnect =
            test.presence
                .disconnect_batch(connections(FIFTY), Reason::Quit, &test.trace);
        assert_eq!(disconnect.await.unwrap().accepted, FIFTY, "{past}");
    }
    let test = Fixture::with(&[NATS]).await;
    let mut raw = test.redis.connection().await;
    let record =
        format!(r#"{{"last_seen":1,"version":{HUGE},"connection_count":1,"state":"ONLINE"}}"#);
    raw.set("presence:p7", record).await.unwrap();
    let batch = test
        .presence
        .connect_batch(connections(FIFTY), &test.trace)
        .await
        .unwrap();
    assert_eq!((batch.accepted, batch.failed.len()), (FIFTY, 0));
    assert_eq!(raw.xlen("presence:{all}:outbox").await.unwrap(), FIFTY);
}

#[tokio::test]
async fn a_live_player_whose_record_was_overwritten_keeps_the_state_in_the_past() {
    let test = Fixture::with(&[NATS]).await;
    test.connect("c1").await;
    test.set_state(State::InMatch).await.unwrap();
    let version = test.record().await.unwrap()["version"].clone();
    let mut raw = test.redis.connection().await;
    raw.del("presence:alice").await.unwrap();
    raw.rpush("presence:alice", "a list").await.unwrap();
    test.connect("c2").await;
    let record = test.record().await.unwrap();
    assert_eq!(
        (&record["state"], &record["connection_count"]),
        (&"IN_MATCH".into(), &2.into())
    );
    assert_eq!(record["version"], version, "no transition");
    assert_eq!(raw.xlen("presence:{all}:outbox").await.unwrap(), 2);
}

#[tokio::test]
async fn a_shared_key_of_another_type_fails_what_would_change_it_and_nothing_else() {
    for shared in ["presence:{all}:expiry", "presence:{all}:outbox"] {
        let test = Fixture::with(&[NATS]).await;
        test.connect("c1").await;
        let mut raw = test.redis.connection().await;
        let index: Vec<_> = raw
            .zrange_withscores("presence:{all}:expiry", 0, -1)
            .await
            .unwrap();
        raw.del(shared).await.unwrap();
        raw.set(shared, "by hand").await.unwrap();
        let before = (
            test.record().await,
            test.past().await,
            test.redis.keys().await,
        );
        assert!(
            is_store_error(
                &test
                    .presence
                    .connect(&connection("bob", "c1"), &test.trace)
                    .await
            ),
            "{shared}"
        );
        assert!(
            is_store_error(&test.set_state(State::InQueue).await),
            "{shared}"
        );
        let batch = test.presence.disconnect_batch(
            vec![connection("alice", "c1")],
            Reason::Quit,
            &test.trace,
        );
        assert!(is_store_error(&batch.await), "{shared}");
        assert_eq!(
            (
                test.record().await,
                test.past().await,
                test.redis.keys().await
            ),
            before,
            "{shared}"
        );
        assert_eq!(test.heartbeat("c1").await.unwrap(), 1, "{shared}");

        raw.del(shared).await.unwrap();
        for (member, score) in &index {
            raw.zadd("presence:{all}:expiry", member, *score)
                .await
                .unwrap();
        }
        assert_eq!(test.disconnect("c1", Reason::Quit).await, State::Offline);
    }
}
