//! A TLS terminator in front of a server, as a load balancer or an ingress is one.

use std::{io, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::Authority;

/// A port that takes TLS and passes the bytes inside it on. It ends with the runtime that it was
/// started on.
#[derive(Debug)]
pub struct TlsFront {
    port: u16,
}

impl TlsFront {
    /// Starts it with the authority's server certificate, in front of the address `server`.
    ///
    /// # Panics
    /// If there is no free port, or if the certificate is unusable.
    pub async fn start(authority: &Authority, server: &str) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config(authority)));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("the port's number").port();
        let server = server.to_owned();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A client that refuses the certificate, or a server that is down, ends its own
                // connection only.
                tokio::spawn(pass_on(acceptor.clone(), client, server.clone()));
            }
        });
        Self { port }
    }

    /// `https://…` of the front, by the name that its certificate is for.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}

async fn pass_on(acceptor: TlsAcceptor, client: TcpStream, server: String) -> io::Result<()> {
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

fn config(authority: &Authority) -> ServerConfig {
    let certificates =
        CertificateDer::pem_file_iter(authority.server_certificate()).expect("a certificate");
    let certificates = certificates
        .collect::<Result<_, _>>()
        .expect("certificates in PEM");
    let key = PrivateKeyDer::from_pem_file(authority.server_key()).expect("a key");
    ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|versions| {
            versions
                .with_no_client_auth()
                .with_single_cert(certificates, key)
        })
        .expect("a configuration")
}
