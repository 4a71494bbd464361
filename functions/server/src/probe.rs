//! `presence-server --health`: asks the server on this host whether it lives, for a container's health check. The final
//! image has neither a shell nor curl.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// How long connecting, and each read, may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Whether the server that listens on `bind` answers that it lives.
pub(crate) fn is_alive(bind: SocketAddr) -> bool {
    ask(reachable(bind)).is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET /health/live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A server that listens on every address is reached by loopback.
fn reachable(mut bind: SocketAddr) -> SocketAddr {
    if bind.ip().is_unspecified() {
        bind.set_ip(match bind.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    bind
}
