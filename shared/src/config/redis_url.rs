//! Parsing of Redis URLs.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};

use super::RedisMode;

/// The default port of a Sentinel.
const SENTINEL_PORT: u16 = 26_379;

impl RedisMode {
    /// What `PRESENCE_REDIS_URL` accepts in this mode.
    pub(super) fn accepted_urls(self) -> &'static str {
        match self {
            Self::Standalone => {
                "one URL, redis:// or rediss://, such as redis://user:password@host:6379/0: a user only with a password, \
                 no query and no fragment"
            }
            Self::Cluster => {
                "one or more URLs, separated by commas, such as redis://user:password@host:6379: all redis:// or all \
                 rediss://, with no user and password but the first one's, without a database, a query or a fragment"
            }
            Self::Sentinel => {
                "one or more URLs of Sentinels, separated by commas, such as redis://user:password@host:26379/0: all \
                 redis:// or all rediss://, with no user, password and database but the first one's; a user only with a \
                 password, no query and no fragment"
            }
        }
    }

    /// Parses a comma-separated list of URLs. `None` if this mode does not
    /// [accept](Self::accepted_urls) them.
    pub(super) fn parse_urls(self, text: &str) -> Option<Vec<ConnectionInfo>> {
        let urls: Option<Vec<_>> = text
            .split(',')
            .map(|url| self.parse_url(url.trim()))
            .collect();
        urls.filter(|urls| match self {
            Self::Standalone => urls.len() == 1,
            Self::Cluster | Self::Sentinel => {
                urls.iter().all(|url| self.is_like_the_first(url, &urls[0]))
            }
        })
    }

    /// Parses one URL. Refuses what the client would ignore or could not use: a query, a fragment,
    /// port 0, a database below 0.
    fn parse_url(self, url: &str) -> Option<ConnectionInfo> {
        let is_redis = url.starts_with("redis://") || url.starts_with("rediss://");
        if !is_redis || url.contains(['?', '#']) {
            return None;
        }
        let parsed = url.into_connection_info().ok()?;
        // The client's default is the port of a Redis server, also for a Sentinel.
        let has_port = redis::parse_redis_url(url)?.port().is_some();
        let info = if has_port || self != Self::Sentinel {
            parsed
        } else {
            at_port(parsed, SENTINEL_PORT)?
        };
        let is_usable = match info.addr() {
            ConnectionAddr::Tcp(_, port) | ConnectionAddr::TcpTls { port, .. } => *port != 0,
            _ => false,
        };
        (is_usable && info.redis_settings().db() >= 0).then_some(info)
    }

    /// Whether `url` agrees with the first one: TLS, user, password and database of the first one
    /// are used for all nodes. A password must not be sent in the clear because another URL came
    /// first. A cluster has one database.
    fn is_like_the_first(self, url: &ConnectionInfo, first: &ConnectionInfo) -> bool {
        let has_tls = |url: &ConnectionInfo| matches!(url.addr(), ConnectionAddr::TcpTls { .. });
        let settings = url.redis_settings();
        let first_settings = first.redis_settings();
        let is_anonymous = settings.username().is_none() && settings.password().is_none();
        let has_same_user = settings.username() == first_settings.username()
            && settings.password() == first_settings.password();
        let has_same_database =
            settings.db() == 0 || (self == Self::Sentinel && settings.db() == first_settings.db());
        has_tls(url) == has_tls(first) && (is_anonymous || has_same_user) && has_same_database
    }
}

/// Whether a URL names a user without a password: the client would not authenticate at all.
pub(super) fn has_user_alone(url: &ConnectionInfo) -> bool {
    let settings = url.redis_settings();
    settings.username().is_some() && settings.password().is_none()
}

fn at_port(info: ConnectionInfo, port: u16) -> Option<ConnectionInfo> {
    let mut address = info.addr().clone();
    match &mut address {
        ConnectionAddr::Tcp(_, current) | ConnectionAddr::TcpTls { port: current, .. } => {
            *current = port
        }
        _ => return None,
    }
    Some(info.set_addr(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(mode: RedisMode, urls: &str) -> Option<Vec<String>> {
        Some(
            mode.parse_urls(urls)?
                .iter()
                .map(|url| url.addr().to_string())
                .collect(),
        )
    }

    #[test]
    fn a_sentinel_listens_on_its_own_port_unless_the_url_names_another() {
        let urls = "redis://a,redis://b:6379, redis://[::1]";
        let found = addresses(RedisMode::Sentinel, urls).unwrap();
        assert_eq!(found, ["a:26379", "b:6379", "::1:26379"]);
        assert_eq!(
            addresses(RedisMode::Cluster, "redis://a").unwrap(),
            ["a:6379"]
        );
    }

    #[test]
    fn sentinels_agree_about_tls_user_password_and_database() {
        for urls in [
            "rediss://a,redis://b",
            "redis://:p@a,redis://:q@b",
            "redis://a,redis://:p@b",
            "redis://u:p@a,redis://u@b",
            "redis://a/1,redis://b/2",
            "redis://a,redis://b/2",
            "redis://a?x=1",
            "redis://a#insecure",
            "redis://a,",
            "redis://a:0",
        ] {
            assert!(addresses(RedisMode::Sentinel, urls).is_none(), "{urls}");
        }
        for urls in [
            "redis://:p@a,redis://b",
            "redis://u:p@a/2,redis://u:p@b/2",
            "rediss://a/2,rediss://b",
        ] {
            let parsed = RedisMode::Sentinel.parse_urls(urls);
            assert_eq!(parsed.map(|urls| urls.len()), Some(2), "{urls}");
        }
    }

    #[test]
    fn the_seeds_of_a_cluster_have_no_database() {
        assert!(addresses(RedisMode::Cluster, "redis://a/1,redis://b/1").is_none());
        assert!(addresses(RedisMode::Standalone, "redis://a/1").is_some());
    }
}
