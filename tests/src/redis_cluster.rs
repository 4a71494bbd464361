//! A throwaway Redis Cluster.

use std::{process::Command, time::Duration};

use redis::{cluster::ClusterClient, cluster_async::ClusterConnection};
use tempfile::TempDir;

use crate::process::{Process, free_port};

/// A cluster of its own: three masters, first in the list of nodes, and the replicas of some.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    _directory: TempDir,
}

#[derive(Debug)]
struct Node {
    process: Process,
    port: u16,
}

impl RedisCluster {
    /// Starts three masters that share all slots.
    ///
    /// # Panics
    /// Where they do not come to an agreement.
    pub async fn start() -> Self {
        Self::of(3, 0).await
    }

    /// Starts three masters, each with a replica that takes its place a second after it is gone.
    ///
    /// # Panics
    /// Where they do not come to an agreement.
    pub async fn start_with_replicas() -> Self {
        let cluster = Self::of(6, 1).await;
        for node in &cluster.nodes[3..] {
            while !node.ask(&["INFO", "replication"]).contains("master_link_status:up") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        cluster
    }

    async fn of(nodes: usize, replicas: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let nodes: Vec<_> = (0..nodes).map(|number| Node::start(&directory, number)).collect();
        let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
        let cluster = Self { nodes, _directory: directory };
        loop {
            let mut create = Command::new("redis-cli");
            create.args(["--cluster", "create"]).args(&addresses).arg("--cluster-yes");
            create.args(["--cluster-replicas", &replicas.to_string()]);
            if create.output().expect("redis-cli runs").status.success() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while cluster.connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster
    }

    /// The seeds, as `PRESENCE_REDIS_URL` takes them.
    pub fn urls(&self) -> String {
        self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// A connection for raw keys.
    pub async fn connection(&self) -> ClusterConnection {
        self.connect().await.expect("the cluster answers")
    }

    /// Ends a master, as kill -9 does.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].process.kill();
    }

    /// Stops a node for a while, as a machine that hangs does.
    pub fn pause(&mut self, number: usize) {
        self.nodes[number].process.signal("STOP");
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self, number: usize) {
        self.nodes[number].process.signal("CONT");
    }

    /// Sends a node a command, without following where it points.
    ///
    /// # Panics
    /// Where redis-cli cannot be run.
    pub fn ask(&self, number: usize, command: &[&str]) -> String {
        self.nodes[number].ask(command)
    }

    /// Whether a node holds the slot of `key`.
    ///
    /// # Panics
    /// Where the node does not answer.
    pub fn holds(&self, number: usize, key: &str) -> bool {
        let answer = self.nodes[number].ask(&["EXISTS", key]);
        !answer.contains("MOVED") && !answer.contains("ASK")
    }

    /// Makes every node forget the scripts that it knows.
    ///
    /// # Panics
    /// Where a node does not answer.
    pub fn forget_scripts(&self) {
        for node in &self.nodes {
            assert!(node.ask(&["SCRIPT", "FLUSH"]).contains("OK"));
        }
    }

    /// Begins to move the slot of `key` from one master to another; its keys stay where they are.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn begin_to_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.ask(from, &["CLUSTER", "KEYSLOT", key]);
        let id = |number| self.ask(number, &["CLUSTER", "MYID"]);
        assert_eq!(self.ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]), "OK");
        assert_eq!(self.ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]), "OK");
    }

    /// Moves a key of a slot that is being moved.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].port.to_string();
        assert_eq!(self.ask(from, &["MIGRATE", "127.0.0.1", &port, key, "0", "1000"]), "OK");
    }

    /// Moves what is left of the slot of `key`, and makes the target its master.
    ///
    /// # Panics
    /// Where a node refuses.
    pub fn end_to_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.ask(from, &["CLUSTER", "KEYSLOT", key]);
        for key in self.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).lines() {
            self.move_key(key, from, to);
        }
        let id = self.ask(to, &["CLUSTER", "MYID"]);
        for number in [to, from] {
            assert_eq!(self.ask(number, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]), "OK");
        }
    }

    /// Moves slots from one master to another, with the keys in them.
    ///
    /// # Panics
    /// Where Redis refuses.
    pub async fn move_slots(&self, from: usize, to: usize, count: usize) {
        let id = |number: usize| self.nodes[number].ask(&["CLUSTER", "MYID"]);
        let mut reshard = tokio::process::Command::new("redis-cli");
        reshard.args(["--cluster", "reshard", &self.nodes[to].address(), "--cluster-yes"]);
        reshard.args(["--cluster-from", &id(from), "--cluster-to", &id(to), "--cluster-slots", &count.to_string()]);
        let output = reshard.output().await.expect("redis-cli runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }

    async fn connect(&self) -> redis::RedisResult<ClusterConnection> {
        let urls = self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port));
        let mut connection = ClusterClient::new(urls)?.get_async_connection().await?;
        redis::cmd("SET").arg("ready").arg(1).query_async::<()>(&mut connection).await?;
        redis::cmd("DEL").arg("ready").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }
}

impl Node {
    fn start(directory: &TempDir, number: usize) -> Self {
        let port = cluster_port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
        command.args([
            "--cluster-config-file",
            &format!("nodes-{number}.conf"),
            "--cluster-require-full-coverage",
            "no",
        ]);
        command.arg("--dir").arg(directory.path());
        Self { process: Process::start(&mut command), port }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends the node a command, without following where it points.
    fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        let output = cli.args(["-p", &self.port.to_string()]).args(command).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// A free port whose bus port, 10,000 above it, exists as well.
fn cluster_port() -> u16 {
    loop {
        let port = free_port();
        if port < 55_000 {
            return port;
        }
    }
}
