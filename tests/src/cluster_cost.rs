//! Commands that idle servers and health probes send to a cluster.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{Function, NatsServer, RedisCluster, Server, event};

/// The time over which commands are counted: several passes of everything that is repeated.
const WINDOW: Duration = Duration::from_secs(12);

/// Starts servers with default settings, each of which serves calls on all of its threads, and
/// returns the commands per second that all nodes together execute without any call.
///
/// # Panics
/// If a server does not start.
pub async fn idle_commands_per_second(cluster: &RedisCluster, servers: usize) -> f64 {
    let nats = NatsServer::start().await;
    let urls = cluster.urls();
    let nats_url = nats.url();
    let variables = variables(&urls, &nats_url);
    let servers: Vec<_> = (0..servers).map(|_| Server::start(&variables)).collect();
    for server in &servers {
        let ids: Vec<_> = (0..500).map(|n| format!("p{n}")).collect();
        for _ in 0..20 {
            assert_eq!(
                server
                    .post("/presence/friends", json!({ "player_ids": ids }))
                    .await
                    .status,
                200
            );
        }
        while server.get("/health/ready").await.body["checks"]["sweep"]["status"] != "ok" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    cluster.forget_commands();
    let begin = Instant::now();
    tokio::time::sleep(WINDOW).await;
    let commands = cluster.commands();
    let rate = sum(&commands) as f64 / begin.elapsed().as_secs_f64();
    eprintln!(
        "{} idle servers: {rate:.0} commands per second: {commands:?}",
        servers.len()
    );
    rate
}

/// The commands of one health probe: the most of an HTTP call of the function and of a scheduled
/// invocation, each the first of its process.
///
/// # Panics
/// If a probe fails.
pub async fn commands_per_health_probe(cluster: &RedisCluster) -> u64 {
    let nats = NatsServer::start().await;
    let urls = cluster.urls();
    let nats_url = nats.url();
    let mut most = 0;
    for event in [event::get("/health/ready"), json!({"source": "aws.events"})] {
        let function = Function::start("health", &variables(&urls, &nats_url)).await;
        cluster.forget_commands();
        function.invoke(event).await.expect("a healthy service");
        let commands = cluster.commands();
        most = most.max(sum(&commands));
        eprintln!("a health probe: {commands:?}");
    }
    most
}

fn variables<'a>(urls: &'a str, nats_url: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("PRESENCE_REDIS_URL", urls),
        ("PRESENCE_REDIS_MODE", "cluster"),
        ("PRESENCE_NATS_URL", nats_url),
    ]
}

fn sum(commands: &BTreeMap<String, u64>) -> u64 {
    commands.values().sum()
}
