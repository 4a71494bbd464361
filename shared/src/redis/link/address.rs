//! Addresses of nodes, and the settings that connections to all of them share.

use redis::{AsyncConnectionConfig, ConnectionAddr, ErrorKind, RedisError};

/// The number of commands that may be queued on a connection. Beyond it, callers wait.
const WRITE_QUEUE_LIMIT: usize = 1_024;

/// A host, by name or address, and a port.
pub(crate) type Address = (String, u16);

/// The settings that all connections share.
pub(super) fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(None) // the attempt as a whole has one
        .set_response_timeout(None) // callers have their own
        .set_pipeline_buffer_size(WRITE_QUEUE_LIMIT)
}

/// The host and port of an address, and whether it uses TLS.
pub(super) fn tcp(address: &ConnectionAddr) -> Result<(&str, u16, bool), RedisError> {
    match address {
        ConnectionAddr::Tcp(host, port) => Ok((host, *port, false)),
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            ..
        } => Ok((host, *port, true)),
        _ => Err((
            ErrorKind::InvalidClientConfig,
            "only redis:// and rediss:// with verified certificates",
        )
            .into()),
    }
}

/// Builds an address with the same TLS settings as `other`.
pub(in crate::redis) fn reached_like(
    other: &ConnectionAddr,
    (host, port): &(String, u16),
) -> ConnectionAddr {
    let host = host.clone();
    let port = *port;
    match other {
        ConnectionAddr::TcpTls {
            insecure,
            tls_params,
            ..
        } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}
