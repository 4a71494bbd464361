//! Outgoing sockets, with or without TLS.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// The time after which the next address of a host is tried, as RFC 8305 recommends.
const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);

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
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let socket = connect_to_any(&addresses).await?;
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

/// Connects to the first address that accepts. Only the last one has all the time that the caller
/// permits, so an address family without a route does not make the host unreachable.
async fn connect_to_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let Some((last, others)) = addresses.split_last() else {
        return Err(io::Error::other("the host has no address"));
    };
    for address in others {
        if let Ok(Ok(socket)) = timeout(NEXT_ADDRESS_DELAY, TcpStream::connect(address)).await {
            return Ok(socket);
        }
    }
    TcpStream::connect(last).await
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
/// If this machine has no root certificates.
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// A listener whose queue is full, so that the kernel ignores further connections.
    async fn black_hole() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(Ok(socket)) = timeout(NEXT_ADDRESS_DELAY, TcpStream::connect(address)).await {
            queue.push(socket);
        }
        (listener, address, queue)
    }

    #[tokio::test]
    async fn an_address_that_does_not_respond_or_refuses_leaves_time_for_the_next_one() {
        let (_listener, silent, _queue) = black_hole().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = listener.local_addr().unwrap();
        drop(listener);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let accepting = listener.local_addr().unwrap();
        let socket = connect_to_any(&[silent, refusing, accepting]).await;
        assert_eq!(socket.unwrap().peer_addr().unwrap(), accepting);
    }
}
