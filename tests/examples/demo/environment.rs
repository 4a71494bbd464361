//! The processes of the demo.

use std::time::Duration;

use presence_tests::{Gateway, NatsServer, RedisServer, Server, send};
use serde_json::{Value, json};

use tokio::sync::watch;

use crate::{balancer::Balancer, feed::Feed, friends::Friends, screen::Screen, status};

// The intervals are short, so that a crash shows within seconds.
pub(crate) const TTL: Duration = Duration::from_secs(9);
pub(crate) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
pub(crate) const GATEWAY_TTL: Duration = Duration::from_secs(3);
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// `PRESENCE_WATCH_POLL`: the maximum delay of changes that friends are shown while NATS is down.
const WATCH_POLL: &str = "1s";

/// All processes. They end when this is dropped.
pub(crate) struct Environment {
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) servers: Vec<Server>,
    pub(crate) nats: NatsServer,
    pub(crate) redis: RedisServer,
    balancer: Balancer,
    http: reqwest::Client,
    /// The URLs of the gateways' counters.
    counter_urls: watch::Sender<Vec<String>>,
}

impl Environment {
    /// Starts all processes.
    pub(crate) async fn start(screen: &Screen) -> Self {
        screen.act("Redis, NATS, two presence servers behind a load balancer, two gateways");
        let redis = RedisServer::start().await;
        let nats = NatsServer::start().await;
        let servers: Vec<_> = (0..2)
            .map(|_| start_server(&redis, &nats, "127.0.0.1:0"))
            .collect();
        let addresses = servers
            .iter()
            .map(|server| server.address().parse().expect("an address"))
            .collect();
        let balancer = Balancer::start(addresses).await.expect("a free port");
        let gateways: Vec<_> = (0..2).map(|_| start_gateway(&balancer)).collect();
        screen.note(&format!(
            "Redis {}, NATS {}, load balancer {}",
            redis.url(),
            nats.url(),
            balancer.url()
        ));
        for (n, server) in servers.iter().enumerate() {
            screen.note(&format!(
                "server {} is process {}, console at {}",
                n + 1,
                server.id(),
                server.url("/console")
            ));
        }
        for (name, gateway) in ["A", "B"].iter().zip(&gateways) {
            screen.note(&format!(
                "gateway {name} is process {}, players at {}",
                gateway.id(),
                gateway.url("…")
            ));
        }
        let seconds = [TTL, HEARTBEAT_INTERVAL, GATEWAY_TTL, SWEEP_INTERVAL]
            .map(|duration| duration.as_secs());
        let [ttl, interval, gateway_ttl, sweep] = seconds;
        screen.note(&format!(
            "a connection's lease lasts {ttl} s, with a heartbeat every {interval} s"
        ));
        screen.note(&format!(
            "a gateway's lease lasts {gateway_ttl} s; the sweep runs every {sweep} s"
        ));
        let counter_urls = watch::Sender::new(gateways.iter().map(Gateway::stats_url).collect());
        Self {
            gateways,
            servers,
            nats,
            redis,
            balancer,
            http: reqwest::Client::new(),
            counter_urls,
        }
    }

    /// Shows the current figures until the environment is dropped.
    pub(crate) fn show_status(&self, screen: &Screen, feed: &Feed) {
        tokio::spawn(status::show(
            self.counter_urls.subscribe(),
            feed.clone(),
            screen.clone(),
        ));
    }

    /// Starts a killed server again, on its previous address.
    pub(crate) fn restart_server(&mut self, n: usize) {
        let address = self.servers[n].address().to_owned();
        self.servers[n] = start_server(&self.redis, &self.nats, &address);
    }

    /// Starts a gateway that replaces one that has ended.
    pub(crate) fn restart_gateway(&mut self, n: usize) {
        self.gateways[n] = start_gateway(&self.balancer);
        self.counter_urls
            .send_replace(self.gateways.iter().map(Gateway::stats_url).collect());
    }

    /// Watches players through the load balancer.
    pub(crate) fn watch(&self, players: impl Iterator<Item = String>) -> Friends {
        Friends::watch(&self.balancer.url(), players)
    }

    /// The service's friends response for players, in their order; `None` if the call fails.
    pub(crate) async fn presences(&self, players: &[String]) -> Option<Vec<Value>> {
        let url = format!("{}/presence/friends", self.balancer.url());
        let response = self
            .http
            .post(url)
            .json(&json!({"player_ids": players}))
            .send()
            .await
            .ok()?;
        let mut body: Value = response.error_for_status().ok()?.json().await.ok()?;
        serde_json::from_value(body["presences"].take()).ok()
    }

    /// The service's response about one player.
    pub(crate) async fn presence(&self, player: &str) -> Value {
        send(
            self.http
                .get(format!("{}/presence/{player}", self.balancer.url())),
        )
        .await
        .body
    }
}

fn start_server(redis: &RedisServer, nats: &NatsServer, bind: &str) -> Server {
    let [ttl, interval, gateway_ttl, sweep] =
        [TTL, HEARTBEAT_INTERVAL, GATEWAY_TTL, SWEEP_INTERVAL]
            .map(|duration| format!("{}s", duration.as_secs()));
    Server::start(&[
        ("PRESENCE_BIND", bind),
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_NATS_URL", &nats.url()),
        ("PRESENCE_TTL", &ttl),
        ("PRESENCE_HEARTBEAT_INTERVAL", &interval),
        ("PRESENCE_GATEWAY_TTL", &gateway_ttl),
        ("PRESENCE_SWEEP_INTERVAL", &sweep),
        ("PRESENCE_WATCH_POLL", WATCH_POLL),
    ])
}

fn start_gateway(balancer: &Balancer) -> Gateway {
    let interval = format!("{}s", HEARTBEAT_INTERVAL.as_secs());
    Gateway::start(&[
        ("GATEWAY_PRESENCE_URL", &balancer.url()),
        ("GATEWAY_HEARTBEAT_INTERVAL", &interval),
    ])
}
