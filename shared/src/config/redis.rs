//! Configuration of Redis and its keys.

use std::{fmt, time::Duration};

use super::{
    redis_url::has_user_alone,
    variables::{ConfigError, Result, Variables, whole_number},
};
use crate::aws::{IamAuthToken, RequestSigner, credentials};

const PARTITIONS: &str = "PRESENCE_CLUSTER_PARTITIONS";

/// Configuration of Redis and its keys.
#[derive(Clone)]
pub struct RedisConfig {
    /// `PRESENCE_REDIS_URL` (`redis://127.0.0.1:6379`): one server; or the seeds of a cluster, or
    /// the Sentinels of a primary, separated by commas.
    pub urls: Vec<::redis::ConnectionInfo>,
    /// `PRESENCE_REDIS_AUTH=iam`: the signer of the tokens that replace a password.
    pub tokens: Option<IamAuthToken>,
    /// `PRESENCE_REDIS_MODE` (`standalone`).
    pub mode: RedisMode,
    /// `PRESENCE_REDIS_SENTINEL_NAME` (`mymaster`): the primary's name in the configuration of its
    /// Sentinels. Only sentinel mode uses it.
    pub sentinel_name: String,
    /// `PRESENCE_CLUSTER_PARTITIONS` (`256`): the number of partitions over which a cluster's
    /// players are spread, a power of two. `None` without a cluster.
    pub partitions: Option<u16>,
    /// `PRESENCE_KEY_PREFIX` (`presence:`).
    pub key_prefix: String,
    /// `PRESENCE_STORE_TIMEOUT` (`500ms`): time limit of one round trip to Redis.
    pub timeout: Duration,
}

/// The topology of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisMode {
    /// One server, with or without replicas behind one address.
    Standalone,
    /// Redis Cluster.
    Cluster,
    /// One primary, whose address comes from Sentinels.
    Sentinel,
}

impl RedisConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Self> {
        const URL: &str = "PRESENCE_REDIS_URL";
        let mode = variables.parse(
            "PRESENCE_REDIS_MODE",
            "standalone",
            "standalone, cluster or sentinel",
            |text| match text {
                "standalone" => Some(RedisMode::Standalone),
                "cluster" => Some(RedisMode::Cluster),
                "sentinel" => Some(RedisMode::Sentinel),
                _ => None,
            },
        )?;
        let accepted_urls = mode.accepted_urls();
        let urls = variables.parse(URL, "redis://127.0.0.1:6379", accepted_urls, |text| {
            mode.parse_urls(text)
        })?;
        let tokens = variables.redis_tokens(&urls[0], mode)?;
        // With IAM tokens, a user without a password is exactly what is needed.
        if tokens.is_none() && has_user_alone(&urls[0]) {
            return Err(ConfigError::new(URL, accepted_urls));
        }
        Ok(Self {
            urls,
            tokens,
            mode,
            sentinel_name: variables.sentinel_name(mode)?,
            partitions: variables.partitions(mode)?,
            key_prefix: variables.parse(
                "PRESENCE_KEY_PREFIX",
                "presence:",
                "up to 64 printable ASCII characters, no spaces and no braces",
                |text| {
                    let is_allowed =
                        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}');
                    (text.len() <= 64 && text.bytes().all(is_allowed)).then(|| text.to_owned())
                },
            )?,
            timeout: variables.duration("PRESENCE_STORE_TIMEOUT", "500ms")?,
        })
    }
}

impl ConfigError {
    /// The configured number of partitions differs from the one of the stored data.
    pub(crate) fn of_partitions(stored: u16) -> Self {
        Self::new(
            PARTITIONS,
            format!("{stored}, over which the data in Redis is spread already"),
        )
    }
}

impl Variables<'_> {
    /// Reads `PRESENCE_REDIS_SENTINEL_NAME`. Sentinel itself accepts any name.
    fn sentinel_name(&self, mode: RedisMode) -> Result<String> {
        const NAME: &str = "PRESENCE_REDIS_SENTINEL_NAME";
        let accepts = "the name of a primary as its Sentinels know it, printable ASCII without spaces, and only with \
                       PRESENCE_REDIS_MODE=sentinel";
        if mode != RedisMode::Sentinel && self.text(NAME).is_some() {
            return Err(ConfigError::new(NAME, accepts));
        }
        self.parse(NAME, "mymaster", accepts, |text| {
            text.bytes()
                .all(|byte| byte.is_ascii_graphic())
                .then(|| text.to_owned())
        })
    }

    /// Reads `PRESENCE_CLUSTER_PARTITIONS`. It is refused outside cluster mode, as it would be
    /// ignored.
    fn partitions(&self, mode: RedisMode) -> Result<Option<u16>> {
        let is_cluster = mode == RedisMode::Cluster;
        if !is_cluster && self.text(PARTITIONS).is_none() {
            return Ok(None);
        }
        let accepts = "a power of two from 1 to 16384, and only with PRESENCE_REDIS_MODE=cluster";
        self.parse(PARTITIONS, "256", accepts, |text| {
            let count: u16 = whole_number(text)?;
            (is_cluster && count.is_power_of_two() && count <= 16_384).then_some(Some(count))
        })
    }

    /// Reads `PRESENCE_REDIS_AUTH`, `PRESENCE_REDIS_IAM_CACHE` and the region.
    fn redis_tokens(
        &self,
        url: &::redis::ConnectionInfo,
        mode: RedisMode,
    ) -> Result<Option<IamAuthToken>> {
        const AUTH: &str = "PRESENCE_REDIS_AUTH";
        let has_tokens = self.parse(AUTH, "", "iam, or nothing", |text| match text {
            "" => Some(false),
            "iam" => Some(true),
            _ => None,
        })?;
        let cache = self.iam_cache(has_tokens)?;
        if !has_tokens {
            return Ok(None);
        }
        if mode == RedisMode::Sentinel {
            let accepts =
                "iam only without PRESENCE_REDIS_MODE=sentinel: ElastiCache has no Sentinels";
            return Err(ConfigError::new(AUTH, accepts));
        }
        let Some(region) = self.region() else {
            return Err(ConfigError::new(AUTH, "iam only if AWS_REGION is set"));
        };
        let settings = url.redis_settings();
        let user = settings
            .username()
            .filter(|user| user.bytes().all(is_plain) && settings.password().is_none());
        let Some(user) = user else {
            let accepts = "rediss://user@host:port, with an ElastiCache user and no password, if PRESENCE_REDIS_AUTH is iam";
            return Err(ConfigError::new("PRESENCE_REDIS_URL", accepts));
        };
        let host = match url.addr() {
            ::redis::ConnectionAddr::Tcp(host, _)
            | ::redis::ConnectionAddr::TcpTls { host, .. } => host,
            _ => "",
        };
        let signer = RequestSigner::new(region, credentials());
        let tokens = IamAuthToken::new(signer, user.to_owned(), host, cache);
        Ok(Some(tokens))
    }

    /// Reads `PRESENCE_REDIS_IAM_CACHE`. It is refused without IAM tokens, as it would be ignored.
    fn iam_cache(&self, has_tokens: bool) -> Result<Option<String>> {
        let accepts = "the name of a cache in ElastiCache: letters, digits and hyphens, and only with PRESENCE_REDIS_AUTH=iam";
        self.parse("PRESENCE_REDIS_IAM_CACHE", "", accepts, |text| {
            let name = Some(text.to_ascii_lowercase()).filter(|name| !name.is_empty());
            let is_allowed = text.bytes().all(is_plain) && (has_tokens || name.is_none());
            is_allowed.then_some(name)
        })
    }
}

/// Whether a byte may occur in the names of ElastiCache's users and caches.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Leaves out the URLs: they may hold a password.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("mode", &self.mode)
            .field("partitions", &self.partitions)
            .field("key_prefix", &self.key_prefix)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
