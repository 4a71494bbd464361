//! Configuration: one small struct per concern, filled from environment variables.
//!
//! Every variable is looked up through a function, so that tests pass their own. An empty variable
//! counts as unset.

mod environment;
mod events;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod log;
mod nats_credentials;
mod otel;
mod redis;
mod redis_url;
mod server;
mod traces;
mod variables;
mod watch;

use std::time::Duration;

pub use environment::Environment;
pub use events::EventsConfig;
pub use log::{LogConfig, LogFormat};
pub use nats_credentials::NatsCredentials;
pub use redis::{RedisConfig, RedisMode};
pub use server::ServerConfig;
pub use traces::{SpanBatchConfig, TracesConfig};
pub use variables::{ConfigError, Secret};
use variables::{Result, Variables};
pub use watch::WatchConfig;

/// The shortest TTL that a heartbeat interval fits into.
const MIN_TTL: Duration = Duration::from_millis(2);

/// The shortest gateway TTL: a third of it is the shortest interval between renewals.
const MIN_GATEWAY_TTL: Duration = Duration::from_millis(3);

/// The longest default of the move grace.
const MAX_DEFAULT_MOVE_GRACE: Duration = Duration::from_secs(30);

/// The longest default of the heartbeat interval.
const MAX_DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

/// Everything that the programs read from the environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The connection to Redis, and the keys.
    pub redis: RedisConfig,
    /// TTLs, graces and intervals.
    pub lifetimes: Lifetimes,
    /// Bounds of lists and leases.
    pub limits: Limits,
    /// NATS JetStream. `None` if the service emits no events.
    pub events: Option<EventsConfig>,
    /// Levels and format of the log.
    pub log: LogConfig,
    /// The export of spans. `None` if no spans are recorded.
    pub traces: Option<TracesConfig>,
}

/// TTLs, graces and intervals.
#[derive(Debug, Clone)]
pub struct Lifetimes {
    /// `PRESENCE_TTL` (`45s`): how long a lease and a record live without a heartbeat.
    pub ttl: Duration,
    /// `PRESENCE_HEARTBEAT_INTERVAL` (a third of the TTL, `15s` at most): how often gateways send
    /// heartbeats. Shorter than the TTL.
    pub heartbeat_interval: Duration,
    /// `PRESENCE_OFFLINE_GRACE` (`0s`): how long a player stays as they were after their last
    /// connection was lost.
    pub offline_grace: Duration,
    /// `PRESENCE_GATEWAY_TTL` (`7500ms`): how long a gateway's lease lives. Gateways renew it three
    /// times per TTL.
    pub gateway_ttl: Duration,
    /// `PRESENCE_MOVE_GRACE` (`30s`, the TTL at most): how long a player may take to connect again
    /// after its gateway left for a planned restart.
    pub move_grace: Duration,
    /// `PRESENCE_LAST_SEEN_RETENTION` (`7d`): how long `last_seen` and version of an OFFLINE player
    /// are kept.
    pub last_seen_retention: Duration,
    /// `PRESENCE_SWEEP_INTERVAL` (`2s`): how soon the sweep notices an expired record.
    pub sweep_interval: Duration,
}

/// Bounds of what one call may carry.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `PRESENCE_MAX_BATCH` (`2000`): entries of a list.
    pub max_batch: usize,
    /// `PRESENCE_MAX_CONNECTIONS` (`64`): leases of one player, 256 at most: a script call looks at
    /// those of 50 players.
    pub max_connections: u32,
}

impl Config {
    /// Reads the configuration through `lookup`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Self> {
        let variables = Variables(&lookup);
        let events = EventsConfig::from(&variables)?;
        // No value is ignored: credentials without a server are a mistake.
        if events.is_none() && variables.text("PRESENCE_NATS_CREDS").is_some() {
            let accepts = "a NATS credentials file only with PRESENCE_NATS_URL, which is unset";
            return Err(ConfigError::new("PRESENCE_NATS_CREDS", accepts));
        }
        Ok(Self {
            redis: RedisConfig::from(&variables)?,
            lifetimes: Lifetimes::from(&variables)?,
            limits: Limits::from(&variables)?,
            events,
            log: LogConfig::from(&variables)?,
            traces: TracesConfig::from(&variables)?,
        })
    }
}

impl Lifetimes {
    fn from(variables: &Variables<'_>) -> Result<Self> {
        // The lower bound leaves room for a heartbeat interval.
        let accepted_ttl =
            "a duration from 2ms to 3650d, a whole number of ms, s, m, h or d, such as 45s";
        let ttl =
            variables.duration_if("PRESENCE_TTL", "45s", accepted_ttl, |ttl| ttl >= MIN_TTL)?;
        // A lease survives two lost heartbeats by default.
        let default_interval = (ttl / 3).min(MAX_DEFAULT_INTERVAL).as_millis().max(1);
        let heartbeat_interval = variables.duration_if(
            "PRESENCE_HEARTBEAT_INTERVAL",
            &format!("{default_interval}ms"),
            "a duration from 1ms that is below PRESENCE_TTL, a whole number of ms, s, m, h or d, such as 15s",
            |interval| !interval.is_zero() && interval < ttl,
        )?;
        let offline_grace = variables.duration_if(
            "PRESENCE_OFFLINE_GRACE",
            "0s",
            "0s or a duration up to PRESENCE_TTL, such as 20s",
            |grace| grace <= ttl,
        )?;
        let gateway_ttl = variables.duration_if(
            "PRESENCE_GATEWAY_TTL",
            "7500ms",
            "a duration from 3ms to 3650d, a whole number of ms, s, m, h or d, such as 7500ms",
            |gateway_ttl| gateway_ttl >= MIN_GATEWAY_TTL,
        )?;
        let default_grace = ttl.min(MAX_DEFAULT_MOVE_GRACE).as_millis();
        let move_grace = variables.duration_if(
            "PRESENCE_MOVE_GRACE",
            &format!("{default_grace}ms"),
            "a duration from 1ms up to PRESENCE_TTL, such as 30s",
            |grace| !grace.is_zero() && grace <= ttl,
        )?;
        Ok(Self {
            ttl,
            gateway_ttl,
            move_grace,
            heartbeat_interval,
            offline_grace,
            last_seen_retention: variables.duration("PRESENCE_LAST_SEEN_RETENTION", "7d")?,
            sweep_interval: variables.duration("PRESENCE_SWEEP_INTERVAL", "2s")?,
        })
    }
}

impl Limits {
    fn from(variables: &Variables<'_>) -> Result<Self> {
        Ok(Self {
            max_batch: variables.number("PRESENCE_MAX_BATCH", "2000", 1..=100_000)? as usize,
            max_connections: variables.number("PRESENCE_MAX_CONNECTIONS", "64", 1..=256)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::table;

    fn config(variables: &[(&'static str, &str)]) -> Result<Config> {
        Config::from_lookup(table(variables))
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(&[]).unwrap();
        assert_eq!(config.lifetimes.ttl, Duration::from_secs(45));
        assert_eq!(config.lifetimes.heartbeat_interval, Duration::from_secs(15));
        assert_eq!(config.lifetimes.offline_grace, Duration::ZERO);
        assert_eq!(
            config.lifetimes.last_seen_retention,
            Duration::from_hours(7 * 24)
        );
        assert_eq!(config.lifetimes.sweep_interval, Duration::from_secs(2));
        assert_eq!(config.lifetimes.gateway_ttl, Duration::from_millis(7_500));
        assert_eq!(config.lifetimes.move_grace, Duration::from_secs(30));
        assert_eq!(
            (config.limits.max_batch, config.limits.max_connections),
            (2000, 64)
        );
        assert_eq!(config.redis.key_prefix, "presence:");
        assert_eq!(config.redis.timeout, Duration::from_millis(500));
        assert!(config.events.is_none());
    }

    #[test]
    fn the_move_grace_is_the_ttl_at_most_if_it_is_not_set() {
        assert_eq!(
            config(&[("PRESENCE_TTL", "10s")])
                .unwrap()
                .lifetimes
                .move_grace,
            Duration::from_secs(10)
        );
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        assert_eq!(
            config(&[("PRESENCE_TTL", "")]).unwrap().lifetimes.ttl,
            Duration::from_secs(45)
        );
    }

    #[test]
    fn a_bad_value_names_the_variable_and_what_it_accepts() {
        for (variable, value) in [
            ("PRESENCE_TTL", "0s"),
            ("PRESENCE_TTL", "45"),
            ("PRESENCE_TTL", "100us"),
            ("PRESENCE_TTL", "1.5s"),
            ("PRESENCE_TTL", "1M"),
            ("PRESENCE_TTL", "15 s"),
            ("PRESENCE_TTL", "1h30m"),
            ("PRESENCE_TTL", "s"),
            ("PRESENCE_EVENTS_RETENTION", "1ms"),
            ("PRESENCE_NATS_URL", "nats://"),
            ("PRESENCE_MAX_BATCH", "+5"),
            ("PRESENCE_HEARTBEAT_INTERVAL", "45s"),
            ("PRESENCE_NATS_CREDS", "/nowhere/user.creds"),
            ("PRESENCE_OFFLINE_GRACE", "46s"),
            ("PRESENCE_GATEWAY_TTL", "0s"),
            ("PRESENCE_GATEWAY_TTL", "2ms"),
            ("PRESENCE_MOVE_GRACE", "0s"),
            ("PRESENCE_MOVE_GRACE", "46s"),
            ("PRESENCE_MAX_BATCH", "0"),
            ("PRESENCE_MAX_CONNECTIONS", "-1"),
            ("PRESENCE_MAX_CONNECTIONS", "257"),
            ("PRESENCE_REDIS_MODE", "Sentinel"),
            ("PRESENCE_REDIS_SENTINEL_NAME", "mymaster"),
            ("PRESENCE_REDIS_URL", "http://127.0.0.1"),
            ("PRESENCE_REDIS_URL", "redis://a,redis://b"),
            ("PRESENCE_KEY_PREFIX", "{presence}:"),
            ("PRESENCE_NATS_URL", "127.0.0.1:4222"),
            ("PRESENCE_EVENTS_SUBJECT", "events.>"),
            ("PRESENCE_EVENTS_STREAM", "a.b"),
        ] {
            let error = config(&[(variable, value)]).unwrap_err();
            assert_eq!(error.variable, variable, "{value}");
            assert!(error.to_string().starts_with(variable));
        }
    }

    #[test]
    fn a_cluster_takes_several_seeds() {
        let config = config(&[
            ("PRESENCE_REDIS_MODE", "cluster"),
            ("PRESENCE_REDIS_URL", "redis://a:1,redis://b:2, redis://c:3"),
        ]);
        assert_eq!(config.unwrap().redis.urls.len(), 3);
    }

    #[test]
    fn a_clusters_seeds_agree_about_tls_and_name_no_database() {
        let parse_cluster = |urls| {
            config(&[
                ("PRESENCE_REDIS_MODE", "cluster"),
                ("PRESENCE_REDIS_URL", urls),
            ])
        };
        for urls in [
            "rediss://a:1,redis://b:2",
            "redis://a:1/2",
            "redis://:p@a,redis://:q@b",
            "redis://a,redis://:p@b",
        ] {
            assert_eq!(
                parse_cluster(urls).unwrap_err().variable,
                "PRESENCE_REDIS_URL",
                "{urls}"
            );
        }
        for urls in ["redis://:p@a,redis://b", "redis://u:p@a,redis://u:p@b"] {
            assert!(parse_cluster(urls).is_ok(), "{urls}");
        }
        assert!(config(&[("PRESENCE_REDIS_URL", "redis://a:1/2")]).is_ok());
    }

    #[test]
    fn sentinels_have_a_name_for_the_primary() {
        let parse_sentinel = |variables: &[(&'static str, &str)]| {
            config(
                &[
                    &[
                        ("PRESENCE_REDIS_MODE", "sentinel"),
                        ("PRESENCE_REDIS_URL", "redis://a,redis://b"),
                    ],
                    variables,
                ]
                .concat(),
            )
        };
        let redis = parse_sentinel(&[]).unwrap().redis;
        assert_eq!(
            (redis.mode, &*redis.sentinel_name, redis.urls.len()),
            (RedisMode::Sentinel, "mymaster", 2)
        );
        let redis = parse_sentinel(&[("PRESENCE_REDIS_SENTINEL_NAME", "eu-1")])
            .unwrap()
            .redis;
        assert_eq!(redis.sentinel_name, "eu-1");
        for (variable, value) in [
            ("PRESENCE_REDIS_SENTINEL_NAME", "my master"),
            ("PRESENCE_REDIS_AUTH", "iam"),
            ("PRESENCE_REDIS_IAM_CACHE", "presence"),
        ] {
            assert_eq!(
                parse_sentinel(&[(variable, value)]).unwrap_err().variable,
                variable
            );
        }
    }
}
