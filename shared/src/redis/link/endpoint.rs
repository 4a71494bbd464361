//! Endpoint of a node: its location, and the configuration of connections to it.

use redis::{AsyncConnectionConfig, ConnectionInfo, RedisError, aio::MultiplexedConnection};

use super::{
    address::{config, tcp},
    live::{Counted, Opened},
    sentinels::Sentinels,
};
use crate::{aws::IamAuthToken, redis::tokens::Tokens, socket};

/// The location of a node, and the configuration of connections to it.
pub(in crate::redis) struct Endpoint {
    pub(super) location: Location,
    config: AsyncConnectionConfig,
    /// The location without the credentials, for logs.
    name: String,
}

/// The location of a node.
pub(super) enum Location {
    /// A fixed address. Its name is resolved for each new connection.
    Fixed(ConnectionInfo),
    /// The address that Sentinels name. They are asked for each new connection.
    BySentinel(Sentinels),
}

impl Endpoint {
    /// Creates the endpoint at `info`. If there are `tokens`, they are sent in place of the
    /// password.
    pub(in crate::redis) fn fixed(
        info: ConnectionInfo,
        tokens: Option<&IamAuthToken>,
    ) -> Result<Self, RedisError> {
        let config = match tokens {
            Some(tokens) => config().set_credentials_provider(Tokens(tokens.clone())),
            None => config(),
        };
        tcp(info.addr())?;
        let name = info.addr().to_string();
        Ok(Self {
            location: Location::Fixed(info),
            config,
            name,
        })
    }

    /// Creates the endpoint of the primary that the Sentinels at `urls` know as `name`. Its TLS,
    /// user, password and database are those of the first URL.
    pub(in crate::redis) fn by_sentinel(
        urls: Vec<ConnectionInfo>,
        name: String,
    ) -> Result<Self, RedisError> {
        for url in &urls {
            tcp(url.addr())?;
        }
        let addresses: Vec<_> = urls.iter().map(|url| url.addr().to_string()).collect();
        let label = format!("{name} by Sentinel at {}", addresses.join(", "));
        let sentinels = Sentinels::new(urls, name)?;
        Ok(Self {
            location: Location::BySentinel(sentinels),
            config: config(),
            name: label,
        })
    }

    /// The location without the credentials.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Opens a connection to the node at `info`.
    pub(super) async fn open(&self, info: &ConnectionInfo) -> Result<Opened, RedisError> {
        let (host, port, is_encrypted) = tcp(info.addr())?;
        let stream = Counted::new(socket::connect(host, port, is_encrypted).await?);
        let received = stream.received();
        let opening = MultiplexedConnection::new_with_config(
            info.redis_settings(),
            stream,
            self.config.clone(),
        );
        let (connection, driver) = opening.await?;
        Ok(Opened {
            connection,
            driver: tokio::spawn(driver),
            received,
            address: (host.to_owned(), port),
        })
    }
}
