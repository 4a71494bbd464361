//! Configurations and services for tests.

use presence::{
    PresenceService,
    config::Config,
    model::{Connection, ConnectionId, PlayerId},
    runtime::App,
};

use crate::{RedisCluster, RedisServer};

/// The configuration for a Redis, with some variables set.
///
/// # Panics
/// If a value is bad.
pub fn config(redis: &RedisServer, variables: &[(&str, &str)]) -> Config {
    Config::from_lookup(|name| match name {
        "PRESENCE_REDIS_URL" => Some(redis.url()),
        name => lookup(variables, name),
    })
    .expect("a good configuration")
}

/// `PRESENCE_STORE_TIMEOUT` for tests that are not about it: they share their machine with other
/// work.
pub const STORE_TIMEOUT: (&str, &str) = ("PRESENCE_STORE_TIMEOUT", "5s");

fn lookup(variables: &[(&str, &str)], name: &str) -> Option<String> {
    let mut variables = variables.iter().chain([&STORE_TIMEOUT]);
    variables
        .find(|(variable, _)| *variable == name)
        .map(|(_, value)| (*value).to_owned())
}

/// All parts of the service on a Redis, with some variables set.
///
/// # Panics
/// If a value is bad.
pub fn app(redis: &RedisServer, variables: &[(&str, &str)]) -> App {
    App::new(config(redis, variables)).expect("an app")
}

/// All parts of the service on a cluster, with some variables set.
///
/// # Panics
/// If a value is bad.
pub fn cluster_app(cluster: &RedisCluster, variables: &[(&str, &str)]) -> App {
    let config = Config::from_lookup(|name| match name {
        "PRESENCE_REDIS_URL" => Some(cluster.urls()),
        "PRESENCE_REDIS_MODE" => Some("cluster".to_owned()),
        name => lookup(variables, name),
    });
    App::new(config.expect("a good configuration")).expect("an app")
}

/// All parts of the service, with these variables set.
///
/// # Panics
/// If a value is bad.
pub fn app_with(variables: &[(&str, &str)]) -> App {
    let config = Config::from_lookup(|name| lookup(variables, name));
    App::new(config.expect("a good configuration")).expect("an app")
}

/// A presence service on a Redis, with some variables set.
///
/// # Panics
/// If a value is bad.
pub fn service(redis: &RedisServer, variables: &[(&str, &str)]) -> PresenceService {
    app(redis, variables).presence()
}

/// A player's id.
///
/// # Panics
/// If it is invalid.
pub fn player(id: &str) -> PlayerId {
    PlayerId::parse(id).expect("a player's id")
}

/// A player's connection.
///
/// # Panics
/// If one of the ids is invalid.
pub fn connection(player_id: &str, connection_id: &str) -> Connection {
    let connection_id = ConnectionId::parse(connection_id).expect("a connection's id");
    Connection {
        player_id: player(player_id),
        connection_id,
    }
}

/// A connection `c` of each of so many players: `p0`, `p1`, …
pub fn connections(players: usize) -> Vec<Connection> {
    (0..players)
        .map(|n| connection(&format!("p{n}"), "c"))
        .collect()
}
