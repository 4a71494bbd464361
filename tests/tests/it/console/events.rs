//! The stream of events.

use std::time::{Duration, Instant};

use presence_tests::{RedisServer, STORE_TIMEOUT, Server, Socket};
use serde_json::json;

use super::{World, one};

/// Reads on until the text is there; the test's own time limit is the only one.
async fn until(stream: &mut reqwest::Response, read: &mut String, text: &str) {
    let mut searched = 0;
    while !read[searched..].contains(text) {
        searched = read.len().saturating_sub(text.len());
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        read.push_str(str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn everybody_who_listens_gets_the_events() {
    let world = World::new(&[]).await;
    let (mut streams, mut texts) = (Vec::new(), vec![String::new(); 3]);
    for text in &mut texts {
        let mut stream = reqwest::get(world.server.url("/console/events")).await.unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        until(&mut stream, text, "event: ready\n").await;
        streams.push(stream);
    }
    world.connect("alice", "c1").await;
    for (stream, text) in streams.iter_mut().zip(&mut texts) {
        until(stream, text, r#""player_id":"alice","state":"ONLINE""#).await;
        assert_eq!(text.matches("event: presence\n").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn whoever_listens_before_the_first_event_does_not_hold_it_up() {
    let world = World::new(&[("PRESENCE_SWEEP_INTERVAL", "1h")]).await; // no later relay helps
    let (mut stream, mut read) = (reqwest::get(world.server.url("/console/events")).await.unwrap(), String::new());
    until(&mut stream, &mut read, "event: ready\n").await;
    world.connect("alice", "c1").await;
    until(&mut stream, &mut read, "event: presence\n").await;
    let metrics = reqwest::get(world.server.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("presence_events_published_total 1\n"), "{metrics}");
    assert!(!metrics.contains("presence_events_failed_total 1"), "at the first attempt: {metrics}");
    assert_eq!(world.nats.messages("PRESENCE_EVENTS").await.len(), 1);
}

#[tokio::test]
async fn a_feed_without_nats_says_so_and_goes_on_when_nats_is_back() {
    let mut world = World::new(&[]).await;
    world.connect("alice", "c1").await;
    world.nats.kill();
    let (mut stream, mut read) = (reqwest::get(world.server.url("/console/events")).await.unwrap(), String::new());
    until(&mut stream, &mut read, "event: feed\ndata: {\"feed\":\"down\"}\n").await;
    assert!(!read.contains("ready") && !read.contains("live"), "{read}");
    for _ in 0..2 {
        world.nats.restart().await;
        let mut read = String::new();
        until(&mut stream, &mut read, "event: ready\n").await;
        until(&mut stream, &mut read, "event: feed\ndata: {\"feed\":\"live\"}\n").await;
        world.nats.kill();
        let mut read = String::new();
        until(&mut stream, &mut read, "event: feed\ndata: {\"feed\":\"down\"}\n").await;
    }
    // Events that were made meanwhile are not missed by who listened before.
    world.connect("bob", "c1").await;
    world.nats.restart().await;
    until(&mut stream, &mut read, "\"player_id\":\"bob\"").await;
    assert!(read.contains(r#"{"feed":"live"}"#));
}

#[tokio::test]
async fn a_feed_outlives_a_server_that_hangs_and_a_stream_that_is_deleted() {
    let world = World::new(&[]).await;
    world.connect("alice", "c1").await;
    let (mut stream, mut read) = (reqwest::get(world.server.url("/console/events")).await.unwrap(), String::new());
    until(&mut stream, &mut read, r#"{"feed":"live"}"#).await;
    world.nats.pause();
    until(&mut stream, &mut read, r#"{"feed":"down"}"#).await;
    world.nats.resume();
    let mut read = String::new();
    until(&mut stream, &mut read, r#"{"feed":"live"}"#).await;
    let jetstream = async_nats::jetstream::new(world.nats.client().await);
    jetstream.delete_stream("PRESENCE_EVENTS").await.unwrap();
    world.connect("bob", "c1").await;
    until(&mut stream, &mut read, "\"player_id\":\"bob\"").await;
}

#[tokio::test]
async fn a_listener_who_is_too_slow_is_told_how_many_events_it_missed() {
    const BATCHES: usize = 4;
    let world = World::new(&[STORE_TIMEOUT]).await;
    // With HTTP/1.0 no sizes of chunks stand between the lines.
    let mut slow = Socket::with_small_buffer(&world.server).await;
    slow.send("GET /console/events HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
    while slow.line().await != "event: ready\n" {}
    // More than fits into the sockets' buffers and the server's window.
    for batch in 0..BATCHES {
        let connections: Vec<_> = (0..2_000).map(|n| one(&format!("p{batch}-{n}-{}", "x".repeat(90)), "c")).collect();
        let answer = world.server.post("/presence/connect", json!({"connections": connections})).await;
        assert_eq!(answer.body["accepted"], 2_000);
    }
    let all_are_published = format!("presence_events_published_total {}\n", BATCHES * 2_000);
    while !reqwest::get(world.server.url("/metrics")).await.unwrap().text().await.unwrap().contains(&all_are_published)
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while slow.line().await != "event: missed\n" {}
    assert!(slow.line().await.starts_with("data: {\"count\":"));
}

#[tokio::test]
async fn streams_do_not_hold_up_the_end_of_the_server() {
    let mut world = World::new(&[]).await;
    let stream = reqwest::get(world.server.url("/console/events")).await.unwrap();
    let begin = Instant::now();
    assert_eq!(world.server.terminate().await.code(), Some(0));
    // Requests that are still open are broken off after 7 s.
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
    assert!(stream.text().await.is_ok(), "the stream ends in order");
}

#[tokio::test]
async fn where_no_events_are_made_there_are_none_to_listen_to() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let answer = server.get("/console/events").await;
    assert_eq!((answer.status, answer.body["type"].as_str()), (404, Some("urn:presence:not-found")));
    assert_eq!(server.get("/presence").await.status, 200);
}
