//! `GET /watch?players=…`: server-sent events.

use presence_tests::{Server, Watcher, send};
use serde_json::{Value, json};

use super::{Fixture, connect, eventually, read, set_state};

struct Events {
    response: reqwest::Response,
    buffer: String,
}

impl Events {
    async fn open(server: &Server, players: &str) -> Self {
        let response = request(server, players).send().await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["content-type"]
            ),
            (200, &"text/event-stream".parse().unwrap())
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self {
            response,
            buffer: String::new(),
        }
    }

    /// The next event's name and data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let find_line = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                let found = find_line("event: ").zip(find_line("data: "));
                self.buffer = rest.to_owned();
                match found {
                    Some((name, data)) => {
                        return Some((name, serde_json::from_str(&data).unwrap()));
                    }
                    None => continue, // a comment
                }
            }
            let chunk = self.response.chunk().await.unwrap()?;
            self.buffer.push_str(str::from_utf8(&chunk).unwrap());
        }
    }
}

fn request(server: &Server, players: &str) -> reqwest::RequestBuilder {
    let url = server.url(&format!("/watch?players={players}"));
    reqwest::Client::new()
        .get(url)
        .header("accept", "text/event-stream")
}

/// Nothing else marks the end of a snapshot in server-sent events.
#[tokio::test]
async fn a_snapshot_is_one_event() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let names: Vec<_> = (0..500).map(|number| format!("{number:0>20}")).collect();
    let mut events = Events::open(&server, &names.join(",")).await;
    assert_eq!(events.next().await.unwrap().0, "feed");
    let (name, data) = events.next().await.unwrap();
    assert_eq!(name, "presences");
    assert_eq!(data["presences"].as_array().unwrap().len(), names.len());
}

#[tokio::test]
async fn events_have_the_same_json_as_messages() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[]);
    connect(&server, &["alice"]).await;
    let mut events = Events::open(&server, "alice,bob").await;
    assert_eq!(
        events.next().await.unwrap(),
        ("feed".to_owned(), json!({"feed": "live"}))
    );
    let bob = json!({"player_id": "bob", "state": "OFFLINE", "last_seen": null, "version": null});
    let snapshot = json!({"presences": [read(&server, "alice").await, bob]});
    assert_eq!(
        events.next().await.unwrap(),
        ("presences".to_owned(), snapshot)
    );
    set_state(&server, "alice", "IN_MATCH").await;
    let change = json!({"presences": [read(&server, "alice").await]});
    assert_eq!(
        events.next().await.unwrap(),
        ("presences".to_owned(), change)
    );
    // What an activity holds cannot end an event.
    let activity = json!({"details": "a\n\nevent: feed\r\ndata: {}\u{2028}\n\n"});
    server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "activity": activity}),
        )
        .await;
    let change = json!({"presences": [read(&server, "alice").await]});
    assert_eq!(change["presences"][0]["activity"], activity);
    assert_eq!(
        events.next().await.unwrap(),
        ("presences".to_owned(), change)
    );
    let (status, end) = tokio::join!(server.terminate(), events.next());
    assert_eq!((status.code(), end), (Some(0), None));
}

#[tokio::test]
async fn a_bad_list_is_an_invalid_request() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let many = vec!["a"; 501].join(",");
    for (players, field) in [
        ("", "players"),
        ("a,b%20c", "players[1]"),
        ("a,,b", "players[1]"),
        (&*many, "players"),
    ] {
        let response = send(request(&server, players)).await;
        assert_eq!(
            (response.status, response.body["type"].as_str()),
            (400, Some("urn:presence:invalid-request"))
        );
        assert_eq!(response.body["field"], field);
    }
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_unavailable() {
    let mut fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    fixture.redis.kill();
    let response = send(request(&server, "alice")).await;
    assert_eq!(
        (response.status, response.body["type"].as_str()),
        (503, Some("urn:presence:store-unavailable"))
    );
    assert!(response.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_stream_of_events_counts_as_a_stream() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_STREAMS", "1")]);
    let events = Events::open(&server, "alice").await;
    let refused = send(request(&server, "alice")).await;
    assert_eq!(
        (refused.status, refused.body["type"].as_str()),
        (503, Some("urn:presence:overloaded"))
    );
    assert!(Watcher::connect(&server).await.is_err());
    drop(events);
    eventually(async || Watcher::connect(&server).await.is_ok()).await;
}
