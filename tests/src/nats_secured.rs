//! A throwaway NATS with TLS and credentials.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use async_nats::{Client, ConnectOptions, jetstream::message::Message};
use tempfile::TempDir;

use crate::{
    authority::Authority,
    nats_account::Account,
    nats_stream,
    process::{Process, free_port},
};

/// A NATS server with JetStream that is reached by TLS, and to which only credentials give access.
#[derive(Debug)]
pub struct SecuredNats {
    _process: Process,
    port: u16,
    authority: PathBuf,
    all_credentials: String,
    directory: TempDir,
}

impl SecuredNats {
    /// Starts a server with a certificate of `authority`, and waits until it responds.
    ///
    /// # Panics
    /// If its files cannot be written.
    pub async fn start(authority: &Authority) -> Self {
        loop {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let account = Account::new(directory.path());
            let certificate = authority.server_certificate();
            let key = authority.server_key();
            let settings = format!(
                "listen: \"127.0.0.1:{port}\"\ntls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n{}",
                account.configuration
            );
            let write = |name: &str, content: &str| {
                let file = directory.path().join(name);
                fs::write(&file, content).expect("a file");
                file
            };
            let mut process = Process::start(
                Command::new("nats-server")
                    .arg("-c")
                    .arg(write("nats.conf", &settings)),
            );
            write("service.creds", &account.service_credentials);
            let authority = authority.certificate();
            let all_credentials = account.credentials;
            while !process.has_ended() {
                if let Ok(client) = connect(port, &authority, &all_credentials).await
                    && client.request("$JS.API.INFO", "".into()).await.is_ok()
                {
                    return Self {
                        _process: process,
                        port,
                        authority,
                        all_credentials,
                        directory,
                    };
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// `tls://…` of this server. Its certificate is for that name alone.
    pub fn url(&self) -> String {
        format!("tls://localhost:{}", self.port)
    }

    /// The path of the service's credentials, with which one can do no more than the service needs.
    pub fn credentials(&self) -> PathBuf {
        self.directory.path().join("service.creds")
    }

    /// All messages of a stream so far; none if it is missing.
    ///
    /// # Panics
    /// If JetStream does not respond.
    pub async fn messages(&self, stream: &str) -> Vec<Message> {
        let client = connect(self.port, &self.authority, &self.all_credentials)
            .await
            .expect("NATS responds");
        nats_stream::messages(client, stream).await
    }
}

async fn connect(
    port: u16,
    authority: &Path,
    credentials: &str,
) -> Result<Client, async_nats::ConnectError> {
    let options = ConnectOptions::with_credentials(credentials).expect("credentials");
    options
        .add_root_certificates(authority.to_path_buf())
        .connect(format!("tls://localhost:{port}"))
        .await
}
