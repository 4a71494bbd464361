//! The example gateway's friends: over its WebSocket, and on its page in headless Chromium.

use futures_util::{SinkExt as _, StreamExt as _};
use presence_tests::{Browser, Device, Gateway, NatsServer, RedisServer, Server};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

struct World {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
    gateways: [Gateway; 2],
}

impl World {
    async fn new() -> Self {
        let (redis, nats) = (RedisServer::start().await, NatsServer::start().await);
        let server = Server::start(&[("PRESENCE_REDIS_URL", &*redis.url()), ("PRESENCE_NATS_URL", &*nats.url())]);
        let url = server.url("");
        let gateways = [0, 1].map(|_| Gateway::start(&[("GATEWAY_PRESENCE_URL", &*url)]));
        Self { redis, nats, server, gateways }
    }

    /// Ends the server as kill -9 does, and starts another one at its address.
    async fn replace_server(&mut self) {
        let address = self.server.address().to_owned();
        self.server.kill();
        self.server = Server::start(&[
            ("PRESENCE_REDIS_URL", &*self.redis.url()),
            ("PRESENCE_NATS_URL", &*self.nats.url()),
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
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// Reads until this state of a friend arrives.
    async fn until(&mut self, friend: &str, state: &str) {
        loop {
            let message = self.hear().await;
            let presences = message["presences"].as_array().cloned().unwrap_or_default();
            if presences.iter().any(|presence| presence["player_id"] == friend && presence["state"] == state) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_player_hears_of_friends_on_another_gateway_until_they_are_unwatched() {
    let world = World::new().await;
    let mut alice = Player::open(&world.gateways[0], "alice").await;
    alice.say(json!({"watch": ["bob", "carol"]})).await;
    alice.until("bob", "OFFLINE").await;
    let bob = world.bob().await;
    alice.until("bob", "ONLINE").await;
    bob.say("IN_QUEUE").await;
    alice.until("bob", "IN_QUEUE").await;
    alice.say(json!({"unwatch": ["bob"]})).await;
    alice.say(json!({"what": 1})).await;
    while alice.hear().await["error"].is_null() {}
    bob.say("IN_MATCH").await;
    let _carol = Device::open(&world.gateways[1].url("carol")).await.unwrap();
    loop {
        let message = alice.hear().await;
        assert!(!message.to_string().contains("bob"), "{message}");
        if message["presences"][0]["state"] == "ONLINE" {
            break;
        }
    }
}

#[tokio::test]
async fn more_friends_than_allowed_are_refused_and_the_others_are_still_watched() {
    let world = World::new().await;
    let mut alice = Player::open(&world.gateways[0], "alice").await;
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
    assert_eq!(alice.hear().await, json!({"error": "this gateway has no presence service"}));
}

#[tokio::test]
async fn the_page_shows_friends_as_they_change_also_when_the_server_is_replaced() {
    let mut world = World::new().await;
    let mut browser = Browser::start().await;
    browser.open(&world.gateways[0].page_url()).await;
    browser.enter("#player", "alice").await;
    browser.until_shown("#connection", "Connected").await;
    for friend in ["bob", "carol"] {
        browser.enter("#friend", friend).await;
        browser.until_shown(&format!("[data-player={friend}] .state"), "OFFLINE").await;
    }
    let bob = world.bob().await;
    browser.until_shown("[data-player=bob] .state", "ONLINE").await;
    // Alice is a player herself: the page keeps her online.
    assert_eq!(world.server.get("/presence/alice").await.body["state"], "ONLINE");

    world.replace_server().await;
    bob.say("IN_MATCH").await;
    browser.until_shown("[data-player=bob] .state", "IN_MATCH").await;
    browser.until("!document.querySelector('#friends.outdated')").await;

    bob.quit().await;
    browser.until_shown("[data-player=bob] .state", "OFFLINE").await;
    browser.evaluate("document.querySelector('[data-player=bob] button').click()").await;
    assert_eq!(browser.evaluate("document.querySelectorAll('#friends li').length").await, 1);
    browser.evaluate("document.querySelector('[data-state=AWAY]').click()").await;
    while world.server.get("/presence/alice").await.body["state"] != "AWAY" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}
