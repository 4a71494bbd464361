//! The example gateway's lease, through faults: its crash, a freeze, the end of the service, the
//! loss of Redis's data.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use presence_tests::{Device, Gateway, NatsServer, RedisServer, Server, free_port};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Heartbeats are so rare that nothing but the gateways' leases can end or restore anything within
/// a test.
const RARE_HEARTBEATS: [(&str, &str); 2] = [
    ("PRESENCE_TTL", "10m"),
    ("PRESENCE_HEARTBEAT_INTERVAL", "200s"),
];

const PLAYERS: usize = 50;

fn player(n: usize) -> String {
    format!("p{n}")
}

struct Fixture {
    redis: RedisServer,
    nats: NatsServer,
    server: Server,
    variables: Vec<(&'static str, String)>,
}

impl Fixture {
    async fn new(gateway_ttl: &str) -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let mut variables: Vec<_> = RARE_HEARTBEATS
            .map(|(name, value)| (name, value.to_owned()))
            .into();
        variables.push(("PRESENCE_REDIS_URL", redis.url()));
        variables.push(("PRESENCE_NATS_URL", nats.url()));
        variables.push(("PRESENCE_BIND", format!("127.0.0.1:{}", free_port())));
        variables.push(("PRESENCE_GATEWAY_TTL", gateway_ttl.to_owned()));
        let server = start(&variables);
        Self {
            redis,
            nats,
            server,
            variables,
        }
    }

    fn gateway(&self) -> Gateway {
        Gateway::start(&[("GATEWAY_PRESENCE_URL", &*self.server.url(""))])
    }

    /// Ends the server as kill -9 does, and starts another one at its address.
    fn replace_server(&mut self) {
        self.server.kill();
        self.server = start(&self.variables);
    }

    /// Waits until each player has this state and number of connections.
    async fn until_all_are(&self, expected: impl Fn(usize) -> (&'static str, u64)) {
        let ids: Vec<_> = (0..PLAYERS).map(player).collect();
        let expected: Vec<_> = (0..PLAYERS).map(expected).collect();
        let wait = async {
            loop {
                let response = self
                    .server
                    .post("/presence/friends", json!({"player_ids": ids}))
                    .await;
                let presences = response.body["presences"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                let is_so = |(presence, (state, count)): (&Value, &(&str, u64))| {
                    presence["state"] == *state && presence["connection_count"] == *count
                };
                if presences.len() == PLAYERS && presences.iter().zip(&expected).all(is_so) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, wait)
            .await
            .expect("all players are as expected");
    }

    /// Waits until the service has leases of gateways that own these numbers of connections, in
    /// ascending order. What a gateway reports before it has its lease does not name it, and
    /// follows right after the lease.
    async fn until_owned(&self, expected: &[usize]) {
        let wait = async {
            loop {
                let body = self.server.get("/gateways").await.body;
                let gateways = body["gateways"].as_array().cloned().unwrap_or_default();
                let mut counts: Vec<_> = gateways
                    .iter()
                    .map(|gateway| gateway["connections"].as_u64())
                    .collect();
                counts.sort();
                if counts
                    .iter()
                    .copied()
                    .eq(expected.iter().map(|count| Some(*count as u64)))
                {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, wait)
            .await
            .expect("the gateways own their connections");
    }

    /// The players of the events with this reason, each of them once.
    async fn players_of_events(&self, reason: &str) -> BTreeSet<String> {
        let messages = self.nats.messages("PRESENCE_EVENTS").await;
        let events = messages
            .iter()
            .map(|message| serde_json::from_slice::<Value>(&message.payload).unwrap());
        let mut players = BTreeSet::new();
        for event in events.filter(|event| event["reason"] == reason) {
            let player = event["player_id"].as_str().unwrap().to_owned();
            assert!(players.insert(player), "twice: {event}");
        }
        players
    }

    async fn until_there_are_events(&self, reason: &str, players: &BTreeSet<String>) {
        let wait = async {
            while self.players_of_events(reason).await != *players {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(TIMEOUT, wait).await.expect("the events arrive");
    }
}

fn start(variables: &[(&'static str, String)]) -> Server {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    Server::start(&variables)
}

async fn open(gateway: &Gateway, players: impl Iterator<Item = usize>) -> Vec<Device> {
    join_all(players.map(async |n| Device::open(&gateway.url(&player(n))).await.unwrap())).await
}

fn all_online(_: usize) -> (&'static str, u64) {
    ("ONLINE", 1)
}

#[tokio::test]
async fn the_players_of_a_gateway_that_is_killed_are_offline_by_its_lease_and_those_with_another_device_stay()
 {
    let it = Fixture::new("1500ms").await;
    let mut gateway = it.gateway();
    let other = it.gateway();
    let _devices = open(&gateway, 0..PLAYERS).await;
    let _others = open(&other, (0..PLAYERS).step_by(5)).await;
    it.until_all_are(|n| ("ONLINE", if n % 5 == 0 { 2 } else { 1 }))
        .await;
    it.until_owned(&[PLAYERS / 5, PLAYERS]).await;
    gateway.kill();
    it.until_all_are(|n| {
        if n % 5 == 0 {
            ("ONLINE", 1)
        } else {
            ("OFFLINE", 0)
        }
    })
    .await;
    let lost = (0..PLAYERS).filter(|n| n % 5 != 0).map(player).collect();
    it.until_there_are_events("lost", &lost).await;
}

#[tokio::test]
async fn a_gateway_that_was_frozen_has_its_players_back_and_no_ghosts() {
    let it = Fixture::new("1500ms").await;
    let gateway = it.gateway();
    let mut devices = open(&gateway, 0..PLAYERS).await;
    for device in &devices {
        device.say("IN_MATCH").await;
    }
    it.until_all_are(|_| ("IN_MATCH", 1)).await;
    it.until_owned(&[PLAYERS]).await;
    gateway.pause();
    it.until_all_are(|_| ("OFFLINE", 0)).await;
    let gone: Vec<_> = devices.drain(..PLAYERS / 2).collect();
    for device in gone {
        drop(device); // its end of the socket closes while the gateway stands still
    }
    gateway.resume();
    it.until_all_are(|n| {
        if n < PLAYERS / 2 {
            ("OFFLINE", 0)
        } else {
            ("IN_MATCH", 1)
        }
    })
    .await;
    for device in devices {
        device.quit().await;
    }
    it.until_all_are(|_| ("OFFLINE", 0)).await;
}

#[tokio::test]
async fn a_restart_of_the_service_makes_no_change() {
    let mut it = Fixture::new("7500ms").await;
    let gateway = it.gateway();
    let _devices = open(&gateway, 0..PLAYERS).await;
    it.until_all_are(all_online).await;
    it.until_owned(&[PLAYERS]).await;
    let before = it.server.get("/gateways").await.body["gateways"][0]["gateway_id"].clone();
    for _ in 0..2 {
        it.replace_server();
        let renewed = async {
            let read_expiry = async || {
                let body = it.server.get("/gateways").await.body;
                body["as_of"].as_u64().unwrap()
                    + body["gateways"][0]["expires_in_ms"].as_u64().unwrap()
            };
            let first = read_expiry().await;
            while read_expiry().await <= first + 2_000 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(TIMEOUT, renewed)
            .await
            .expect("the lease is renewed by the new server");
    }
    let gateways = it.server.get("/gateways").await.body["gateways"].clone();
    assert_eq!(
        (
            gateways.as_array().unwrap().len(),
            &gateways[0]["gateway_id"]
        ),
        (1, &before)
    );
    it.until_all_are(all_online).await;
    assert_eq!(
        it.nats.messages("PRESENCE_EVENTS").await.len(),
        PLAYERS,
        "no event but those of the connects"
    );
}

#[tokio::test]
async fn after_redis_was_flushed_all_players_are_back_with_their_states_long_before_their_next_heartbeats()
 {
    let it = Fixture::new("1500ms").await;
    let gateways = [it.gateway(), it.gateway()];
    let mut devices = open(&gateways[0], 0..PLAYERS).await;
    devices.extend(open(&gateways[1], 0..PLAYERS).await);
    for device in &devices[..PLAYERS] {
        device.say("AWAY").await;
    }
    it.until_all_are(|_| ("AWAY", 2)).await;
    it.until_owned(&[PLAYERS, PLAYERS]).await;
    let () = it.redis.ask(&["FLUSHALL"]).await;
    it.until_all_are(|_| ("AWAY", 2)).await;
    it.until_owned(&[PLAYERS, PLAYERS]).await;
}
