//! Fuzz target: the configuration from arbitrary variables.

use super::{Config, ServerConfig};

/// Parses a configuration from lines of `NAME=value`.
///
/// # Panics
/// If an unusable configuration is accepted, or an error message has more than one line.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lookup = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.split_once('='));
        let value = pairs
            .find(|(variable, _)| *variable == name)
            .map(|(_, value)| value.to_owned());
        value.filter(|_| name != "PRESENCE_NATS_CREDS") // a fuzzer shall not read this machine's files
    };
    match Config::from_lookup(lookup) {
        Ok(config) => {
            assert!(config.lifetimes.heartbeat_interval < config.lifetimes.ttl);
            assert!(config.lifetimes.offline_grace <= config.lifetimes.ttl);
            assert!(
                !config.redis.urls.is_empty()
                    && config.limits.max_batch > 0
                    && config.limits.max_connections > 0
            );
            assert!(config.events.is_none_or(|events| !events.urls.is_empty()));
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "one line: {error}"),
    }
    if let Ok(server) = ServerConfig::from_lookup(lookup) {
        assert!(server.tokens.iter().all(|token| !token.expose().is_empty()));
    }
}
