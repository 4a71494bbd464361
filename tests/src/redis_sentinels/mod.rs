//! A throwaway primary and replica, watched by three Sentinels.

mod node;

use std::{fmt::Write as _, time::Duration};

use tempfile::TempDir;

use crate::{
    authority::Authority,
    process::{free_port, signal},
};
use node::{Node, NodeKind};

/// The name of the primary in the Sentinels' configuration: the service's default.
const NAME: &str = "mymaster";

/// The pause between two checks of an awaited condition.
const PAUSE: Duration = Duration::from_millis(20);

/// How long a condition is awaited: within the time that a test has, also on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A primary, a replica, and three Sentinels of which two have to agree that the primary is down.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The first one is the primary at the beginning.
    nodes: Vec<Node>,
    sentinels: Vec<Node>,
    kind: NodeKind,
    _directory: TempDir,
}

impl RedisSentinels {
    /// Starts nodes and Sentinels without TLS and passwords.
    pub async fn start() -> Self {
        Self::of(NodeKind::Plain).await
    }

    /// Starts nodes with a password, and Sentinels with another one or none. The URLs have that of
    /// the nodes.
    pub async fn start_with_passwords(
        nodes: &'static str,
        sentinels: Option<&'static str>,
    ) -> Self {
        Self::of(NodeKind::Passwords { nodes, sentinels }).await
    }

    /// Starts nodes and Sentinels that are reached by TLS, by users alone, and by hostname. The
    /// service's user may do no more than it needs.
    pub async fn start_secured() -> Self {
        Self::of(NodeKind::Secured(Authority::new())).await
    }

    async fn of(mut kind: NodeKind) -> Self {
        loop {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut started = Self {
                nodes: Vec::new(),
                sentinels: Vec::new(),
                kind,
                _directory: directory,
            };
            started.start_nodes();
            started.start_sentinels();
            if started.is_up().await {
                started.await_agreement().await;
                return started;
            }
            kind = started.kind; // a port was taken
        }
    }

    async fn is_up(&mut self) -> bool {
        for node in self.nodes.iter_mut().chain(&mut self.sentinels) {
            if !node.is_up().await {
                return false;
            }
        }
        true
    }

    fn start_nodes(&mut self) {
        for _ in 0..2 {
            let port = free_port();
            let settings = self
                .kind
                .node_settings(port, self.nodes.first().map(|primary| primary.port));
            let node = Node::start(
                self._directory.path(),
                port,
                self.kind.node_access(),
                &[],
                &settings,
            );
            self.nodes.push(node);
        }
    }

    /// Starts Sentinels that know each other and the replica from the start: they would find out
    /// within seconds.
    fn start_sentinels(&mut self) {
        let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
        let build_id = |number: usize| format!("{:040x}", number + 1);
        let host = self.kind.host();
        for (number, port) in ports.iter().enumerate() {
            let mut settings = self.kind.sentinel_settings(*port);
            let _ = write!(
                settings,
                "sentinel myid {}\nsentinel monitor {NAME} {host} {} 2\n\
                 sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n{}\
                 sentinel known-replica {NAME} {host} {}\n",
                build_id(number),
                self.nodes[0].port,
                self.kind.sentinel_access(NAME),
                self.nodes[1].port
            );
            for (other, port) in ports
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != number)
            {
                let _ = writeln!(
                    settings,
                    "sentinel known-sentinel {NAME} {host} {port} {}",
                    build_id(other)
                );
            }
            let access = self.kind.sentinel_cli_access();
            let sentinel = Node::start(
                self._directory.path(),
                *port,
                access,
                &["--sentinel"],
                &settings,
            );
            self.sentinels.push(sentinel);
        }
    }

    /// Waits until the replica is in step, and all Sentinels reach each other and both nodes.
    async fn await_agreement(&self) {
        self.await_replica().await;
        for sentinel in &self.sentinels {
            // On a busy machine a Sentinel would take its own pauses for a clock that jumps, and do
            // nothing for 30 s.
            sentinel
                .ask(&["SENTINEL", "DEBUG", "TILT-TRIGGER", "60000"])
                .await;
            let is_ready = async || {
                let replicas = sentinel.ask(&["SENTINEL", "REPLICAS", NAME]).await;
                let quorum = sentinel.ask(&["SENTINEL", "CKQUORUM", NAME]).await;
                replicas.contains("\nmaster-link-status\nok") && quorum.starts_with("OK 3 usable")
            };
            until("a Sentinel reaches all others", is_ready).await;
        }
    }

    /// The variables that lead a program to the primary.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("PRESENCE_REDIS_MODE", "sentinel".to_owned()),
            ("PRESENCE_REDIS_URL", self.urls()),
        ]
    }

    /// The Sentinels, as `PRESENCE_REDIS_URL` takes them.
    pub fn urls(&self) -> String {
        self.sentinels
            .iter()
            .map(|sentinel| self.kind.url(sentinel.port))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The certificate authority that clients have to trust.
    ///
    /// # Panics
    /// If there is no TLS.
    pub fn authority(&self) -> &Authority {
        match &self.kind {
            NodeKind::Secured(authority) => authority,
            NodeKind::Plain | NodeKind::Passwords { .. } => panic!("nodes without TLS"),
        }
    }

    /// A node's port.
    pub fn port(&self, number: usize) -> u16 {
        self.nodes[number].port
    }

    /// The number of the node that a Sentinel names. `None` if it does not respond.
    pub async fn named_by(&self, sentinel: usize) -> Option<usize> {
        let reply = self
            .ask_sentinel(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])
            .await;
        let port = reply.lines().nth(1)?.parse::<u16>().ok()?;
        self.nodes.iter().position(|node| node.port == port)
    }

    /// Waits until a node says that it is a primary, and two Sentinels name it.
    pub async fn await_primary(&self, number: usize) {
        let is_agreed = async || {
            let named = tokio::join!(self.named_by(0), self.named_by(1), self.named_by(2));
            [named.0, named.1, named.2]
                .into_iter()
                .filter(|node| *node == Some(number))
                .count()
                >= 2
        };
        let what = format!("node {number} is the primary, and two Sentinels say so");
        until(&what, async || {
            self.ask(number, &["ROLE"]).await.starts_with("master") && is_agreed().await
        })
        .await;
    }

    /// Waits until the replica holds everything that was written so far.
    ///
    /// # Panics
    /// If the first node is no longer the primary.
    pub async fn await_replica(&self) {
        until("the replica is connected", async || {
            self.replication(1, "master_link_status:").await == "up"
        })
        .await;
        let written: u64 = self
            .replication(0, "master_repl_offset:")
            .await
            .parse()
            .expect("an offset");
        let read_offset = async || {
            self.replication(1, "slave_repl_offset:")
                .await
                .parse::<u64>()
        };
        until("the replica has copied everything", async || {
            read_offset().await.is_ok_and(|copied| copied >= written)
        })
        .await;
    }

    /// The value that follows `label` in a node's report on its replication.
    async fn replication(&self, number: usize, label: &str) -> String {
        let info = self.ask(number, &["INFO", "replication"]).await;
        info.lines()
            .find_map(|line| Some(line.strip_prefix(label)?.trim().to_owned()))
            .unwrap_or_default()
    }

    /// Asks a Sentinel to promote the replica.
    pub async fn fail_over(&self) {
        until("a failover begins", async || {
            self.ask_sentinel(0, &["SENTINEL", "FAILOVER", NAME]).await == "OK"
        })
        .await;
    }

    /// Sends a node a command, as a user who may do anything. The reply is empty if it does not
    /// respond.
    pub async fn ask(&self, number: usize, command: &[&str]) -> String {
        self.nodes[number].ask(command).await
    }

    /// Sends a Sentinel a command, as a user who may do anything. The reply is empty if it does
    /// not respond.
    pub async fn ask_sentinel(&self, number: usize, command: &[&str]) -> String {
        self.sentinels[number].ask(command).await
    }

    /// Ends a node, as kill -9 does.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].process.kill();
    }

    /// Starts a node again, on its port and without a key.
    pub async fn restart(&mut self, number: usize) {
        self.nodes[number].restart().await;
    }

    /// Suspends a node, as when its machine hangs.
    pub fn pause(&self, number: usize) {
        signal(self.nodes[number].process.id(), "STOP");
    }

    /// Resumes a suspended node.
    pub fn resume(&self, number: usize) {
        signal(self.nodes[number].process.id(), "CONT");
    }

    /// Ends a Sentinel, as kill -9 does.
    pub fn kill_sentinel(&mut self, number: usize) {
        self.sentinels[number].process.kill();
    }

    /// Starts a Sentinel again, on its port.
    pub async fn restart_sentinel(&mut self, number: usize) {
        self.sentinels[number].restart().await;
    }

    /// Suspends a Sentinel, as when its machine hangs.
    pub fn pause_sentinel(&self, number: usize) {
        signal(self.sentinels[number].process.id(), "STOP");
    }
}

/// Waits until a condition holds. A test that is ended for its time would not say what it waited
/// for.
async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .unwrap_or_else(|_| panic!("not within {TIMEOUT:?}: {what}"));
}
