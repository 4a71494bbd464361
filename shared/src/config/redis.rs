//! Redis and its keys.

use std::{fmt, time::Duration};

use ::redis::IntoConnectionInfo as _;

use super::variables::{ConfigError, Result, Variables};
use crate::aws::{CacheToken, Identity, credentials};

/// Redis and its keys.
#[derive(Clone)]
pub struct RedisConfig {
    /// `PRESENCE_REDIS_URL` (`redis://127.0.0.1:6379`): one server, or the seeds of a cluster, separated by commas.
    pub urls: Vec<::redis::ConnectionInfo>,
    /// `PRESENCE_REDIS_AUTH=iam`: what makes the tokens that stand for a password.
    pub tokens: Option<CacheToken>,
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

impl RedisConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Self> {
        const URL: &str = "PRESENCE_REDIS_URL";
        let mode =
            variables.parse("PRESENCE_REDIS_MODE", "standalone", "standalone or cluster", |text| match text {
                "standalone" => Some(RedisMode::Standalone),
                "cluster" => Some(RedisMode::Cluster),
                _ => None,
            })?;
        let accepts = match mode {
            RedisMode::Standalone => {
                "one URL, redis:// or rediss://, such as redis://user:password@host:6379/0: a user only with a password, \
                 no query and no fragment"
            }
            RedisMode::Cluster => {
                "one or more URLs, separated by commas, such as redis://user:password@host:6379: all redis:// or all \
                 rediss://, with no user and password but the first one's, without a database, a query or a fragment"
            }
        };
        let urls = variables.parse(URL, "redis://127.0.0.1:6379", accepts, parse_redis_urls)?;
        let fits = match mode {
            RedisMode::Standalone => urls.len() == 1,
            RedisMode::Cluster => are_seeds(&urls),
        };
        if !fits {
            return Err(ConfigError::new(URL, accepts));
        }
        let tokens = variables.redis_tokens(&urls[0])?;
        if tokens.is_none() && has_user_alone(&urls[0]) {
            return Err(ConfigError::new(URL, accepts));
        }
        Ok(Self {
            urls,
            tokens,
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

impl Variables<'_> {
    /// `PRESENCE_REDIS_AUTH`, `PRESENCE_REDIS_IAM_CACHE`, and the region.
    fn redis_tokens(&self, url: &::redis::ConnectionInfo) -> Result<Option<CacheToken>> {
        let has_tokens = self.parse("PRESENCE_REDIS_AUTH", "", "iam, or nothing", |text| match text {
            "" => Some(false),
            "iam" => Some(true),
            _ => None,
        })?;
        const CACHE: &str = "PRESENCE_REDIS_IAM_CACHE";
        let accepts =
            "the name of a cache in ElastiCache: letters, digits and hyphens, and only with PRESENCE_REDIS_AUTH=iam";
        let name = self.parse(CACHE, "", accepts, |text| {
            text.bytes().all(is_plain).then(|| Some(text.to_ascii_lowercase()).filter(|name| !name.is_empty()))
        })?;
        if !has_tokens {
            return if name.is_some() { Err(ConfigError::new(CACHE, accepts)) } else { Ok(None) };
        }
        let Some(region) = self.region() else {
            return Err(ConfigError::new("PRESENCE_REDIS_AUTH", "iam only where AWS_REGION is set"));
        };
        let settings = url.redis_settings();
        let user = settings.username().filter(|user| user.bytes().all(is_plain) && settings.password().is_none());
        let Some(user) = user else {
            let accepts =
                "rediss://user@host:port, with an ElastiCache user and no password, if PRESENCE_REDIS_AUTH is iam";
            return Err(ConfigError::new("PRESENCE_REDIS_URL", accepts));
        };
        let host = match url.addr() {
            ::redis::ConnectionAddr::Tcp(host, _) | ::redis::ConnectionAddr::TcpTls { host, .. } => host,
            _ => "",
        };
        let identity = Identity::new(region, credentials());
        Ok(Some(CacheToken::new(identity, user.to_owned(), host, name)))
    }
}

/// What names in ElastiCache are made of.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn parse_redis_urls(text: &str) -> Option<Vec<::redis::ConnectionInfo>> {
    text.split(',').map(str::trim).map(parse_redis_url).collect()
}

/// Refuses what the client would ignore or could never use: a query, a fragment, port 0, a database below 0.
fn parse_redis_url(url: &str) -> Option<::redis::ConnectionInfo> {
    let is_redis = url.starts_with("redis://") || url.starts_with("rediss://");
    if !is_redis || url.contains(['?', '#']) {
        return None;
    }
    let info = url.into_connection_info().ok()?;
    let is_usable = match info.addr() {
        ::redis::ConnectionAddr::Tcp(_, port) | ::redis::ConnectionAddr::TcpTls { port, .. } => *port != 0,
        _ => false,
    };
    (is_usable && info.redis_settings().db() >= 0).then_some(info)
}

/// Whether a URL names a user without a password: the client would not authenticate at all.
fn has_user_alone(url: &::redis::ConnectionInfo) -> bool {
    let settings = url.redis_settings();
    settings.username().is_some() && settings.password().is_none()
}

/// A cluster has one database. And the first seed decides for all nodes whether there is TLS, and who the client is: a
/// password must not go out in the clear because another seed came first.
fn are_seeds(urls: &[::redis::ConnectionInfo]) -> bool {
    let has_tls = |url: &::redis::ConnectionInfo| matches!(url.addr(), ::redis::ConnectionAddr::TcpTls { .. });
    let is_like_the_first = |url: &::redis::ConnectionInfo| {
        let first = urls[0].redis_settings();
        let other = url.redis_settings();
        let is_anonymous = other.username().is_none() && other.password().is_none();
        let has_same_user = other.username() == first.username() && other.password() == first.password();
        other.db() == 0 && has_tls(url) == has_tls(&urls[0]) && (is_anonymous || has_same_user)
    };
    urls.iter().all(is_like_the_first)
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
