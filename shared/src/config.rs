//! Configuration: one small struct a concern, filled from environment variables.
//!
//! Every variable is looked up through a function, so that tests pass their own. An empty variable is an unset one.

use std::{fmt, ops::RangeInclusive, time::Duration};

use redis::IntoConnectionInfo as _;
use tracing_subscriber::filter::Targets;

/// Everything that the programs read from the environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Redis is.
    pub redis: RedisConfig,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// How much one call may carry.
    pub limits: Limits,
    /// Where events go. `None`: no events are made.
    pub events: Option<EventsConfig>,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Redis and its keys.
#[derive(Clone)]
pub struct RedisConfig {
    /// `PRESENCE_REDIS_URL` (`redis://127.0.0.1:6379`): one server, or the seeds of a cluster, separated by commas.
    pub urls: Vec<redis::ConnectionInfo>,
    /// `PRESENCE_REDIS_MODE` (`standalone`).
    pub mode: RedisMode,
    /// `PRESENCE_KEY_PREFIX` (`presence:`).
    pub key_prefix: String,
    /// `PRESENCE_STORE_TIMEOUT` (`500ms`): one round trip to Redis.
    pub timeout: Duration,
}

/// What kind of Redis there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisMode {
    /// One server, with or without replicas behind one address.
    Standalone,
    /// Redis Cluster.
    Cluster,
}

/// How long things live.
#[derive(Debug, Clone)]
pub struct Lifetimes {
    /// `PRESENCE_TTL` (`45s`): how long a lease and a record live without a heartbeat.
    pub ttl: Duration,
    /// `PRESENCE_HEARTBEAT_INTERVAL` (`15s`): how often gateways shall beat. Shorter than the TTL.
    pub heartbeat_interval: Duration,
    /// `PRESENCE_OFFLINE_GRACE` (`0s`): how long a player whose last connection was lost may come back unnoticed.
    pub offline_grace: Duration,
    /// `PRESENCE_LAST_SEEN_RETENTION` (`7d`): how long the past of an OFFLINE player is known.
    pub last_seen_retention: Duration,
    /// `PRESENCE_SWEEP_INTERVAL` (`2s`): how often the sweep looks for records that ran out.
    pub sweep_interval: Duration,
}

/// How much one call may carry.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `PRESENCE_MAX_BATCH` (`2000`): entries of a list.
    pub max_batch: usize,
    /// `PRESENCE_MAX_CONNECTIONS` (`64`): leases of one player.
    pub max_connections: u32,
}

/// NATS JetStream.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// `PRESENCE_NATS_URL`: one or more servers, separated by commas.
    pub urls: Vec<async_nats::ServerAddr>,
    /// `PRESENCE_NATS_CREDS`: what the credentials file holds that it names.
    pub credentials: Option<Secret>,
    /// `PRESENCE_EVENTS_SUBJECT` (`events.presence`).
    pub subject: String,
    /// `PRESENCE_EVENTS_STREAM` (`PRESENCE_EVENTS`).
    pub stream: String,
    /// `PRESENCE_EVENTS_RETENTION` (`15m`): how long events are worth keeping, in the stream and in the outbox.
    pub retention: Duration,
}

/// A text that is never shown.
#[derive(Clone)]
pub struct Secret(pub(crate) String);

/// Logs.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `RUST_LOG` (`info`): a level, or levels by module, such as `info,presence=debug`.
    pub filter: Targets,
    /// `PRESENCE_LOG_FORMAT` (`text`, in AWS Lambda `json`).
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// A variable whose value cannot be used. Its message is the one line that a program prints before it stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} accepts {accepts}")]
pub struct ConfigError {
    /// The variable's name. Its value is not repeated: it may be a secret.
    pub variable: &'static str,
    /// What it accepts.
    pub accepts: String,
}

type Result<T> = std::result::Result<T, ConfigError>;

impl Config {
    /// Reads the configuration from the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|variable| std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads the configuration through `lookup`.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that cannot be used.
    pub fn from_lookup(lookup: impl Fn(&'static str) -> Option<String>) -> Result<Self> {
        let variables = Variables(&lookup);
        Ok(Self {
            redis: RedisConfig::from(&variables)?,
            lifetimes: Lifetimes::from(&variables)?,
            limits: Limits::from(&variables)?,
            events: EventsConfig::from(&variables)?,
            log: LogConfig::from(&variables)?,
        })
    }
}

impl RedisConfig {
    fn from(variables: &Variables<'_>) -> Result<Self> {
        const URL: &str = "PRESENCE_REDIS_URL";
        let mode =
            variables.parse("PRESENCE_REDIS_MODE", "standalone", "standalone or cluster", |text| match text {
                "standalone" => Some(RedisMode::Standalone),
                "cluster" => Some(RedisMode::Cluster),
                _ => None,
            })?;
        let accepts = match mode {
            RedisMode::Standalone => "one URL: redis://host:port or rediss://host:port",
            RedisMode::Cluster => "one or more URLs, separated by commas: redis://host:port or rediss://host:port",
        };
        let urls = variables.parse(URL, "redis://127.0.0.1:6379", accepts, parse_redis_urls)?;
        if mode == RedisMode::Standalone && urls.len() > 1 {
            return Err(ConfigError::new(URL, accepts));
        }
        Ok(Self {
            urls,
            mode,
            key_prefix: variables.parse(
                "PRESENCE_KEY_PREFIX",
                "presence:",
                "up to 64 printable ASCII characters, no spaces and no braces",
                |text| {
                    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
                    (text.len() <= 64 && text.bytes().all(is_allowed)).then(|| text.to_owned())
                },
            )?,
            timeout: variables.duration("PRESENCE_STORE_TIMEOUT", "500ms")?,
        })
    }
}

impl Lifetimes {
    fn from(variables: &Variables<'_>) -> Result<Self> {
        let ttl = variables.duration("PRESENCE_TTL", "45s")?;
        let heartbeat_interval = variables.duration("PRESENCE_HEARTBEAT_INTERVAL", "15s")?;
        if heartbeat_interval >= ttl {
            let accepts = "a duration below PRESENCE_TTL, such as 15s";
            return Err(ConfigError::new("PRESENCE_HEARTBEAT_INTERVAL", accepts));
        }
        let offline_grace = variables.parse(
            "PRESENCE_OFFLINE_GRACE",
            "0s",
            "0s or a duration up to PRESENCE_TTL, such as 20s",
            |text| parse_duration(text).filter(|grace| *grace <= ttl),
        )?;
        Ok(Self {
            ttl,
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
            max_connections: variables.number("PRESENCE_MAX_CONNECTIONS", "64", 1..=10_000)?,
        })
    }
}

impl EventsConfig {
    fn from(variables: &Variables<'_>) -> Result<Option<Self>> {
        let accepts = "one or more URLs, separated by commas: nats://host:port or tls://host:port";
        let urls = variables.parse("PRESENCE_NATS_URL", "", accepts, parse_nats_urls)?;
        let config = Self {
            urls,
            credentials: variables.credentials("PRESENCE_NATS_CREDS")?,
            subject: variables.parse(
                "PRESENCE_EVENTS_SUBJECT",
                "events.presence",
                "a NATS subject without wildcards",
                |text| text.split('.').all(is_nats_token).then(|| text.to_owned()),
            )?,
            stream: variables.parse(
                "PRESENCE_EVENTS_STREAM",
                "PRESENCE_EVENTS",
                "the name of a JetStream stream: no spaces, dots or wildcards",
                |text| (is_nats_token(text) && !text.contains(['/', '\\'])).then(|| text.to_owned()),
            )?,
            retention: variables.duration("PRESENCE_EVENTS_RETENTION", "15m")?,
        };
        Ok((!config.urls.is_empty()).then_some(config))
    }
}

impl LogConfig {
    fn from(variables: &Variables<'_>) -> Result<Self> {
        let is_lambda = variables.text("AWS_LAMBDA_RUNTIME_API").is_some();
        Ok(Self {
            filter: variables.parse(
                "RUST_LOG",
                "info",
                "off, error, warn, info, debug or trace, alone or by module: info,presence=debug",
                |text| text.parse().ok(),
            )?,
            format: variables.parse(
                "PRESENCE_LOG_FORMAT",
                if is_lambda { "json" } else { "text" },
                "text or json",
                |text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                },
            )?,
        })
    }
}

/// The variables, by a lookup that tests can replace.
struct Variables<'a>(&'a dyn Fn(&'static str) -> Option<String>);

impl Variables<'_> {
    fn text(&self, variable: &'static str) -> Option<String> {
        (self.0)(variable).filter(|value| !value.is_empty())
    }

    fn parse<T>(
        &self,
        variable: &'static str,
        default: &str,
        accepts: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let text = self.text(variable);
        parse(text.as_deref().unwrap_or(default)).ok_or_else(|| ConfigError::new(variable, accepts))
    }

    fn credentials(&self, variable: &'static str) -> Result<Option<Secret>> {
        let accepts = "the path of a NATS credentials file that can be read";
        let Some(path) = self.text(variable) else { return Ok(None) };
        let content = std::fs::read_to_string(path).map_err(|_| ConfigError::new(variable, accepts))?;
        let is_valid = async_nats::ConnectOptions::with_credentials(&content).is_ok();
        is_valid.then_some(Some(Secret(content))).ok_or_else(|| ConfigError::new(variable, accepts))
    }

    fn duration(&self, variable: &'static str, default: &str) -> Result<Duration> {
        let accepts = format!("a duration from 1ms to 365d, such as {default}");
        self.parse(variable, default, &accepts, |text| parse_duration(text).filter(|duration| !duration.is_zero()))
    }

    fn number(&self, variable: &'static str, default: &str, range: RangeInclusive<u32>) -> Result<u32> {
        let accepts = format!("a whole number from {} to {}", range.start(), range.end());
        self.parse(variable, default, &accepts, |text| text.parse().ok().filter(|number| range.contains(number)))
    }
}

impl ConfigError {
    fn new(variable: &'static str, accepts: impl Into<String>) -> Self {
        Self { variable, accepts: accepts.into() }
    }
}

/// Whole milliseconds, as Redis counts them, up to a year.
fn parse_duration(text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    let is_whole = duration.subsec_nanos().is_multiple_of(1_000_000);
    (is_whole && duration <= Duration::from_hours(365 * 24)).then_some(duration)
}

fn parse_redis_urls(text: &str) -> Option<Vec<redis::ConnectionInfo>> {
    let is_redis = |url: &&str| url.starts_with("redis://") || url.starts_with("rediss://");
    text.split(',').map(str::trim).map(|url| Some(url).filter(is_redis)?.into_connection_info().ok()).collect()
}

fn parse_nats_urls(text: &str) -> Option<Vec<async_nats::ServerAddr>> {
    let is_nats = |url: &&str| url.starts_with("nats://") || url.starts_with("tls://");
    let urls = text.split(',').map(str::trim).filter(|_| !text.is_empty());
    urls.map(|url| Some(url).filter(is_nats)?.parse().ok()).collect()
}

fn is_nats_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>' | b'.'))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Without the URLs: they may hold a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("mode", &self.mode)
            .field("key_prefix", &self.key_prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&'static str, &str)]) -> Result<Config> {
        Config::from_lookup(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(&[]).unwrap();
        assert_eq!(config.lifetimes.ttl, Duration::from_secs(45));
        assert_eq!(config.lifetimes.heartbeat_interval, Duration::from_secs(15));
        assert_eq!(config.lifetimes.offline_grace, Duration::ZERO);
        assert_eq!(config.lifetimes.last_seen_retention, Duration::from_hours(7 * 24));
        assert_eq!(config.lifetimes.sweep_interval, Duration::from_secs(2));
        assert_eq!((config.limits.max_batch, config.limits.max_connections), (2000, 64));
        assert_eq!(config.redis.key_prefix, "presence:");
        assert_eq!(config.redis.timeout, Duration::from_millis(500));
        assert!(config.events.is_none());
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        assert_eq!(config(&[("PRESENCE_TTL", "")]).unwrap().lifetimes.ttl, Duration::from_secs(45));
    }

    #[test]
    fn a_bad_value_names_the_variable_and_what_it_accepts() {
        for (variable, value) in [
            ("PRESENCE_TTL", "0s"),
            ("PRESENCE_TTL", "45"),
            ("PRESENCE_TTL", "100us"),
            ("PRESENCE_HEARTBEAT_INTERVAL", "45s"),
            ("PRESENCE_OFFLINE_GRACE", "46s"),
            ("PRESENCE_MAX_BATCH", "0"),
            ("PRESENCE_MAX_CONNECTIONS", "-1"),
            ("PRESENCE_REDIS_MODE", "sentinel"),
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
            ("PRESENCE_REDIS_URL", "redis://a:1,redis://b:2, rediss://c:3"),
        ]);
        assert_eq!(config.unwrap().redis.urls.len(), 3);
    }
}
