//! A throwaway Redis Cluster.

mod node;

use std::{collections::BTreeMap, path::PathBuf, process::Command, time::Duration};

use redis::{cluster::ClusterClient, cluster_async::ClusterConnection};
use tempfile::TempDir;

use crate::authority::Authority;
use node::{Node, NodeKind};

/// A cluster of its own: its masters, first in the list of nodes, and the replicas of some.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    masters: usize,
    kind: NodeKind,
    _directory: TempDir,
}

impl RedisCluster {
    /// Starts three masters that share all slots.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start() -> Self {
        Self::of(3, 0, NodeKind::Plain).await
    }

    /// Starts so many masters that share all slots.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_masters(masters: usize) -> Self {
        Self::of(masters, 0, NodeKind::Plain).await
    }

    /// Starts this number of masters, each with a replica that replaces it a second after its end.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_masters_with_replicas(masters: usize) -> Self {
        Self::of(2 * masters, 1, NodeKind::Plain)
            .await
            .with_replicas_in_step()
            .await
    }

    /// Like [`start_masters_with_replicas`](Self::start_masters_with_replicas), but with Valkey;
    /// `None` if it is not installed.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_valkey_masters(masters: usize) -> Option<Self> {
        Some(
            Self::of(2 * masters, 1, NodeKind::Valkey(valkey()?))
                .await
                .with_replicas_in_step()
                .await,
        )
    }

    /// Starts three masters, each with a replica that replaces it a second after its end.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_with_replicas() -> Self {
        Self::of(6, 1, NodeKind::Plain)
            .await
            .with_replicas_in_step()
            .await
    }

    /// Starts three masters on the IPv6 loopback address; `None` if this machine has none.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_ipv6() -> Option<Self> {
        std::net::TcpListener::bind("[::1]:0").ok()?;
        Some(Self::of(3, 0, NodeKind::Ipv6).await)
    }

    /// Like [`start_with_replicas`](Self::start_with_replicas), but with Valkey; `None` if it is
    /// not installed.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_valkey() -> Option<Self> {
        Some(
            Self::of(6, 1, NodeKind::Valkey(valkey()?))
                .await
                .with_replicas_in_step()
                .await,
        )
    }

    /// Like [`start_with_replicas`](Self::start_with_replicas), but reached by TLS and hostname,
    /// and with users only. The service's user may do no more than it needs.
    ///
    /// # Panics
    /// If the nodes do not agree on the slots in time.
    pub async fn start_secured() -> Self {
        Self::of(6, 1, NodeKind::Secured(Authority::new()))
            .await
            .with_replicas_in_step()
            .await
    }

    async fn of(nodes: usize, replicas: usize, mut kind: NodeKind) -> Self {
        let masters = nodes / (replicas + 1);
        loop {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let nodes = (0..nodes)
                .map(|number| Node::start(directory.path(), number, &kind))
                .collect();
            let mut cluster = Self {
                nodes,
                masters,
                kind,
                _directory: directory,
            };
            if cluster.nodes.iter_mut().all(Node::is_up) && cluster.create(replicas) {
                cluster.agree().await;
                return cluster;
            }
            kind = cluster.kind; // another program took a port, or redis-cli gave up halfway
        }
    }

    fn create(&self, replicas: usize) -> bool {
        let mut create = Command::new("redis-cli");
        create
            .args(self.kind.access())
            .args(["--cluster", "create"])
            .args(self.nodes.iter().map(Node::address));
        create.args(["--cluster-yes", "--cluster-replicas", &replicas.to_string()]);
        create.output().expect("redis-cli runs").status.success()
    }

    async fn agree(&self) {
        while !self
            .nodes
            .iter()
            .all(|node| node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn with_replicas_in_step(self) -> Self {
        for node in &self.nodes[self.masters..] {
            while !node
                .ask(&["INFO", "replication"])
                .contains("master_link_status:up")
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self
    }

    /// The seeds, as `PRESENCE_REDIS_URL` takes them.
    pub fn urls(&self) -> String {
        self.nodes
            .iter()
            .map(|node| self.kind.url(node.port))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The authority that clients have to trust.
    ///
    /// # Panics
    /// If the cluster was not started as secured.
    pub fn authority(&self) -> &Authority {
        match &self.kind {
            NodeKind::Secured(authority) => authority,
            NodeKind::Plain | NodeKind::Ipv6 | NodeKind::Valkey(_) => {
                panic!("a cluster without TLS")
            }
        }
    }

    /// A connection for raw keys, to a cluster without TLS.
    ///
    /// # Panics
    /// If the cluster does not respond.
    pub async fn connection(&self) -> ClusterConnection {
        let urls = self.nodes.iter().map(|node| self.kind.url(node.port));
        let client = ClusterClient::new(urls).expect("a cluster client");
        client
            .get_async_connection()
            .await
            .expect("the cluster responds")
    }

    /// The number of the node that holds the slot of `key` as its master.
    ///
    /// # Panics
    /// If no node does.
    pub fn master_of(&self, key: &str) -> usize {
        let holds = |number: &usize| self.is_master(*number) && self.holds(*number, key);
        (0..self.nodes.len()).find(holds).expect("a master")
    }

    /// Whether a node is a master, by its own account.
    ///
    /// # Panics
    /// If redis-cli cannot be run.
    pub fn is_master(&self, number: usize) -> bool {
        self.ask(number, &["ROLE"]).starts_with("master")
    }

    /// The number of the replica of a master.
    ///
    /// # Panics
    /// If it has no replica.
    pub fn replica_of(&self, master: usize) -> usize {
        let id = self.ask(master, &["CLUSTER", "MYID"]);
        let is_its = |number: &usize| {
            let nodes = self.ask(*number, &["CLUSTER", "NODES"]);
            nodes
                .lines()
                .any(|node| node.contains("myself,slave") && node.contains(&id))
        };
        (0..self.nodes.len()).find(is_its).expect("a replica")
    }

    /// Ends a master, as kill -9 does.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].process.kill();
    }

    /// Starts a node that was ended, on its port: it remembers who is who, and has no keys.
    pub fn restart(&mut self, number: usize) {
        self.nodes[number].restart();
    }

    /// The ports of all nodes.
    pub fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.port).collect()
    }

    /// Stops a node for a while, as a machine that hangs does.
    pub fn pause(&mut self, number: usize) {
        self.nodes[number].process.signal("STOP");
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self, number: usize) {
        self.nodes[number].process.signal("CONT");
    }

    /// Sends a node a command, without following redirections.
    ///
    /// # Panics
    /// If redis-cli cannot be run.
    pub fn ask(&self, number: usize, command: &[&str]) -> String {
        self.nodes[number].ask(command)
    }

    /// Whether a node holds the slot of `key`.
    ///
    /// # Panics
    /// If the node does not respond.
    pub fn holds(&self, number: usize, key: &str) -> bool {
        let reply = self.nodes[number].ask(&["EXISTS", key]);
        !reply.contains("MOVED") && !reply.contains("ASK")
    }

    /// The process ids of all nodes.
    pub fn ids(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process.id()).collect()
    }

    /// Forgets the commands that were counted so far.
    ///
    /// # Panics
    /// If a node does not respond.
    pub fn forget_commands(&self) {
        for node in &self.nodes {
            assert!(node.ask(&["CONFIG", "RESETSTAT"]).contains("OK"));
        }
    }

    /// The commands of all nodes since they were last [forgotten](Self::forget_commands), those in
    /// scripts included, but for those of the harness.
    pub fn commands(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for node in &self.nodes {
            for (name, count) in node
                .ask(&["INFO", "commandstats"])
                .lines()
                .filter_map(parse_count)
            {
                *sum.entry(name).or_default() += count;
            }
        }
        sum
    }

    /// Makes every node forget the scripts that it knows.
    ///
    /// # Panics
    /// If a node does not respond.
    pub fn forget_scripts(&self) {
        for node in &self.nodes {
            assert!(node.ask(&["SCRIPT", "FLUSH"]).contains("OK"));
        }
    }

    /// Begins to move the slot of `key` from one master to another; its keys are not moved yet.
    ///
    /// # Panics
    /// If a node refuses.
    pub fn begin_to_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.ask(from, &["CLUSTER", "KEYSLOT", key]);
        let ask_id = |number| self.ask(number, &["CLUSTER", "MYID"]);
        assert_eq!(
            self.ask(
                to,
                &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ask_id(from)]
            ),
            "OK"
        );
        assert_eq!(
            self.ask(
                from,
                &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ask_id(to)]
            ),
            "OK"
        );
    }

    /// Moves a key of a slot that is being moved.
    ///
    /// # Panics
    /// If a node refuses.
    pub fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].port.to_string();
        assert_eq!(
            self.ask(
                from,
                &["MIGRATE", self.nodes[to].host, &port, key, "0", "1000"]
            ),
            "OK"
        );
    }

    /// Moves the remaining keys of the slot of `key`, and makes the target its master.
    ///
    /// # Panics
    /// If a node refuses.
    pub fn end_to_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.ask(from, &["CLUSTER", "KEYSLOT", key]);
        for key in self
            .ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"])
            .lines()
        {
            self.move_key(key, from, to);
        }
        let id = self.ask(to, &["CLUSTER", "MYID"]);
        for number in [to, from] {
            assert_eq!(
                self.ask(number, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]),
                "OK"
            );
        }
    }

    /// Moves slots from one master to another, with the keys in them.
    ///
    /// # Panics
    /// If Redis refuses.
    pub async fn move_slots(&self, from: usize, to: usize, count: usize) {
        let ask_id = |number: usize| self.nodes[number].ask(&["CLUSTER", "MYID"]);
        let mut reshard = tokio::process::Command::new("redis-cli");
        reshard.args(self.kind.access()).args([
            "--cluster",
            "reshard",
            &self.nodes[to].address(),
            "--cluster-yes",
        ]);
        reshard.args([
            "--cluster-from",
            &ask_id(from),
            "--cluster-to",
            &ask_id(to),
            "--cluster-slots",
            &count.to_string(),
        ]);
        let output = reshard.output().await.expect("redis-cli runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

/// A line such as `cmdstat_get:calls=2,usec=…`.
fn parse_count(line: &str) -> Option<(String, u64)> {
    const OF_THE_HARNESS: [&str; 4] = ["info", "config|resetstat", "command|docs", "hello"];
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
    let count = rest.split(',').next()?.parse().ok()?;
    (!OF_THE_HARNESS.contains(&name)).then(|| (name.to_owned(), count))
}

/// Where `scripts/setup valkey` puts it, or the system has it.
pub(crate) fn valkey() -> Option<PathBuf> {
    let unpacked = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/tools/valkey/usr/bin"
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(PathBuf::from(unpacked)).chain(std::env::split_paths(&path));
    directories
        .map(|directory| directory.join("valkey-server"))
        .find(|program| program.exists())
}
