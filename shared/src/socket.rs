//! Outgoing sockets, with or without TLS.

#[cfg(target_os = "linux")]
use std::time::Duration;
use std::{io, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// A socket, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to a host by its name, which is resolved each time. TLS trusts the system's current
/// authorities.
///
/// # Errors
/// Those of name resolution, the connection and TLS.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    is_encrypted: bool,
) -> io::Result<Box<dyn Stream>> {
    let tls = if is_encrypted { Some(tls()?) } else { None };
    connect_with(host, port, tls).await
}

/// Connects as [`connect`] does, with TLS if a configuration is given.
///
/// # Errors
/// As for [`connect`].
pub(crate) async fn connect_with(
    host: &str,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
) -> io::Result<Box<dyn Stream>> {
    let host = host.trim_matches(['[', ']']);
    let socket = TcpStream::connect((host, port)).await?;
    socket.set_nodelay(true)?;
    limit_unacked(&socket)?;
    let Some(tls) = tls else {
        return Ok(Box::new(socket));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(
        TlsConnector::from(tls).connect(name, socket).await?,
    ))
}

/// Makes the kernel drop a connection after a second without the peer's ack. The default is a
/// quarter of an hour, even if the network drops all packets.
#[cfg(target_os = "linux")]
fn limit_unacked(socket: &TcpStream) -> io::Result<()> {
    const UNACKED_TIMEOUT: Duration = Duration::from_secs(1);
    redis::io::tcp::socket2::SockRef::from(socket).set_tcp_user_timeout(Some(UNACKED_TIMEOUT))
}

/// Does nothing: other systems have no such limit.
#[cfg(not(target_os = "linux"))]
fn limit_unacked(_socket: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Builds a TLS configuration that trusts the system's current authorities.
///
/// # Errors
/// If there are none.
pub(crate) fn tls() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(io::Error::other("this machine has no root certificates"));
    }
    let versions = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = versions.with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}
