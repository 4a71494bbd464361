//! Liveness probe for a container's health check (`presence-server --health`). The final image has
//! neither a shell nor curl.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// Time limit of connecting, and of each read.
const IO_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the server that listens on `bind` responds to the liveness check.
pub(crate) fn is_alive(bind: SocketAddr) -> bool {
    get_live(reachable(bind)).is_ok_and(|response| response.starts_with("HTTP/1.1 200 "))
}

fn get_live(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, IO_TIMEOUT)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    write!(
        stream,
        "GET /health/live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

/// The address at which the server is reachable. A server that listens on all addresses is reached
/// by loopback.
fn reachable(mut bind: SocketAddr) -> SocketAddr {
    if bind.ip().is_unspecified() {
        bind.set_ip(match bind.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    bind
}
