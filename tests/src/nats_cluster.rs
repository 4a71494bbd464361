//! Three throwaway NATS servers with JetStream, as one cluster.

use std::{fs, process::Command, time::Duration};

use async_nats::{
    Client,
    jetstream::{self, context::ContextBuilder, stream},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Process, free_port};

const SERVERS: usize = 3;

/// A cluster that can replicate a stream three times.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<Server>,
    _directory: TempDir,
}

#[derive(Debug)]
struct Server {
    process: Process,
    port: u16,
}

impl NatsCluster {
    /// Starts three servers, and waits until they can create a replicated stream.
    ///
    /// # Panics
    /// If their files cannot be written.
    pub async fn start() -> Self {
        loop {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let routes: Vec<_> = (0..SERVERS).map(|_| free_port()).collect();
            let servers = (0..SERVERS)
                .map(|number| Server::start(&directory, number, &routes))
                .collect();
            let mut cluster = Self {
                servers,
                _directory: directory,
            };
            if cluster.is_up().await {
                return cluster;
            }
        }
    }

    /// `nats://…` of all servers.
    pub fn urls(&self) -> String {
        self.servers
            .iter()
            .map(Server::url)
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The number of the server that leads a stream; `None` while it has no leader.
    pub async fn leader(&self, stream: &str) -> Option<usize> {
        let stream = jetstream::new(self.client().await)
            .get_stream(stream)
            .await
            .ok()?;
        let name = stream.cached_info().cluster.as_ref()?.leader.clone()?;
        (0..SERVERS).find(|number| name == server_name(*number))
    }

    /// Waits until a stream can be read again. That new ones can be created does not prove it: one
    /// may be placed on the server that is down, and then never has a leader.
    pub async fn heal(&self, stream: &str) {
        while !self.is_readable(stream).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_readable(&self, stream: &str) -> bool {
        let Ok(stream) = jetstream::new(self.client().await).get_stream(stream).await else {
            return false;
        };
        stream
            .get_raw_message(stream.cached_info().state.first_sequence)
            .await
            .is_ok()
    }

    /// How many servers hold a stream.
    ///
    /// # Panics
    /// If it does not exist.
    pub async fn replicas(&self, stream: &str) -> usize {
        let stream = jetstream::new(self.client().await)
            .get_stream(stream)
            .await
            .expect("the stream");
        stream.cached_info().config.num_replicas
    }

    /// Ends a server, as kill -9 does.
    pub fn kill(&mut self, number: usize) {
        self.servers[number].process.kill();
    }

    /// The bodies of all messages of a stream so far. They are read one by one: a consumer may be
    /// put on a server that is gone.
    ///
    /// # Panics
    /// If JetStream does not respond.
    pub async fn bodies(&self, stream: &str) -> Vec<Value> {
        let stream = jetstream::new(self.client().await)
            .get_stream(stream)
            .await
            .expect("the stream");
        let state = &stream.cached_info().state;
        let mut bodies = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.expect("a message");
            bodies.push(serde_json::from_slice(&message.payload).expect("an event"));
        }
        bodies
    }

    async fn client(&self) -> Client {
        let urls: Vec<_> = self.servers.iter().map(Server::url).collect();
        async_nats::connect(urls).await.expect("NATS responds")
    }

    /// Waits until a stream can be replicated; `false` if a server ended instead, because another
    /// process took its port.
    async fn is_up(&mut self) -> bool {
        while !self
            .servers
            .iter_mut()
            .any(|server| server.process.has_ended())
        {
            if let Ok(client) = async_nats::connect(self.servers[0].url()).await
                && makes_streams(client).await
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

/// Whether streams are made that all servers hold.
async fn makes_streams(client: Client) -> bool {
    let config = stream::Config {
        name: "PROBE".into(),
        num_replicas: SERVERS,
        ..stream::Config::default()
    };
    // A request that comes while there is no leader never has a reply.
    let jetstream = ContextBuilder::new()
        .timeout(Duration::from_millis(500))
        .build(client);
    jetstream.create_stream(config).await.is_ok() && jetstream.delete_stream("PROBE").await.is_ok()
}

impl Server {
    fn start(directory: &TempDir, number: usize, routes: &[u16]) -> Self {
        let port = free_port();
        let name = server_name(number);
        let store = directory.path().join(&name);
        let peers: Vec<_> = routes
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: {name}\njetstream {{ store_dir: {store:?} }}\n\
             cluster {{ name: presence, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
            routes[number],
            peers.join(", ")
        );
        let file = directory.path().join(format!("{name}.conf"));
        fs::write(&file, settings).expect("a configuration file");
        Self {
            process: Process::start(Command::new("nats-server").arg("-c").arg(file)),
            port,
        }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

fn server_name(number: usize) -> String {
    format!("server-{number}")
}
