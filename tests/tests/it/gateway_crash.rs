//! Ten gateways that hold leases on a real server: one dies, one returns, and Redis hangs.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use presence_tests::{NatsServer, RedisServer, Server};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const GATEWAYS: usize = 10;
const PER_GATEWAY: usize = 60;
const PLAYERS: usize = GATEWAYS * PER_GATEWAY;

/// The first players have a second device, on the gateway after their own.
const WITH_TWO_DEVICES: usize = 10;

const GATEWAY_TTL: Duration = Duration::from_secs(3);

/// Gateways that renew their leases more often than they have to: machines that run tests are busy.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(300);

struct Fleet {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
}

impl Fleet {
    /// Starts the service, and connects the players of each gateway.
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &redis.url()),
            ("PRESENCE_NATS_URL", &nats.url()),
            ("PRESENCE_GATEWAY_TTL", "3s"),
            ("PRESENCE_SWEEP_INTERVAL", "1s"),
        ]);
        let fleet = Self {
            redis,
            nats,
            server,
        };
        let connecting = async {
            for gateway in 0..GATEWAYS {
                fleet.report("connect", gateway, own(gateway)).await;
            }
            let second = (0..WITH_TWO_DEVICES)
                .map(|player| entry(player, "phone"))
                .collect();
            fleet.report("connect", 1, second).await;
            fleet.await_events(PLAYERS).await;
        };
        fleet.while_kept(0..GATEWAYS, connecting).await;
        fleet
    }

    /// Waits for `work` while some gateways keep their leases.
    async fn while_kept(&self, gateways: Range<usize>, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self.keep(gateways) => unreachable!("gateways keep their leases"),
        }
    }

    /// Renews a gateway's lease; returns the status, or what the server says if Redis does not
    /// respond.
    async fn renew(&self, gateway: usize) -> String {
        let body = self
            .server
            .post(
                "/presence/gateway",
                json!({"gateway_id": format!("g{gateway}")}),
            )
            .await
            .body;
        body["status"].as_str().unwrap_or("unknown").to_owned()
    }

    /// Renews the leases of gateways, indefinitely.
    async fn keep(&self, gateways: Range<usize>) {
        loop {
            for gateway in gateways.clone() {
                self.renew(gateway).await;
            }
            tokio::time::sleep(RENEWAL_INTERVAL).await;
        }
    }

    /// Sends a batch that names its gateway.
    async fn report(&self, verb: &str, gateway: usize, connections: Vec<Value>) {
        let count = connections.len();
        let body = json!({"gateway_id": format!("g{gateway}"), "connections": connections});
        let response = self
            .server
            .post(&format!("/presence/{verb}"), body)
            .await
            .body;
        assert_eq!(response["accepted"], count, "{response}");
    }

    /// The players that read OFFLINE.
    async fn offline(&self) -> BTreeSet<usize> {
        let ids: Vec<_> = (0..PLAYERS).map(|player| format!("p{player}")).collect();
        let response = self
            .server
            .post("/presence/friends", json!({"player_ids": ids}))
            .await
            .body;
        let presences = response["presences"].as_array().unwrap().iter().enumerate();
        presences
            .filter(|(_, presence)| presence["state"] == "OFFLINE")
            .map(|(player, _)| player)
            .collect()
    }

    async fn await_offline(&self, expected: &BTreeSet<usize>) {
        while self.offline().await != *expected {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn await_events(&self, count: usize) {
        while self.nats.count("PRESENCE_EVENTS").await < count as u64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The events after those of the first connects, as player and reason.
    async fn later_events(&self) -> Vec<(String, String)> {
        let messages = self.nats.messages("PRESENCE_EVENTS").await;
        let events = messages
            .iter()
            .map(|message| serde_json::from_slice::<Value>(&message.payload).unwrap());
        let to_text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut later: Vec<_> = events
            .skip(PLAYERS)
            .map(|event| (to_text(&event["player_id"]), to_text(&event["reason"])))
            .collect();
        later.sort();
        later
    }

    /// Waits until the sweep has looked for lost gateways at a time when it may end leases again.
    async fn await_free_look(&self) {
        let mut raw = self.redis.connection().await;
        loop {
            let looks = raw.hgetall("presence:{all}:gateways-seen").await.unwrap();
            let get_time = |name: &str| {
                looks
                    .get(name)
                    .map_or(0, |time| time.parse::<u64>().unwrap())
            };
            if get_time("held_until") > 0 && get_time("seen") > get_time("held_until") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn entry(player: usize, connection: &str) -> Value {
    json!({"player_id": format!("p{player}"), "connection_id": format!("{connection}{player}")})
}

/// The connections of a gateway's own players.
fn own(gateway: usize) -> Vec<Value> {
    (gateway * PER_GATEWAY..(gateway + 1) * PER_GATEWAY)
        .map(|player| entry(player, "c"))
        .collect()
}

/// The players of the first gateway who have no other device.
fn lost_with_the_first() -> BTreeSet<usize> {
    (WITH_TWO_DEVICES..PER_GATEWAY).collect()
}

fn events(players: &BTreeSet<usize>, reasons: &[&str]) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for player in players {
        events.extend(
            reasons
                .iter()
                .map(|reason| (format!("p{player}"), (*reason).to_owned())),
        );
    }
    events.sort();
    events
}

#[tokio::test]
async fn one_of_ten_gateways_dies_and_its_players_without_another_device_go_offline_once() {
    let it = Fleet::start().await;
    let lost = lost_with_the_first();
    let showing = async {
        it.await_offline(&lost).await;
        it.await_events(PLAYERS + lost.len()).await;
        assert_eq!(it.later_events().await, events(&lost, &["lost"]));
        assert_eq!(
            it.offline().await,
            lost,
            "players with a second device, and those of other gateways, stay"
        );
    };
    it.while_kept(1..GATEWAYS, showing).await;
}

#[tokio::test]
async fn a_gateway_that_returns_has_its_players_online_again_and_no_ghost() {
    let it = Fleet::start().await;
    let lost = lost_with_the_first();
    it.while_kept(1..GATEWAYS, it.await_offline(&lost)).await;
    assert_eq!(it.renew(0).await, "new");
    let returning = async {
        it.report("heartbeat", 0, own(0)).await;
        assert_eq!(it.offline().await, BTreeSet::new());
        assert_eq!(
            it.server.get("/presence/p0").await.body["connection_count"],
            2
        );
    };
    it.while_kept(0..GATEWAYS, returning).await;
    let dying_for_good = async {
        it.await_offline(&lost).await;
        it.await_events(PLAYERS + 3 * lost.len()).await;
        assert_eq!(
            it.later_events().await,
            events(&lost, &["lost", "lost", "restore"])
        );
    };
    it.while_kept(1..GATEWAYS, dying_for_good).await;
}

#[tokio::test]
async fn redis_that_hangs_for_longer_than_the_leases_makes_no_player_offline() {
    let it = Fleet::start().await;
    it.redis.pause();
    tokio::time::sleep(2 * GATEWAY_TTL).await; // how long Redis hangs
    it.redis.resume();
    let healing = async {
        it.await_free_look().await;
        let events = it.later_events().await;
        assert!(events.is_empty(), "{events:?}");
        assert_eq!(it.offline().await, BTreeSet::new());
    };
    it.while_kept(0..GATEWAYS, healing).await;
}
