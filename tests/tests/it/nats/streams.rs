//! Streams that are missing, foreign, full, sealed or gone.

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy},
};
use futures_util::StreamExt as _;
use presence_tests::{Function, MovingEndpoint, NatsServer, RedisServer, Server, event};
use serde_json::Value;

use super::{STREAM, connect, nats_check, outbox_length, players, until, until_nats_is};

const FOREIGN: &str = "FOREIGN";

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
}

impl Fixture {
    async fn new() -> Self {
        Self {
            redis: RedisServer::start().await,
            nats: NatsServer::start().await,
        }
    }

    fn server(&self) -> Server {
        Server::start(&[
            ("PRESENCE_REDIS_URL", &self.redis.url()),
            ("PRESENCE_NATS_URL", &self.nats.url()),
        ])
    }

    async fn create(&self, name: &str, subject: &str, config: Config) {
        let config = Config {
            name: name.into(),
            subjects: vec![subject.into()],
            ..config
        };
        jetstream::new(self.nats.client().await)
            .create_stream(config)
            .await
            .unwrap();
    }

    async fn delete(&self, name: &str) {
        jetstream::new(self.nats.client().await)
            .delete_stream(name)
            .await
            .unwrap();
    }

    async fn until_published(&self, expected: &[&str]) {
        until("the events are published", async || {
            players(&self.nats, STREAM).await == expected
        })
        .await;
        until("nothing waits", async || {
            outbox_length(&self.redis).await == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_plain_subscriber_from_before_the_first_event_does_not_matter() {
    for subject in ["events.presence", "events.>", ">"] {
        let fixture = Fixture::new().await;
        let client = fixture.nats.client().await;
        let mut subscriber = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        let server = fixture.server();
        connect(&server, "alice").await;
        fixture.until_published(&["alice"]).await;
        assert!(subscriber.next().await.is_some());
        assert_eq!(nats_check(&server).await, "ok");
    }
}

#[tokio::test]
async fn a_subscriber_that_replies_is_not_taken_for_the_stream() {
    let fixture = Fixture::new().await;
    let client = fixture.nats.client().await;
    let mut subscriber = client.subscribe("events.>").await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        for text in ["hello", "{}", "", r#"{"stream":"x"}"#].iter().cycle() {
            let Some(message) = subscriber.next().await else {
                return;
            };
            if let Some(reply) = message.reply {
                client.publish(reply, (*text).into()).await.unwrap();
            }
        }
    });
    let server = fixture.server();
    for player in ["a", "b", "c", "d"] {
        connect(&server, player).await;
    }
    fixture.until_published(&["a", "b", "c", "d"]).await;
    assert_eq!(nats_check(&server).await, "ok");
    assert!(!server.log().contains("not published"), "{}", server.log());
}

#[tokio::test]
async fn a_foreign_stream_that_has_the_subject_is_reported_and_swallows_nothing() {
    let fixture = Fixture::new().await;
    fixture.create(FOREIGN, "events.>", Config::default()).await;
    let server = fixture.server();
    until_nats_is(&server, "degraded").await;
    connect(&server, "alice").await;
    until("it is logged", async || {
        server.log().contains("events are not published")
    })
    .await;
    assert_eq!(nats_check(&server).await, "degraded");
    assert!(server.log().contains("FOREIGN"), "{}", server.log());
    assert_eq!(
        (
            fixture.nats.count(FOREIGN).await,
            outbox_length(&fixture.redis).await
        ),
        (0, 1)
    );

    fixture.delete(FOREIGN).await;
    fixture.until_published(&["alice"]).await;
    until_nats_is(&server, "ok").await;
    let lines = server
        .log()
        .lines()
        .filter(|line| line.contains("events are not published"))
        .count();
    assert_eq!(lines, 1, "one line per episode: {}", server.log());
}

#[tokio::test]
async fn an_acknowledgment_that_names_another_stream_does_not_count() {
    let fixture = Fixture::new().await;
    let server = fixture.server();
    connect(&server, "alice").await;
    fixture.until_published(&["alice"]).await;
    fixture.delete(STREAM).await;
    fixture
        .create(FOREIGN, "events.presence", Config::default())
        .await;
    connect(&server, "bob").await;
    until("it is logged", async || server.log().contains("FOREIGN")).await;
    until_nats_is(&server, "degraded").await;
    assert_eq!(
        outbox_length(&fixture.redis).await,
        1,
        "the event waits for its stream"
    );
    fixture.delete(FOREIGN).await;
    fixture.until_published(&["bob"]).await;
    until_nats_is(&server, "ok").await;
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_created_again_beside_other_subscribers() {
    let fixture = Fixture::new().await;
    let server = fixture.server();
    connect(&server, "p0").await;
    fixture.until_published(&["p0"]).await;
    let client = fixture.nats.client().await;
    fixture.delete(STREAM).await;
    connect(&server, "p1").await;
    fixture.until_published(&["p1"]).await;
    let _subscriber = client.subscribe("events.presence").await.unwrap();
    client.flush().await.unwrap();
    fixture.delete(STREAM).await;
    connect(&server, "p2").await;
    fixture.until_published(&["p2"]).await;
}

#[tokio::test]
async fn a_stream_that_takes_no_events_is_degraded_until_it_does() {
    let fixture = Fixture::new().await;
    let full = Config {
        max_messages: 1,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    fixture.create(STREAM, "events.presence", full).await;
    let server = fixture.server();
    connect(&server, "alice").await;
    until_nats_is(&server, "degraded").await;
    connect(&server, "bob").await;
    until("it is logged", async || {
        server.log().contains("events are not published")
    })
    .await;
    assert_eq!(
        (
            nats_check(&server).await,
            outbox_length(&fixture.redis).await
        ),
        ("degraded".to_owned(), 1)
    );

    let stream = jetstream::new(fixture.nats.client().await)
        .get_stream(STREAM)
        .await
        .unwrap();
    stream.purge().await.unwrap();
    fixture.until_published(&["bob"]).await;
}

#[tokio::test]
async fn a_stream_that_is_sealed_or_has_other_subjects_is_degraded_and_drops_nothing() {
    let fixture = Fixture::new().await;
    fixture
        .create(STREAM, "events.presence", Config::default())
        .await;
    let jetstream = jetstream::new(fixture.nats.client().await);
    let mut config = jetstream
        .get_stream(STREAM)
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.sealed = true;
    jetstream.update_stream(config).await.unwrap();
    let server = fixture.server();
    until_nats_is(&server, "degraded").await;
    connect(&server, "alice").await;
    until("it is logged", async || {
        server.log().contains("events are not published")
    })
    .await;
    assert_eq!(
        outbox_length(&fixture.redis).await,
        1,
        "the stream is at fault, and not the event"
    );

    fixture.delete(STREAM).await;
    fixture.until_published(&["alice"]).await;
    fixture.delete(STREAM).await;
    fixture
        .create(STREAM, "other.subject", Config::default())
        .await;
    until_nats_is(&server, "degraded").await;
    connect(&server, "bob").await;
    until("it is logged", async || {
        server.log().contains("does not take the subject")
    })
    .await;
    fixture.delete(STREAM).await;
    fixture.until_published(&["bob"]).await;
}

#[tokio::test]
async fn a_function_without_events_never_connects_to_nats() {
    let fixture = Fixture::new().await;
    let endpoint = MovingEndpoint::start(fixture.nats.port()).await;
    let nats_url = format!("nats://127.0.0.1:{}", endpoint.port());
    let variables = [
        ("PRESENCE_REDIS_URL", &*fixture.redis.url()),
        ("PRESENCE_NATS_URL", &*nats_url),
    ];
    let function = Function::start("get-state", &variables).await;
    let response = function
        .invoke(event::get("/presence/alice"))
        .await
        .unwrap();
    let body: Value = serde_json::from_str(response["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["state"], "OFFLINE");
    assert_eq!(endpoint.accepted(), 0);
}
