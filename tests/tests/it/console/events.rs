//! The console's stream of live events.

use std::time::{Duration, Instant};

use presence_tests::{RedisServer, STORE_TIMEOUT, Server, Socket};
use serde_json::json;

use super::{Fixture, one};

/// Reads until the text arrives, with no time limit but the test's own.
async fn until(stream: &mut reqwest::Response, read: &mut String, text: &str) {
    let mut searched = 0;
    while !read[searched..].contains(text) {
        searched = read.len().saturating_sub(text.len());
        let chunk = stream
            .chunk()
            .await
            .unwrap()
            .expect("the stream does not end");
        read.push_str(str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn every_listener_gets_the_events() {
    let test = Fixture::new(&[]).await;
    let mut streams = Vec::new();
    let mut texts = vec![String::new(); 3];
    for text in &mut texts {
        let mut stream = reqwest::get(test.server.url("/console/events"))
            .await
            .unwrap();
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        until(&mut stream, text, "event: ready\n").await;
        streams.push(stream);
    }
    test.connect("alice", "c1").await;
    for (stream, text) in streams.iter_mut().zip(&mut texts) {
        until(stream, text, r#""player_id":"alice","state":"ONLINE""#).await;
        assert_eq!(text.matches("event: presence\n").count(), 1, "{text}");
    }
}

#[tokio::test]
async fn the_events_of_a_player_are_found_in_the_stream() {
    let mut test = Fixture::new(&[]).await;
    let get_history = async |player: &str| {
        test.server
            .get(&format!("/console/players/{player}/events"))
            .await
    };
    assert_eq!(
        get_history("alice").await.body,
        json!({"since": null, "events": []})
    );
    for player in ["alice", "alice:1", "bob"] {
        test.connect(player, "c1").await;
    }
    test.server
        .post("/presence/disconnect", one("alice", "c1"))
        .await;
    while test.nats.messages("PRESENCE_EVENTS").await.len() < 4 {}
    // Another publisher's message does not count as an event, though it has the id of one.
    let nats = test.nats.client().await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "alice:5");
    nats.publish_with_headers("events.presence", headers, "not JSON".into())
        .await
        .unwrap();
    nats.flush().await.unwrap();

    let found = get_history("alice").await.body;
    let states: Vec<_> = found["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["state"])
        .collect();
    assert_eq!(states, ["OFFLINE", "ONLINE"]);
    assert!(
        found["since"].as_u64().unwrap() >= found["events"][1]["occurred_at"].as_u64().unwrap(),
        "{found}"
    );
    assert_eq!(
        get_history("alice:1").await.body["events"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(get_history("zoe").await.body["events"], json!([]));
    assert_eq!(get_history("no%20id").await.status, 400);

    test.nats.kill();
    let unavailable = test.server.get("/console/players/alice/events").await;
    assert_eq!(
        (unavailable.status, &unavailable.body["type"]),
        (503, &json!("urn:presence:store-unavailable"))
    );
}

#[tokio::test]
async fn a_listener_before_the_first_event_does_not_delay_it() {
    let test = Fixture::new(&[("PRESENCE_SWEEP_INTERVAL", "1h")]).await; // no relay publishes it later
    let mut stream = reqwest::get(test.server.url("/console/events"))
        .await
        .unwrap();
    let mut read = String::new();
    until(&mut stream, &mut read, "event: ready\n").await;
    test.connect("alice", "c1").await;
    until(&mut stream, &mut read, "event: presence\n").await;
    let metrics = test.server.metrics().await;
    assert!(
        metrics.contains("presence_events_published_total 1\n"),
        "{metrics}"
    );
    assert!(
        !metrics.contains("presence_events_failed_total 1"),
        "at the first attempt: {metrics}"
    );
    assert_eq!(test.nats.messages("PRESENCE_EVENTS").await.len(), 1);
}

#[tokio::test]
async fn a_feed_without_nats_reports_it_and_continues_when_nats_is_back() {
    let mut test = Fixture::new(&[]).await;
    test.connect("alice", "c1").await;
    test.nats.kill();
    let mut stream = reqwest::get(test.server.url("/console/events"))
        .await
        .unwrap();
    let mut read = String::new();
    until(
        &mut stream,
        &mut read,
        "event: feed\ndata: {\"feed\":\"down\"}\n",
    )
    .await;
    assert!(!read.contains("ready") && !read.contains("live"), "{read}");
    for _ in 0..2 {
        test.nats.restart().await;
        let mut read = String::new();
        until(&mut stream, &mut read, "event: ready\n").await;
        until(
            &mut stream,
            &mut read,
            "event: feed\ndata: {\"feed\":\"live\"}\n",
        )
        .await;
        test.nats.kill();
        let mut read = String::new();
        until(
            &mut stream,
            &mut read,
            "event: feed\ndata: {\"feed\":\"down\"}\n",
        )
        .await;
    }
    // A listener does not miss the events that were emitted in the meantime.
    test.connect("bob", "c1").await;
    test.nats.restart().await;
    until(&mut stream, &mut read, "\"player_id\":\"bob\"").await;
    assert!(read.contains(r#"{"feed":"live"}"#));
}

#[tokio::test]
async fn a_feed_survives_a_nats_server_that_hangs_and_a_stream_that_is_deleted() {
    let test = Fixture::new(&[]).await;
    test.connect("alice", "c1").await;
    let mut stream = reqwest::get(test.server.url("/console/events"))
        .await
        .unwrap();
    let mut read = String::new();
    until(&mut stream, &mut read, r#"{"feed":"live"}"#).await;
    test.nats.pause();
    until(&mut stream, &mut read, r#"{"feed":"down"}"#).await;
    test.nats.resume();
    let mut read = String::new();
    until(&mut stream, &mut read, r#"{"feed":"live"}"#).await;
    let jetstream = async_nats::jetstream::new(test.nats.client().await);
    jetstream.delete_stream("PRESENCE_EVENTS").await.unwrap();
    test.connect("bob", "c1").await;
    until(&mut stream, &mut read, "\"player_id\":\"bob\"").await;
}

#[tokio::test]
async fn a_slow_listener_receives_the_number_of_missed_events() {
    const BATCHES: usize = 4;
    let test = Fixture::new(&[STORE_TIMEOUT]).await;
    // HTTP/1.0 has no chunk sizes between the lines.
    let mut slow = Socket::with_small_buffer(&test.server).await;
    slow.send("GET /console/events HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await;
    while slow.line().await != "event: ready\n" {}
    // More events than fit into the sockets' buffers and the server's window.
    for batch in 0..BATCHES {
        let connections: Vec<_> = (0..2_000)
            .map(|n| one(&format!("p{batch}-{n}-{}", "x".repeat(90)), "c"))
            .collect();
        let response = test
            .server
            .post("/presence/connect", json!({"connections": connections}))
            .await;
        assert_eq!(response.body["accepted"], 2_000);
    }
    let all_are_published = format!("presence_events_published_total {}\n", BATCHES * 2_000);
    while !test.server.metrics().await.contains(&all_are_published) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while slow.line().await != "event: missed\n" {}
    assert!(slow.line().await.starts_with("data: {\"count\":"));
}

#[tokio::test]
async fn streams_do_not_delay_the_shutdown_of_the_server() {
    let mut test = Fixture::new(&[]).await;
    let stream = reqwest::get(test.server.url("/console/events"))
        .await
        .unwrap();
    let begin = Instant::now();
    assert_eq!(test.server.terminate().await.code(), Some(0));
    // Requests that are still open are aborted after 7 s.
    assert!(
        begin.elapsed() < Duration::from_secs(7),
        "{:?}",
        begin.elapsed()
    );
    assert!(stream.text().await.is_ok(), "the stream ends normally");
}

#[tokio::test]
async fn without_nats_there_is_no_stream_of_events() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let response = server.get("/console/events").await;
    assert_eq!(
        (response.status, response.body["type"].as_str()),
        (404, Some("urn:presence:not-found"))
    );
    assert_eq!(server.get("/presence").await.status, 200);
}
