//! A rolling restart of gateways: each one drains with `moving`, and its players reconnect to the
//! others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use presence_client::{ConnectionId, Endpoint, HttpNotifier, Notifier, PlayerId, Reason, State};
use presence_tests::{Device, Gateway, NatsServer, RedisServer, STORE_TIMEOUT, Server};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// The restart in full size takes minutes on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(300);

const STATES: [State; 3] = [State::InMatch, State::InQueue, State::Away];

fn player(n: usize) -> String {
    format!("p{n}")
}

struct Fixture {
    _redis: RedisServer,
    nats: NatsServer,
    server: Server,
    players: usize,
    /// Every how many players there is one who sets a state.
    state_every: usize,
}

impl Fixture {
    async fn new(players: usize, state_every: usize) -> Self {
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let redis_url = redis.url();
        let nats_url = nats.url();
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &*redis_url),
            ("PRESENCE_NATS_URL", &*nats_url),
            STORE_TIMEOUT,
        ]);
        Self {
            _redis: redis,
            nats,
            server,
            players,
            state_every,
        }
    }

    /// The state of each player; those who never set one are ONLINE.
    fn state(&self, n: usize) -> State {
        let sets_one = n.is_multiple_of(self.state_every);
        if sets_one {
            STATES[n / self.state_every % STATES.len()]
        } else {
            State::Online
        }
    }

    /// What the service says of all players; fewer if it has too much to do just now.
    async fn presences(&self) -> Vec<Value> {
        let ids: Vec<_> = (0..self.players).map(player).collect();
        let mut all = Vec::with_capacity(self.players);
        for ids in ids.chunks(2_000) {
            let mut response = self
                .server
                .post("/presence/friends", json!({"player_ids": ids}))
                .await;
            if let Some(presences) = response.body["presences"].as_array_mut() {
                all.append(presences);
            }
        }
        all
    }

    /// Waits until each player has one connection and its state; returns the versions.
    async fn until_all_are_connected(&self) -> Vec<Value> {
        let is_there = |(n, presence): (usize, &Value)| {
            presence["connection_count"] == 1 && presence["state"] == self.state(n).as_str()
        };
        let wait = async {
            loop {
                let presences = self.presences().await;
                if presences.len() == self.players && presences.iter().enumerate().all(is_there) {
                    return presences
                        .into_iter()
                        .map(|mut presence| presence["version"].take())
                        .collect();
                }
                sleep(Duration::from_millis(500)).await;
            }
        };
        timeout(TIMEOUT, wait)
            .await
            .expect("all players are connected")
    }

    /// The number of events that there have to be: a connect of each player, and each state that
    /// was set.
    fn expected_events(&self) -> usize {
        self.players
            + (0..self.players)
                .filter(|n| self.state(*n) != State::Online)
                .count()
    }

    /// Nothing changed for the friends of any player: no version rose, and no event was emitted.
    async fn assert_no_news_since(&self, versions: &[Value]) {
        assert_eq!(self.until_all_are_connected().await, versions);
        let count = async || self.nats.count("PRESENCE_EVENTS").await as usize;
        let wait = async {
            while count().await < self.expected_events() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(TIMEOUT, wait).await.expect("the events arrive");
        assert_eq!(count().await, self.expected_events());
        let metrics = self.server.metrics().await;
        assert!(
            metrics.contains("presence_gateways_lost_total 0"),
            "leaving is not a crash"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_gateways_is_invisible_to_friends() {
    const GATEWAYS: usize = 4;
    const PLAYERS: usize = 200;
    let it = Fixture::new(PLAYERS, 4).await;
    let start = || Gateway::start(&[("GATEWAY_PRESENCE_URL", &*it.server.url(""))]);
    let mut gateways: Vec<_> = (0..GATEWAYS).map(|_| start()).collect();
    let mut devices = HashMap::new();
    for n in 0..PLAYERS {
        let device = Device::open(&gateways[n % GATEWAYS].url(&player(n)))
            .await
            .unwrap();
        if it.state(n) != State::Online {
            device.say(it.state(n).as_str()).await;
        }
        devices.insert(n, (n % GATEWAYS, device));
    }
    let versions = it.until_all_are_connected().await;

    for restarted in 0..GATEWAYS {
        let next = (restarted + 1) % GATEWAYS;
        gateways[restarted].signal("TERM");
        let moving: Vec<_> = devices
            .iter()
            .filter(|(_, (on, _))| *on == restarted)
            .map(|(n, _)| *n)
            .collect();
        let reconnected = join_all(moving.into_iter().map(async |n| {
            timeout(TIMEOUT, devices[&n].1.closed())
                .await
                .expect("the gateway closes the socket");
            (
                n,
                Device::open(&gateways[next].url(&player(n))).await.unwrap(),
            )
        }));
        for (n, device) in reconnected.await {
            devices.insert(n, (next, device));
        }
        let ended = async {
            while !gateways[restarted].has_ended() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, ended).await.expect("the gateway ends");
        gateways[restarted] = start();
    }
    it.assert_no_news_since(&versions).await;
    let those_that_left_are_gone = async {
        while it.server.get("/gateways").await.body["gateways"]
            .as_array()
            .map(Vec::len)
            != Some(GATEWAYS)
        {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(TIMEOUT, those_that_left_are_gone)
        .await
        .expect("as many leases as gateways");
}

/// A gateway without sockets: what it reports is what a gateway with sockets reports.
struct SocketlessGateway {
    notifier: Arc<HttpNotifier>,
    players: Vec<usize>,
}

impl SocketlessGateway {
    fn start(server: &Server) -> Self {
        let endpoint = Endpoint::parse(&server.url("")).unwrap();
        Self {
            notifier: Arc::new(HttpNotifier::builder(endpoint).start().unwrap()),
            players: Vec::new(),
        }
    }

    fn connect(&mut self, players: impl IntoIterator<Item = usize>, generation: usize) {
        for n in players {
            let connection = ConnectionId::parse(&format!("c{n}-{generation}")).unwrap();
            self.notifier
                .connected(&PlayerId::parse(&player(n)).unwrap(), &connection);
            self.players.push(n);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make rolling-restart"]
async fn a_rolling_restart_of_20_gateways_with_5000_players_each_makes_no_event_and_loses_no_state()
{
    const GATEWAYS: usize = 20;
    const PLAYERS_PER_GATEWAY: usize = 5_000;
    let it = Fixture::new(GATEWAYS * PLAYERS_PER_GATEWAY, 40).await;
    let mut gateways: Vec<_> = (0..GATEWAYS)
        .map(|_| SocketlessGateway::start(&it.server))
        .collect();
    for (index, gateway) in gateways.iter_mut().enumerate() {
        let players = index * PLAYERS_PER_GATEWAY..(index + 1) * PLAYERS_PER_GATEWAY;
        gateway.connect(players.clone(), 0);
        for n in players.filter(|n| it.state(*n) != State::Online) {
            gateway
                .notifier
                .state_changed(&PlayerId::parse(&player(n)).unwrap(), it.state(n));
        }
    }
    let versions = it.until_all_are_connected().await;

    for restarted in 0..GATEWAYS {
        let new = SocketlessGateway::start(&it.server);
        let old = std::mem::replace(&mut gateways[restarted], new);
        // The players come back through all the others while the gateway drains.
        let drain = tokio::spawn({
            let notifier = Arc::clone(&old.notifier);
            async move {
                notifier
                    .drain(Reason::Moving, Duration::from_secs(30))
                    .await
            }
        });
        for (index, n) in old.players.into_iter().enumerate() {
            gateways[(restarted + 1 + index % (GATEWAYS - 1)) % GATEWAYS]
                .connect([n], restarted + 1);
        }
        drain.await.unwrap().expect("everything is delivered");
    }
    it.assert_no_news_since(&versions).await;
}
