//! How a node is reached.

use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, aio::MultiplexedConnection};

use super::{counted::Counted, live::Opened};
use crate::{aws::CacheToken, repository::tokens::Tokens, socket};

/// How many commands may wait to be written to a connection before their callers do.
const WRITE_QUEUE_LIMIT: usize = 1_024;

/// A node's address, and how connections to it are made.
pub(super) struct Endpoint {
    info: ConnectionInfo,
    config: AsyncConnectionConfig,
    /// The address without the credentials, for logs.
    name: String,
}

impl Endpoint {
    /// The endpoint at `info`. Sends tokens in place of the password, if there are any.
    pub(super) fn new(info: ConnectionInfo, tokens: Option<&CacheToken>) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None) // the attempt as a whole has one
            .set_response_timeout(None) // callers have their own
            .set_pipeline_buffer_size(WRITE_QUEUE_LIMIT);
        let config = match tokens {
            Some(tokens) => config.set_credentials_provider(Tokens(tokens.clone())),
            None => config,
        };
        let name = info.addr().to_string();
        tcp(info.addr())?;
        Ok(Self { info, config, name })
    }

    /// The address without the credentials.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Opens a connection. The name is resolved each time.
    pub(super) async fn open(&self) -> Result<Opened, RedisError> {
        let info = self.address().await?;
        let (host, port, is_encrypted) = tcp(info.addr())?;
        let stream = Counted::new(socket::connect(host, port, is_encrypted).await?);
        let received = stream.received();
        let opening = MultiplexedConnection::new_with_config(info.redis_settings(), stream, self.config.clone());
        let (connection, driver) = opening.await?;
        Ok(Opened { connection, driver: tokio::spawn(driver), received })
    }

    /// Where the node is now: asked for at every new connection, as an address that others decide on may have changed.
    async fn address(&self) -> Result<ConnectionInfo, RedisError> {
        Ok(self.info.clone())
    }
}

/// Host, port, and whether there is TLS.
fn tcp(address: &ConnectionAddr) -> Result<(&str, u16, bool), RedisError> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok((host, *port, false)),
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => Ok((host, *port, true)),
        _ => Err((ErrorKind::InvalidClientConfig, "only redis:// and rediss:// with verified certificates").into()),
    }
}
