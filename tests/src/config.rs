//! Configurations for tests.

use presence::{PresenceService, config::Config};

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

/// A presence service on a Redis, with some variables set.
///
/// # Panics
/// Where a value is bad.
pub fn service(redis: &RedisServer, variables: &[(&str, &str)]) -> PresenceService {
    PresenceService::new(&config(redis, variables)).expect("a presence service")
}
