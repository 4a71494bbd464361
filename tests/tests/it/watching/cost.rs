//! Cost of watching.

use async_nats::jetstream;
use presence_tests::{Server, Watcher};
use serde_json::json;

use super::{Fixture, connect, eventually, set_state};

/// How often Redis was asked by commands of this name.
async fn calls(fixture: &Fixture, command: &str) -> u64 {
    let mut connection = fixture.redis.connection().await;
    let text: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut connection)
        .await
        .unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

/// The number of players that the server has read for its streams.
async fn reads(server: &Server) -> u64 {
    server.metric("presence_watch_reads_total").await.unwrap()
}

async fn consumers(fixture: &Fixture) -> usize {
    let context = jetstream::new(fixture.nats.client().await);
    let Ok(mut stream) = context.get_stream("PRESENCE_EVENTS").await else {
        return 0;
    };
    stream.info().await.unwrap().state.consumer_count
}

#[tokio::test]
async fn a_process_has_one_consumer_while_there_are_callers_and_none_without() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice"]).await;
    assert_eq!(consumers(&fixture).await, 0);
    let mut watchers = Vec::new();
    for _ in 0..5 {
        let mut watcher = Watcher::open(&server).await;
        watcher.watch(&["alice"]).await;
        watchers.push(watcher);
    }
    assert_eq!(consumers(&fixture).await, 1);
    drop(watchers);
    eventually(async || consumers(&fixture).await == 0).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    assert_eq!(consumers(&fixture).await, 1);
}

#[tokio::test]
async fn a_snapshot_is_read_in_batches() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let players: Vec<_> = (0..2_000).map(|number| format!("p{number}")).collect();
    let mut watcher = Watcher::open(&server).await;
    let before = calls(&fixture, "mget").await;
    let (presences, _) = watcher.ask(json!({"watch": players})).await;
    assert_eq!(presences.len(), 2_000);
    let after = calls(&fixture, "mget").await;
    assert!(
        after - before <= 8,
        "{} commands for 2,000 players",
        after - before
    );
}

/// A stream keeps a buffer as long as its longest message.
#[tokio::test]
async fn a_snapshot_is_sent_in_short_messages() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let players: Vec<_> = (0..2_000).map(|number| format!("{number:0>128}")).collect();
    let mut watcher = Watcher::open(&server).await;
    watcher.send(json!({"watch": players})).await;
    let mut entries = 0;
    while entries < 2_000 {
        let message = watcher.next().await;
        assert!(
            message.to_string().len() < 64 * 1024,
            "{} bytes",
            message.to_string().len()
        );
        entries += message["presences"].as_array().map_or(0, Vec::len);
    }
}

#[tokio::test]
async fn each_player_is_polled_once_however_many_streams_watch() {
    let fixture = Fixture::new().await;
    let server = fixture.silent_server(&[("PRESENCE_WATCH_POLL", "100ms")]);
    connect(&server, &["alice", "bob"]).await;
    let mut watchers = Vec::new();
    for _ in 0..10 {
        let mut watcher = Watcher::open(&server).await;
        watcher.watch(&["alice", "bob"]).await;
        watchers.push(watcher);
    }
    let commands_before = calls(&fixture, "mget").await;
    let players_before = reads(&server).await;
    eventually(async || calls(&fixture, "mget").await >= commands_before + 5).await;
    let commands = calls(&fixture, "mget").await - commands_before;
    let players = reads(&server).await - players_before;
    assert!(
        players <= 2 * (commands + 2),
        "{players} players were read by {commands} commands"
    );
}

#[tokio::test]
async fn changes_reach_all_streams_without_a_read_of_redis() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    connect(&server, &["alice"]).await;
    let mut watchers = Vec::new();
    for _ in 0..10 {
        let mut watcher = Watcher::open(&server).await;
        watcher.watch(&["alice"]).await;
        watchers.push(watcher);
    }
    let before = (calls(&fixture, "mget").await, reads(&server).await);
    for state in ["AWAY", "IN_QUEUE", "IN_MATCH"] {
        set_state(&server, "alice", state).await;
        for watcher in &mut watchers {
            watcher.until("alice", state).await;
        }
    }
    let after = (calls(&fixture, "mget").await, reads(&server).await);
    let (commands, reads) = before;
    // One command per change, by the script that makes it.
    assert_eq!(after, (commands + 3, reads));
}
