//! What tests put a service together from.

use presence::{
    PresenceService,
    config::Config,
    model::{Connection, ConnectionId, PlayerId},
    runtime::App,
};

use crate::RedisServer;

/// The configuration for a Redis, with some variables set.
///
/// # Panics
/// Where a value is bad.
pub fn config(redis: &RedisServer, variables: &[(&str, &str)]) -> Config {
    Config::from_lookup(|name| match name {
        "PRESENCE_REDIS_URL" => Some(redis.url()),
        name => variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()),
    })
    .expect("a good configuration")
}

/// All parts of the service on a Redis, with some variables set.
///
/// # Panics
/// Where a value is bad.
pub fn app(redis: &RedisServer, variables: &[(&str, &str)]) -> App {
    App::new(config(redis, variables)).expect("an app")
}

/// A presence service on a Redis, with some variables set.
///
/// # Panics
/// Where a value is bad.
pub fn service(redis: &RedisServer, variables: &[(&str, &str)]) -> PresenceService {
    app(redis, variables).presence()
}

/// A player's id.
///
/// # Panics
/// Where it is none.
pub fn player(id: &str) -> PlayerId {
    PlayerId::parse(id).expect("a player's id")
}

/// A player's connection.
///
/// # Panics
/// Where one of the ids is none.
pub fn connection(player_id: &str, connection_id: &str) -> Connection {
    let connection_id = ConnectionId::parse(connection_id).expect("a connection's id");
    Connection { player_id: player(player_id), connection_id }
}
