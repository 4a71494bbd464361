//! Convergence: whatever fails, what callers hold equals Redis soon after.

use std::time::Duration;

use async_nats::jetstream;
use presence_tests::{Server, Watcher};
use serde_json::Value;

use super::{Fixture, connect, disconnect, eventually, read, set_state};

/// A transition that this server makes by itself counts as a write: heartbeats of a test would be,
/// too.
const SLOW: (&str, &str) = ("PRESENCE_TTL", "60s");

async fn opened(server: &Server, players: &[&str]) -> Watcher {
    let mut watcher = Watcher::open(server).await;
    watcher.watch(players).await;
    watcher
}

#[tokio::test]
async fn events_of_a_time_without_nats_arrive() {
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW, ("PRESENCE_WATCH_POLL", "1h")]);
    connect(&server, &["alice", "bob"]).await;
    let mut watcher = opened(&server, &["alice", "bob"]).await;
    fixture.nats.kill();
    watcher.until_feed("polling").await;
    set_state(&server, "alice", "IN_MATCH").await;
    fixture.nats.restart().await;
    watcher.until_feed("live").await;
    watcher.until("alice", "IN_MATCH").await;
    set_state(&server, "bob", "AWAY").await;
    watcher.until("bob", "AWAY").await;
}

#[tokio::test]
async fn a_nats_that_hangs_is_noticed_and_believed_again() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW, ("PRESENCE_WATCH_POLL", "200ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = opened(&server, &["alice"]).await;
    fixture.nats.pause();
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await; // it is polled
    set_state(&server, "alice", "IN_MATCH").await;
    watcher.until("alice", "IN_MATCH").await;
    fixture.nats.resume();
    watcher.until_feed("live").await;
    set_state(&server, "alice", "ONLINE").await;
    watcher.until("alice", "ONLINE").await;
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_followed_again() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW]);
    connect(&server, &["alice", "bob"]).await;
    let mut watcher = opened(&server, &["alice", "bob"]).await;
    for state in ["AWAY", "IN_MATCH", "ONLINE"] {
        jetstream::new(fixture.nats.client().await)
            .delete_stream("PRESENCE_EVENTS")
            .await
            .unwrap();
        set_state(&server, "alice", state).await;
        watcher.until("alice", state).await;
    }
}

#[tokio::test]
async fn a_consumer_that_was_deleted_is_made_again_and_misses_nothing() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW]);
    connect(&server, &["alice"]).await;
    let mut watcher = opened(&server, &["alice"]).await;
    let stream = jetstream::new(fixture.nats.client().await)
        .get_stream("PRESENCE_EVENTS")
        .await
        .unwrap();
    let names: Vec<_> = futures_util::StreamExt::collect::<Vec<_>>(stream.consumer_names()).await;
    for name in names {
        stream.delete_consumer(&name.unwrap()).await.unwrap();
    }
    set_state(&server, "alice", "IN_MATCH").await;
    watcher.until("alice", "IN_MATCH").await;
}

#[tokio::test]
async fn a_flush_is_noticed_although_it_makes_no_event() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW]);
    connect(&server, &["alice", "bob"]).await;
    disconnect(&server, "bob").await;
    let mut watcher = opened(&server, &["alice", "bob"]).await;
    for _ in 0..3 {
        redis::cmd("FLUSHALL")
            .exec_async(&mut fixture.redis.connection().await)
            .await
            .unwrap();
        watcher.until("alice", "OFFLINE").await;
        while watcher.held("bob")["version"] != Value::Null {
            watcher.next().await;
        }
        assert_eq!(watcher.held("alice"), &read(&server, "alice").await);
        assert_eq!(watcher.held("alice")["version"], Value::Null);
        connect(&server, &["alice"]).await;
        watcher.until("alice", "ONLINE").await;
    }
}

#[tokio::test]
async fn a_redis_that_restarts_empty_is_noticed() {
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW]);
    connect(&server, &["alice"]).await;
    let mut watcher = opened(&server, &["alice"]).await;
    fixture.redis.restart().await;
    watcher.until("alice", "OFFLINE").await;
    assert_eq!(watcher.held("alice")["version"], Value::Null);
    connect(&server, &["alice"]).await;
    watcher.until("alice", "ONLINE").await;
}

/// A failover to a replica that lags behind loses the newest transitions: what is older comes back
/// without a version.
#[tokio::test]
async fn a_data_set_that_goes_back_in_time_is_sent_without_a_lower_version() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW]);
    connect(&server, &["alice"]).await;
    let mut connection = fixture.redis.connection().await;
    let dump = async |connection: &mut _, key: &str| {
        redis::cmd("DUMP")
            .arg(key)
            .query_async::<Vec<u8>>(connection)
            .await
            .unwrap()
    };
    let record = "presence:alice";
    let past = "{presence:alice}:past";
    let old_record = dump(&mut connection, record).await;
    let old_past = dump(&mut connection, past).await;
    let mut watcher = opened(&server, &["alice"]).await;
    set_state(&server, "alice", "IN_MATCH").await;
    watcher.until("alice", "IN_MATCH").await;
    for (key, ttl, value) in [(record, 60_000, old_record), (past, 0, old_past)] {
        let mut restore = redis::cmd("RESTORE");
        restore
            .arg(key)
            .arg(ttl)
            .arg(value)
            .arg("REPLACE")
            .exec_async(&mut connection)
            .await
            .unwrap();
    }
    // The mark of the data set goes as it would in a failover.
    redis::cmd("DEL")
        .arg("presence:{all}:dataset")
        .exec_async(&mut connection)
        .await
        .unwrap();
    watcher.until("alice", "ONLINE").await;
    assert_eq!(watcher.held("alice")["version"], Value::Null);
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
    assert_eq!(watcher.held("alice"), &read(&server, "alice").await);
}

#[tokio::test]
async fn a_player_whose_record_expires_is_offline() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_TTL", "1s"), ("PRESENCE_SWEEP_INTERVAL", "200ms")]);
    connect(&server, &["alice"]).await;
    let mut watcher = opened(&server, &["alice"]).await;
    watcher.until("alice", "OFFLINE").await;
    eventually(async || {
        let swept = read(&server, "alice").await;
        while watcher.held("alice")["version"].as_u64() < swept["version"].as_u64() {
            watcher.next().await;
        }
        watcher.held("alice") == &swept
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_is_replaced_by_another_one_from_what_the_caller_knows() {
    let fixture = Fixture::new().await;
    let mut first = fixture.server(&[SLOW]);
    let second = fixture.server(&[SLOW]);
    connect(&first, &["alice", "bob"]).await;
    let mut watcher = opened(&first, &["alice", "bob"]).await;
    let known = watcher.held("bob")["version"].clone();
    let alice = watcher.held("alice")["version"].clone();
    first.kill();
    assert_eq!(watcher.close_code().await, None);
    set_state(&second, "alice", "IN_MATCH").await;
    let mut watcher = Watcher::open(&second).await;
    let request =
        serde_json::json!({"watch": ["alice", "bob"], "known": {"alice": alice, "bob": known}});
    let (presences, _) = watcher.ask(request).await;
    assert_eq!(presences, [read(&second, "alice").await]);
}

#[tokio::test]
async fn with_several_faults_at_once_all_callers_agree_with_redis_at_the_end() {
    const PLAYERS: usize = 40;
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[SLOW, ("PRESENCE_WATCH_POLL", "500ms")]);
    let names: Vec<_> = (0..PLAYERS).map(|number| format!("p{number}")).collect();
    let players: Vec<_> = names.iter().map(String::as_str).collect();
    connect(&server, &players).await;
    let mut watchers = Vec::new();
    for _ in 0..3 {
        watchers.push(opened(&server, &players).await);
    }
    for round in 0..4 {
        match round {
            0 => fixture.nats.kill(),
            1 => fixture.nats.restart().await,
            2 => fixture.redis.pause(),
            _ => {}
        }
        if round == 2 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            fixture.redis.resume();
        }
        for player in players.iter().skip(round).step_by(2) {
            let state = if round % 2 == 0 { "AWAY" } else { "IN_MATCH" };
            let body = serde_json::json!({"player_id": player, "state": state});
            eventually(async || server.post("/presence/state", body.clone()).await.status == 200)
                .await;
        }
    }
    for watcher in &mut watchers {
        for player in &players {
            let stored = read(&server, player).await;
            while watcher.held(player)["version"] != stored["version"] {
                watcher.next().await;
            }
            assert_eq!(watcher.held(player)["state"], stored["state"]);
        }
    }
}
