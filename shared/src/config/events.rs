//! Configuration of NATS JetStream.

use std::time::Duration;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

use super::{
    NatsCredentials, Secret,
    variables::{ConfigError, Result, Variables},
};

/// Configuration of NATS JetStream and of the events that it takes.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// `PRESENCE_NATS_URL`: one or more servers, separated by commas. Without user, password and
    /// token: the client logs the addresses that it is given.
    pub urls: Vec<ServerAddr>,
    /// The user and password, or the token, of `PRESENCE_NATS_URL`, or the credentials file of
    /// `PRESENCE_NATS_CREDS`.
    pub credentials: Option<NatsCredentials>,
    /// `PRESENCE_EVENTS_SUBJECT` (`events.presence`).
    pub subject: String,
    /// `PRESENCE_EVENTS_STREAM` (`PRESENCE_EVENTS`).
    pub stream: String,
    /// `PRESENCE_EVENTS_RETENTION` (`15m`): how long events are worth keeping, in the stream and in
    /// the outbox.
    pub retention: Duration,
}

impl EventsConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Option<Self>> {
        let (urls, credentials) = variables.nats_servers()?;
        let config = Self {
            urls,
            credentials,
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
                |text| {
                    (is_nats_token(text) && !text.contains(['/', '\\'])).then(|| text.to_owned())
                },
            )?,
            retention: variables.duration_if(
                "PRESENCE_EVENTS_RETENTION",
                "15m",
                "a duration from 100ms, the least that JetStream takes, to 3650d, such as 15m",
                |retention| retention >= Duration::from_millis(100),
            )?,
        };
        Ok((!config.urls.is_empty()).then_some(config))
    }
}

impl Variables<'_> {
    /// Reads the addresses of the servers, and the credentials for all of them.
    fn nats_servers(&self) -> Result<(Vec<ServerAddr>, Option<NatsCredentials>)> {
        const URL: &str = "PRESENCE_NATS_URL";
        let accepts = "one or more URLs, separated by commas: nats://host:port or tls://host:port, if need be with \
                       user:password@ or token@ before the host, percent-encoded and the same in all of them";
        let urls = self.parse(URL, "", accepts, parse_nats_urls)?;
        let file = self.credentials("PRESENCE_NATS_CREDS")?;
        // One client connects to all servers, so it has one login.
        let mut logins = urls.iter().filter_map(|(_, login)| login.as_ref());
        let login = logins.next();
        if logins.any(|other| Some(other) != login) {
            return Err(ConfigError::new(URL, accepts));
        }
        if login.is_some() && file.is_some() {
            let accepts = "URLs without a user, password or token when PRESENCE_NATS_CREDS is set";
            return Err(ConfigError::new(URL, accepts));
        }
        let credentials = file.or(login.map(Login::to_credentials));
        Ok((
            urls.into_iter().map(|(address, _)| address).collect(),
            credentials,
        ))
    }

    /// Reads credentials from the file at a path, or from the value itself: a secret has no path.
    fn credentials(&self, variable: &'static str) -> Result<Option<NatsCredentials>> {
        let accepts = "the path of a NATS credentials file that can be read, or the content of one";
        let Some(value) = self.text(variable) else {
            return Ok(None);
        };
        let text = if value.contains("-----BEGIN") {
            Ok(value)
        } else {
            std::fs::read_to_string(value)
        };
        let credentials = text.ok().and_then(|text| NatsCredentials::parse(&text));
        credentials
            .map(Some)
            .ok_or_else(|| ConfigError::new(variable, accepts))
    }
}

/// The part of a URL before the `@`, percent-decoded.
#[derive(PartialEq)]
struct Login {
    user: String,
    /// The password. `None` if `user` is a token.
    password: Option<String>,
}

impl Login {
    fn to_credentials(&self) -> NatsCredentials {
        match &self.password {
            Some(password) => NatsCredentials::Password {
                user: self.user.clone(),
                password: Secret::new(password),
            },
            None => NatsCredentials::Token(Secret::new(&self.user)),
        }
    }
}

type Server = (ServerAddr, Option<Login>);

fn parse_nats_urls(text: &str) -> Option<Vec<Server>> {
    text.split(',')
        .map(str::trim)
        .filter(|_| !text.is_empty())
        .map(parse_nats_url)
        .collect()
}

/// Splits a URL into address and login. Nothing of it is ignored: a path or a query has no meaning
/// for NATS, and is refused.
fn parse_nats_url(text: &str) -> Option<Server> {
    let address: ServerAddr = text.parse().ok()?;
    let mut url = address.into_inner();
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    let is_bare =
        matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "nats" | "tls") || !text.contains("://") || !has_host || !is_bare {
        return None;
    }
    let login = login(text, url.username(), url.password())?;
    // The client logs the addresses, so they must not hold the login.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some((ServerAddr::from_url(url).ok()?, login))
}

/// Decodes the login of a URL. `Some(None)` if the URL has none; `None` if it is incomplete or not
/// UTF-8.
fn login(text: &str, user: &str, password: Option<&str>) -> Option<Option<Login>> {
    let decode = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    if !text.contains('@') {
        return Some(None);
    }
    let user = Some(decode(user)?).filter(|user| !user.is_empty())?;
    let password = match password {
        Some(password) => Some(decode(password)?),
        // The URL parser treats an empty password like a missing one, which would turn the user
        // into a token.
        None if text.contains(":@") => return None,
        None => None,
    };
    Some(Some(Login { user, password }))
}

fn is_nats_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::table;

    fn config(url: &str) -> Result<EventsConfig> {
        let variables = [("PRESENCE_NATS_URL", url)];
        Ok(EventsConfig::from(&Variables(&table(&variables)))?.expect("events are on"))
    }

    #[test]
    fn a_user_and_a_password_or_a_token_are_taken_from_the_url_and_decoded() {
        let parse_config = |url| config(url).unwrap();
        match parse_config(
            "nats://us%40er:p%2Fa%3Ass%25@a:4222, tls://us%40er:p%2Fa%3Ass%25@b,nats://c",
        )
        .credentials
        {
            Some(NatsCredentials::Password { user, password }) => {
                assert_eq!((&*user, password.expose()), ("us@er", "p/a:ss%"));
            }
            other => panic!("{other:?}"),
        }
        match parse_config("nats://to%2Bken%21@a").credentials {
            Some(NatsCredentials::Token(token)) => assert_eq!(token.expose(), "to+ken!"),
            other => panic!("{other:?}"),
        }
        assert!(parse_config("nats://a,tls://b:1").credentials.is_none());
    }

    #[test]
    fn no_secret_of_a_url_is_left_in_what_is_logged() {
        for url in [
            "nats://alice:hunter2@a,tls://alice:hunter2@b",
            "nats://hunter2@a",
        ] {
            let config = config(url).unwrap();
            assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
            assert!(
                config
                    .urls
                    .iter()
                    .all(|url| !url.as_url_str().contains('@'))
            );
        }
    }

    #[test]
    fn a_url_that_would_be_used_in_part_is_refused() {
        for url in [
            "nats://a:1@b,nats://a:2@c",
            "nats://a:1@b,nats://token@c",
            "nats://:password@a",
            "nats://@a",
            "nats://user:@a",
            "nats://%ff@a",
            "nats://user:%ff@a",
            "nats://a/path",
            "nats://a?tls=true",
            "nats://a#b",
            "nats://a,",
            "ws://a",
            "a:4222",
            "localhost",
        ] {
            let error = config(url).unwrap_err();
            assert_eq!(error.variable, "PRESENCE_NATS_URL", "{url}");
            assert!(
                !error.to_string().contains("password@a"),
                "a bad value is not repeated: it may hold a secret"
            );
        }
    }
}
