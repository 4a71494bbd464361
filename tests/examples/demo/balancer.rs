//! A TCP load balancer, like the one that a studio has in front of its servers.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// Forwards each connection to the next server, or to the one after it if that server does not
/// accept it. Runs until the process ends.
pub(crate) struct Balancer {
    address: SocketAddr,
}

impl Balancer {
    pub(crate) async fn start(servers: Vec<SocketAddr>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(accept(listener, servers.into()));
        Ok(Self { address })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept(listener: TcpListener, servers: Arc<[SocketAddr]>) {
    let turn = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(forward(
            client,
            Arc::clone(&servers),
            turn.fetch_add(1, Ordering::Relaxed),
        ));
    }
}

async fn forward(mut client: TcpStream, servers: Arc<[SocketAddr]>, turn: usize) {
    for server in servers
        .iter()
        .cycle()
        .skip(turn % servers.len())
        .take(servers.len())
    {
        if let Ok(mut server) = TcpStream::connect(server).await {
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let _ = copy_bidirectional(&mut client, &mut server).await; // client and server handle a broken connection
            return;
        }
    }
}
