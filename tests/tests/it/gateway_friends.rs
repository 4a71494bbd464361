//! The example gateway's friends: over its WebSocket, and on its page in headless Chromium.

use futures_util::{SinkExt as _, StreamExt as _};
use presence_tests::{Browser, Device, Gateway, NatsServer, RedisServer, Server};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
    gateways: [Gateway; 2],
}

impl Fixture {
    async fn new() -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        // Whatever is shown in the time of a test comes from events, not from looking at Redis now
        // and then.
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &*redis.url()),
            ("PRESENCE_NATS_URL", &*nats.url()),
            ("PRESENCE_WATCH_POLL", "1h"),
        ]);
        let url = server.url("");
        let gateways = [0, 1].map(|_| Gateway::start(&[("GATEWAY_PRESENCE_URL", &*url)]));
        Self {
            redis,
            nats,
            server,
            gateways,
        }
    }

    /// Ends the server as kill -9 does, and starts another one at its address.
    async fn replace_server(&mut self) {
        let address = self.server.address().to_owned();
        self.server.kill();
        self.server = Server::start(&[
            ("PRESENCE_REDIS_URL", &*self.redis.url()),
            ("PRESENCE_NATS_URL", &*self.nats.url()),
            ("PRESENCE_WATCH_POLL", "1h"),
            ("PRESENCE_BIND", &address),
        ]);
    }

    async fn bob(&self) -> Device {
        Device::open(&self.gateways[1].url("bob")).await.unwrap()
    }
}

struct Player(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Player {
    async fn open(gateway: &Gateway, player: &str) -> Self {
        Self(connect_async(gateway.url(player)).await.unwrap().0)
    }

    async fn say(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Reads until this state of a friend arrives; returns the friend's activity.
    async fn until(&mut self, friend: &str, state: &str) -> Option<Value> {
        self.until_sent(friend, |presence| presence["state"] == state)
            .await
            .get("activity")
            .cloned()
    }

    /// Reads until such a presence of a friend arrives.
    async fn until_sent(&mut self, friend: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut message = self.hear().await;
            let presences = message["presences"]
                .as_array_mut()
                .map(std::mem::take)
                .unwrap_or_default();
            if let Some(presence) = presences
                .into_iter()
                .find(|presence| presence["player_id"] == friend)
                && is_it(&presence)
            {
                return presence;
            }
        }
    }
}

fn ranked(size: u16) -> Value {
    json!({"details": "Ranked", "party": {"id": "p7", "size": size, "max": 4}, "joinable": size < 4})
}

#[tokio::test]
async fn a_player_hears_of_friends_on_another_gateway_until_they_are_unwatched() {
    let fixture = Fixture::new().await;
    let mut alice = Player::open(&fixture.gateways[0], "alice").await;
    alice.say(json!({"watch": ["bob", "carol"]})).await;
    alice.until("bob", "OFFLINE").await;
    let bob = fixture.bob().await;
    alice.until("bob", "ONLINE").await;
    bob.say("IN_QUEUE").await;
    alice.until("bob", "IN_QUEUE").await;
    alice.say(json!({"unwatch": ["bob"]})).await;
    alice.say(json!({"what": 1})).await;
    while alice.hear().await["error"].is_null() {}
    bob.say("IN_MATCH").await;
    let _carol = Device::open(&fixture.gateways[1].url("carol"))
        .await
        .unwrap();
    loop {
        let message = alice.hear().await;
        assert!(!message.to_string().contains("bob"), "{message}");
        if message["presences"][0]["state"] == "ONLINE" {
            break;
        }
    }
}

#[tokio::test]
async fn a_player_hears_what_friends_are_doing_as_it_changes() {
    let fixture = Fixture::new().await;
    let mut alice = Player::open(&fixture.gateways[0], "alice").await;
    let mut bob = Player::open(&fixture.gateways[1], "bob").await;
    alice.say(json!({"watch": ["bob"]})).await;
    assert_eq!(alice.until("bob", "ONLINE").await, None);
    for (message, state, activity) in [
        (
            json!({"state": "IN_MATCH", "activity": ranked(2)}),
            "IN_MATCH",
            Some(ranked(2)),
        ),
        (json!({"activity": ranked(3)}), "IN_MATCH", Some(ranked(3))),
        (json!({"state": "AWAY"}), "AWAY", Some(ranked(3))),
        (json!({"activity": null}), "AWAY", None),
        (
            json!({"activity": {"custom": {"\u{2028}\"": [[], {}, 9_007_199_254_740_992_u64]}}}),
            "AWAY",
            None,
        ),
    ] {
        let expected = activity.or_else(|| {
            message
                .get("activity")
                .filter(|activity| !activity.is_null())
                .cloned()
        });
        bob.say(message).await;
        let is_it = |presence: &Value| {
            presence["state"] == state && presence.get("activity") == expected.as_ref()
        };
        alice.until_sent("bob", is_it).await;
    }
    drop(bob);
    assert_eq!(
        alice.until("bob", "OFFLINE").await,
        None,
        "it ends with the last connection"
    );
}

#[tokio::test]
async fn more_friends_than_allowed_are_refused_and_the_others_are_still_watched() {
    let fixture = Fixture::new().await;
    let mut alice = Player::open(&fixture.gateways[0], "alice").await;
    let friends: Vec<_> = (0..500).map(|number| format!("f{number}")).collect();
    for some in friends.chunks(250) {
        alice.say(json!({"watch": some})).await;
    }
    alice.say(json!({"watch": ["bob", "f1"]})).await;
    loop {
        let message = alice.hear().await;
        if !message["error"].is_null() {
            assert_eq!(message, json!({"error": "too many friends"}));
            break;
        }
    }
    alice.say(json!({"unwatch": ["f1"]})).await;
    alice.say(json!({"watch": ["bob"]})).await;
    alice.until("bob", "OFFLINE").await;
}

#[tokio::test]
async fn a_gateway_without_a_service_says_that_friends_cannot_be_watched() {
    let gateway = Gateway::start(&[]);
    let mut alice = Player::open(&gateway, "alice").await;
    alice.say(json!({"watch": ["bob"]})).await;
    assert_eq!(
        alice.hear().await,
        json!({"error": "this gateway has no presence service"})
    );
}

#[tokio::test]
async fn the_page_shows_friends_as_they_change_also_when_the_server_is_replaced() {
    let mut fixture = Fixture::new().await;
    let mut browser = Browser::start().await;
    browser.open(&fixture.gateways[0].page_url()).await;
    browser.enter("#player", "alice").await;
    browser.until_shown("#connection", "Connected").await;
    for friend in ["bob", "carol"] {
        browser.enter("#friend", friend).await;
        browser
            .until_shown(&format!("[data-player={friend}] .state"), "OFFLINE")
            .await;
    }
    let bob = fixture.bob().await;
    browser
        .until_shown("[data-player=bob] .state", "ONLINE")
        .await;
    // Alice is a player herself: the page keeps her online.
    assert_eq!(
        fixture.server.get("/presence/alice").await.body["state"],
        "ONLINE"
    );

    fixture.replace_server().await;
    bob.say("IN_MATCH").await;
    browser
        .until_shown("[data-player=bob] .state", "IN_MATCH")
        .await;
    browser
        .until("!document.querySelector('#friends.outdated')")
        .await;

    bob.quit().await;
    browser
        .until_shown("[data-player=bob] .state", "OFFLINE")
        .await;
    browser
        .evaluate("document.querySelector('[data-player=bob] button').click()")
        .await;
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('#friends li').length")
            .await,
        1
    );
    browser
        .evaluate("document.querySelector('[data-state=AWAY]').click()")
        .await;
    while fixture.server.get("/presence/alice").await.body["state"] != "AWAY" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    browser.assert_no_complaints();
}

#[tokio::test]
async fn the_page_shows_what_friends_are_doing_and_lets_its_player_say_so() {
    let fixture = Fixture::new().await;
    let mut browser = Browser::start().await;
    browser.open(&fixture.gateways[0].page_url()).await;
    browser.enter("#player", "alice").await;
    browser.enter("#friend", "bob").await;
    let bob = fixture.bob().await;
    browser
        .until_shown("[data-player=bob] .state", "ONLINE")
        .await;
    for (size, shown) in [
        (2, "Ranked, 2/4, joinable"),
        (3, "Ranked, 3/4, joinable"),
        (4, "Ranked, 4/4"),
    ] {
        bob.show(&ranked(size)).await;
        browser
            .until(&format!(
                "document.querySelector('[data-player=bob] .activity').innerText === {shown:?}"
            ))
            .await;
    }
    // What others write is text.
    let html = "<img src=x onerror=alert(1)><b>\"&amp;";
    bob.show(&json!({"details": html})).await;
    browser
        .until_shown("[data-player=bob] .activity", html)
        .await;
    assert_eq!(
        browser
            .evaluate("document.querySelector('#friends img, #friends b')")
            .await,
        Value::Null
    );
    bob.show(&Value::Null).await;
    browser
        .until("document.querySelector('[data-player=bob] .activity').innerText === ''")
        .await;

    browser
        .evaluate(
            "document.querySelector('#size').value = 2; document.querySelector('#max').value = 4",
        )
        .await;
    browser
        .evaluate("document.querySelector('#joinable').checked = true")
        .await;
    browser.enter("#details", "Ranked").await;
    let mut expected = ranked(2);
    expected["party"]["id"] = json!("alice");
    let version = version_with(&fixture.server, Some(&expected)).await;
    // The activity ends with the socket, and the page says it again on the next one.
    browser.evaluate("socket.close()").await;
    while version_with(&fixture.server, Some(&expected)).await == version {}
    browser
        .evaluate("document.querySelector('#nothing').click()")
        .await;
    version_with(&fixture.server, None).await;
    browser.assert_no_complaints();
}

/// Waits until alice has this activity, or none; returns the version.
async fn version_with(server: &Server, activity: Option<&Value>) -> Value {
    loop {
        let presence = server.get("/presence/alice").await.body;
        if presence.get("activity") == activity {
            return presence["version"].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
