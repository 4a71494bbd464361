//! NATS JetStream.

use std::time::Duration;

use super::{
    NatsCredentials,
    variables::{ConfigError, Result, Variables, parse_duration},
};

/// NATS JetStream.
#[derive(Debug, Clone)]
pub struct EventsConfig {
    /// `PRESENCE_NATS_URL`: one or more servers, separated by commas.
    pub urls: Vec<async_nats::ServerAddr>,
    /// `PRESENCE_NATS_CREDS`: what the credentials file holds that it names, or that it is.
    pub credentials: Option<NatsCredentials>,
    /// `PRESENCE_EVENTS_SUBJECT` (`events.presence`).
    pub subject: String,
    /// `PRESENCE_EVENTS_STREAM` (`PRESENCE_EVENTS`).
    pub stream: String,
    /// `PRESENCE_EVENTS_RETENTION` (`15m`): how long events are worth keeping, in the stream and in the outbox.
    pub retention: Duration,
}

impl EventsConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Option<Self>> {
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
            retention: variables.parse(
                "PRESENCE_EVENTS_RETENTION",
                "15m",
                "a duration from 100ms, the least that JetStream takes, to 3650d, such as 15m",
                |text| parse_duration(text).filter(|retention| *retention >= Duration::from_millis(100)),
            )?,
        };
        Ok((!config.urls.is_empty()).then_some(config))
    }
}

impl Variables<'_> {
    /// A path, or the text itself: a secret has no path.
    fn credentials(&self, variable: &'static str) -> Result<Option<NatsCredentials>> {
        let accepts = "the path of a NATS credentials file that can be read, or what stands in one";
        let Some(value) = self.text(variable) else { return Ok(None) };
        let text = if value.contains("-----BEGIN") { Ok(value) } else { std::fs::read_to_string(value) };
        let credentials = text.ok().and_then(|text| NatsCredentials::parse(&text));
        credentials.map(Some).ok_or_else(|| ConfigError::new(variable, accepts))
    }
}

fn parse_nats_urls(text: &str) -> Option<Vec<async_nats::ServerAddr>> {
    let is_nats = |url: &&str| url.starts_with("nats://") || url.starts_with("tls://");
    let has_host = |address: &async_nats::ServerAddr| !address.host().is_empty();
    let urls = text.split(',').map(str::trim).filter(|_| !text.is_empty());
    urls.map(|url| Some(url).filter(is_nats)?.parse().ok().filter(has_host)).collect()
}

fn is_nats_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'>' | b'.'))
}
